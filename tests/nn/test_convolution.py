"""Convolutions: PyTorch's values, gradients and errors over grids of options, and finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.ops.both import check

F = jitgrad.nn.functional
Array = np.ndarray[Any, Any]

#: Input channels and maps: with groups of 1, 2 or all, products of columns, tiles and plain loops have their
#: turn, and so they do where the two are exchanged.
SIZES = [(4, 12), (6, 6), (16, 16)]
SPACE, KERNEL = (7, 8, 6), (3, 2, 1)


def data(*shape: int, seed: int = 0, dtype: str = "float64") -> Array:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def results(T: ModuleType, name: str, arrays: list[Array], **options: Any) -> list[Array]:
    """The convolution, and the gradients of its operands."""
    tensors = [T.tensor(a, requires_grad=True) for a in arrays]
    y = getattr(T.nn.functional, name)(*tensors, **options)
    assert arrays[0].ndim < arrays[1].ndim or y.grad_fn.name() == "ConvolutionBackward0"
    y.backward(T.tensor(data(*y.shape, seed=9, dtype=str(arrays[0].dtype))))
    return [y.detach().numpy(), *(t.grad.numpy() for t in tensors)]


def compare(torch: ModuleType, name: str, arrays: list[Array], **options: Any) -> None:
    """Compare a call with PyTorch's."""
    ours, theirs = (results(T, name, arrays, **options) for T in (jitgrad, torch))
    double = arrays[0].dtype == np.float64
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        scale = max(float(np.abs(b[np.isfinite(b)]).max(initial=0)), 1.0)
        tolerance = 1e-12 if double else 1e-5
        np.testing.assert_allclose(
            a, b, rtol=10 * tolerance, atol=tolerance * scale, err_msg=f"{name} {options}"
        )


OPTIONS = list(itertools.product((1, 2, 3), (0, 2), (1, 2)))


@pytest.mark.parametrize("groups", [1, 2, 0])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("sizes", SIZES)
def test_against_pytorch(torch: ModuleType, sizes: tuple[int, int], n: int, groups: int) -> None:
    """Strides, paddings and dilations, with and without a bias."""
    channels, maps = sizes
    groups = groups or channels
    for k, (stride, padding, dilation) in enumerate(OPTIONS):
        x = data(2, channels, *SPACE[:n])
        w = data(maps, channels // groups, *KERNEL[:n], seed=1)
        arrays = [x, w, data(maps, seed=2)][: 3 - k % 2]
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        compare(torch, f"conv{n}d", arrays, **options)
        compare(torch, f"conv{n}d", [a.astype("float32") for a in arrays], **options)


@pytest.mark.parametrize("groups", [1, 2, 0])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("sizes", SIZES)
def test_transposed_against_pytorch(
    torch: ModuleType, sizes: tuple[int, int], n: int, groups: int
) -> None:
    """The same of transposed convolutions."""
    channels, maps = sizes
    groups = groups or channels
    for k, (stride, padding, dilation) in enumerate(OPTIONS):
        x = data(2, channels, *(5, 4, 6)[:n])
        w = data(channels, maps // groups, *KERNEL[:n], seed=1)
        arrays = [x, w, data(maps, seed=2)][: 3 - k % 2]
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        options |= {"groups": groups, "output_padding": max(stride, dilation) - 1}
        if any((5 - 1) * stride - 2 * padding + 1 <= 0 for _ in range(n)):
            continue
        compare(torch, f"conv_transpose{n}d", arrays, **options)
        compare(torch, f"conv_transpose{n}d", [a.astype("float32") for a in arrays], **options)


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((3, 3, 20, 70), (40, 3, 5, 5), {"padding": 2}),  # lines longer than a panel
        ((2, 300, 5, 5), (20, 300, 3, 3), {"padding": 1}),  # more terms than a panel holds
        ((1, 70, 9, 9), (130, 70, 1, 1), {}),
        ((40, 2, 4, 4), (9, 2, 4, 4), {}),  # one place an image
        ((2, 3, 9, 9), (4, 3, 2, 2), {"stride": 5}),  # elements that no window reads
        ((2, 3, 9, 11), (8, 3, 2, 2), {"stride": (5, 4), "padding": (0, 1)}),
        ((2, 3, 16, 32), (8, 3, 3, 3), {"padding": 1}),  # as many places as columns take,
        ((1, 3, 25, 41), (8, 3, 3, 3), {"padding": 1}),  # and one more
        ((3, 64, 2, 2), (96, 64, 3, 3), {"padding": 1}),
        ((2, 3, 5, 40), (8, 3, 1, 3), {"stride": (1, 3)}),
        ((2, 3, 9, 9), (8, 3, 3, 3), {"stride": (1, 2), "padding": (2, 1), "dilation": (2, 1)}),
        ((2, 3, 4, 4), (5, 3, 3, 3), {"padding": 5}),  # windows of zeros alone
        ((2, 8, 6, 6), (8, 1, 3, 3), {"padding": "same", "groups": 8, "dilation": 2}),
        ((2, 3, 6, 6), (8, 3, 3, 5), {"padding": "same"}),
        ((3, 6, 6), (8, 3, 3, 3), {"padding": "valid"}),  # no batch
        ((0, 3, 6, 6), (8, 3, 3, 3), {"padding": 1}),  # an empty one
        ((2, 1, 3, 3), (1, 1, 3, 3), {"padding": 1}),
    ],
)
def test_shapes(torch: ModuleType, x: Any, w: Any, options: dict[str, Any]) -> None:
    """Sizes around those of tiles and panels, and odd ones."""
    for dtype in ("float64", "float32"):
        arrays = [data(*x, dtype=dtype), data(*w, seed=1, dtype=dtype)]
        arrays.append(data(w[0], seed=2, dtype=dtype))
        compare(torch, "conv2d", arrays, **options)


def test_even_kernel_of_the_same_size(torch: ModuleType) -> None:
    """The zero that is too many stands at the end, as in PyTorch (which warns of a copy)."""
    x, w = data(2, 3, 6, 5), data(4, 3, 4, 2, seed=1)
    ours = F.conv2d(jitgrad.tensor(x), jitgrad.tensor(w), padding="same").numpy()
    with pytest.warns(UserWarning, match="even kernel"):
        theirs = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w), padding="same")
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-12)


def test_threads(torch: ModuleType) -> None:
    """Two threads compute what one does, to the last bit but for sums over images."""
    jitgrad.set_num_threads(2)
    x, w, b = data(4, 16, 40, 40), data(24, 16, 3, 3, seed=1), data(24, seed=2)
    compare(torch, "conv2d", [x, w, b], padding=1)
    compare(torch, "conv2d", [x, w[:16, :1], b[:16]], padding=1, groups=16, stride=2)
    x, w = data(4, 128, 12, 12), data(24, 128, 3, 3, seed=1)
    compare(torch, "conv2d", [x, w, b], padding=1)


def test_transposed_operands(torch: ModuleType) -> None:
    """Operands that are not contiguous."""
    found = []
    for T in (jitgrad, torch):
        x = T.tensor(data(6, 7, 3, 2), requires_grad=True)
        w = T.tensor(data(3, 3, 3, 8, seed=1), requires_grad=True)
        b = T.tensor(data(8, 2, seed=2), requires_grad=True)
        y = T.nn.functional.conv2d(x.permute(3, 2, 0, 1), w.permute(3, 0, 1, 2), b[:, 1], padding=1)
        (y * T.tensor(data(*y.shape, seed=3))).sum().backward()
        found.append([t.numpy() for t in (y.detach(), x.grad, w.grad, b.grad)])
    for a, c in zip(*found, strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(torch: ModuleType, value: float) -> None:
    """A NaN or an infinity reaches the windows that hold it, and no other."""
    x, w = data(1, 2, 9, 9, dtype="float32"), data(8, 2, 3, 3, seed=1, dtype="float32")
    x[0, 1, 4, 4] = value
    compare(torch, "conv2d", [x, w], padding=1)
    y = F.conv2d(jitgrad.tensor(x), jitgrad.tensor(w), padding=1).numpy()
    assert (~np.isfinite(y)).sum() == 8 * 9


def test_finite_differences() -> None:
    """Gradients in all three operands, without PyTorch."""
    arrays = [data(2, 4, 5, 4), data(4, 2, 3, 2, seed=1), data(4, seed=2)]
    functions: list[Callable[..., Any]] = [
        lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=1, groups=2),
        lambda x, w, b: F.conv_transpose2d(x, w, b[:4], stride=2, padding=1, groups=2),
    ]
    for function in functions:
        tensors = [jitgrad.tensor(a, requires_grad=True) for a in arrays]
        y = function(*tensors)
        weight = data(*y.shape, seed=3)
        y.backward(jitgrad.tensor(weight))
        for k, (t, a) in enumerate(zip(tensors, arrays, strict=True)):
            rng = np.random.default_rng(4)
            for _ in range(5):
                place = tuple(int(rng.integers(n)) for n in a.shape)
                values = []
                for step in (1e-5, -1e-5):
                    moved = [np.array(b) for b in arrays]
                    moved[k][place] += step
                    moved_y = function(*(jitgrad.tensor(b) for b in moved)).numpy()
                    values.append(float((moved_y * weight).sum()))
                expected = (values[0] - values[1]) / 2e-5
                assert t.grad.numpy()[place] == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_only_what_is_asked_for() -> None:
    """A gradient goes to those operands that require one."""
    x, w = jitgrad.ones(1, 2, 4, 4), jitgrad.ones(8, 2, 3, 3, requires_grad=True)
    F.conv2d(x, w).sum().backward()
    assert x.grad is None
    assert w.grad.tolist() == [[[[4.0] * 3] * 3] * 2] * 8


_SETUP = "T.ones(1, 3, 5, 5)"


@pytest.mark.parametrize(
    "source",
    [
        "F.conv2d(T.ones(1, 3, 4, 4), T.ones(2, 4, 3, 3))",
        "F.conv2d(T.ones(4, 4), T.ones(2, 4, 3, 3))",
        "F.conv1d(T.ones(1, 3, 4, 4), T.ones(2, 3, 3))",
        "F.conv3d(T.ones(3, 4), T.ones(2, 3, 3, 3, 3))",
        "F.conv2d(T.ones(1, 3, 2, 2), T.ones(2, 3, 3, 3))",
        "F.conv2d(T.ones(1, 3, 0, 5), T.ones(2, 3, 3, 3), padding=2)",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), padding=-1)",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), padding='full')",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), padding='same', stride=2)",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), stride=0)",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), stride=(1, 2, 3))",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), dilation=0)",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), groups=0)",
        "F.conv2d(T.ones(1, 4, 5, 5), T.ones(3, 2, 3, 3), groups=2)",
        "F.conv2d(T.ones(1, 4, 5, 5), T.ones(2, 4, 3, 3), groups=2)",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), T.ones(3))",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), T.ones(2, 1))",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3).double())",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), T.ones(2).double())",
        f"F.conv_transpose2d({_SETUP}, T.ones(2, 3, 3, 3))",
        f"F.conv_transpose2d({_SETUP}, T.ones(3, 2, 3, 3), T.ones(3))",
        f"F.conv_transpose2d({_SETUP}, T.ones(3, 2, 3, 3), padding=4)",
        f"F.conv_transpose2d({_SETUP}, T.ones(3, 2, 3, 3), output_padding=-1)",
        f"F.conv_transpose2d({_SETUP}, T.ones(3, 2, 3, 3), padding='same')",
    ],
)
def test_errors(torch: ModuleType, source: str) -> None:
    """PyTorch's errors, word for word."""
    check(torch, source)


@pytest.mark.parametrize(
    "source",
    [
        f"F.conv2d({_SETUP}, 3)",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3, 3), stride=1.5)",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 3))",
        f"F.conv2d({_SETUP}, T.ones(0, 3, 3, 3))",
        f"F.conv2d({_SETUP}, T.ones(2, 3, 0, 3))",
        f"F.conv_transpose2d({_SETUP}, T.ones(3, 2, 3, 3), stride=2, output_padding=2)",
    ],
)
def test_types_of_errors(torch: ModuleType, source: str) -> None:
    """Errors of PyTorch's types, in other words."""
    check(torch, source, but=("message",))


def test_integers() -> None:
    """Only floats: PyTorch convolves some integers, without gradients."""
    x = jitgrad.ones(1, 1, 3, 3, dtype=jitgrad.int64)
    with pytest.raises(NotImplementedError, match="Long"):
        F.conv2d(x, x)
