"""Printed tensors read as PyTorch's do: recorded answers, and live parity where torch is installed.

The recorded answers come from torch 2.13 with its default options and `torch.` as the namespace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from jitgrad import printing
from jitgrad.printing import get_printoptions, printoptions, set_printoptions, tensor_repr

DEFAULTS = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}
NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def _default_options() -> Iterator[None]:
    set_printoptions(profile="default")
    yield
    set_printoptions(profile="default")


def text(values: Any, dtype: str = "float32", **overrides: Any) -> str:
    """Return the repr of `values` as `dtype`, with torch's defaults for everything else."""
    arguments: dict[str, Any] = {
        "dtype_name": dtype,
        "default_dtype_name": "float32",
        "requires_grad": False,
        "grad_fn_name": None,
        "namespace": "torch",
    }
    return tensor_repr(np.asarray(values, dtype=dtype), **(arguments | overrides))


RECORDED_VECTORS = [
    ([1.0, 2.0], "float32", "tensor([1., 2.])"),
    ([1.0, 2.0], "float64", "tensor([1., 2.], dtype=torch.float64)"),
    ([1.5, 2.0], "float32", "tensor([1.5000, 2.0000])"),
    ([1e-5, 1.0], "float32", "tensor([1.0000e-05, 1.0000e+00])"),
    ([0.5, 1001.0], "float32", "tensor([5.0000e-01, 1.0010e+03])"),
    ([0.0, 1001.0], "float32", "tensor([   0., 1001.])"),
    ([1e8, 1.0], "float32", "tensor([1.0000e+08, 1.0000e+00])"),
    (1e8, "float32", "tensor(100000000.)"),
    (1e9, "float32", "tensor(1.0000e+09)"),
    # 1e-4 is just under the bound as a float32, and on it as a float64.
    ([1e-4, 2e-4], "float32", "tensor([1.0000e-04, 2.0000e-04])"),
    ([1e-4, 2e-4], "float64", "tensor([0.0001, 0.0002], dtype=torch.float64)"),
    ([NAN, 1.0], "float32", "tensor([nan, 1.])"),
    ([INF, -1.5], "float32", "tensor([    inf, -1.5000])"),
    ([NAN, NAN, 1e-9], "float32", "tensor([       nan,        nan, 1.0000e-09])"),
    ([INF, INF, INF], "float32", "tensor([inf, inf, inf])"),
    ([-0.0], "float32", "tensor([-0.])"),
    (1.5, "float32", "tensor(1.5000)"),
    ([1, -20, 3], "int64", "tensor([  1, -20,   3])"),
    ([1, -20, 3], "int8", "tensor([  1, -20,   3], dtype=torch.int8)"),
    (3, "int8", "tensor(3, dtype=torch.int8)"),
    ([True, False], "bool", "tensor([ True, False])"),
    (True, "bool", "tensor(True)"),
    ([], "float32", "tensor([])"),
    ([], "int64", "tensor([], dtype=torch.int64)"),
    ([], "bool", "tensor([], dtype=torch.bool)"),
    (np.empty((0, 3)), "float32", "tensor([], size=(0, 3))"),
    (np.empty((0, 3)), "int32", "tensor([], size=(0, 3), dtype=torch.int32)"),
    (range(1001), "int64", "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
]


@pytest.mark.parametrize(("values", "dtype", "expected"), RECORDED_VECTORS)
def test_recorded(values: Any, dtype: str, expected: str) -> None:
    assert text(values, dtype) == expected


def test_recorded_blocks_are_separated_by_blank_lines() -> None:
    assert text(np.zeros((2, 2, 1, 2))) == (
        "tensor([[[[0., 0.]],\n\n         [[0., 0.]]],\n\n\n"
        "        [[[0., 0.]],\n\n         [[0., 0.]]]])"
    )


def test_recorded_summary_of_rows() -> None:
    rows = "[0., 0.],\n        "
    assert text(np.zeros((1001, 2))) == f"tensor([{rows * 3}...,\n        {rows * 2}[0., 0.]])"


def test_long_rows_wrap_at_the_line_width() -> None:
    lines = text(np.arange(30.0)).split("\n")
    assert (
        lines[0] == "tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,"
    )
    assert lines[1].startswith("        14., ")


def test_fields_that_do_not_fit_start_a_line() -> None:
    block = text(np.full((2, 8), 0.5), "float64", requires_grad=True, grad_fn_name="MulBackward0")
    assert block.endswith("0.5000]],\n       dtype=torch.float64, grad_fn=<MulBackward0>)")


def test_fields_are_written_in_order() -> None:
    assert (
        text([1.0], "float64", requires_grad=True, device="cuda:0", namespace="jitgrad")
        == "tensor([1.], device='cuda:0', dtype=jitgrad.float64, requires_grad=True)"
    )
    assert text(1.5, requires_grad=True, grad_fn_name="AddBackward0").endswith(
        "5000, grad_fn=<AddBackward0>)"
    )


def test_default_dtype_is_implied() -> None:
    assert text([1.0], "float64", default_dtype_name="float64") == "tensor([1.])"
    assert text([1.0], default_dtype_name="float64") == "tensor([1.], dtype=torch.float32)"


def test_prefix_sets_the_indentation() -> None:
    assert text(np.zeros((2, 1)), prefix="T") == "T([[0.],\n   [0.]])"


def test_edgeitems_zero_leaves_only_the_shape() -> None:
    with printoptions(edgeitems=0, threshold=2):
        assert text(np.zeros((2, 3))) == "tensor([...], size=(2, 3))"
        assert text([1.0, 2.0]) == "tensor([1., 2.], size=(2,))"
        assert text(1.0) == "tensor(1., size=())"


def test_summary_reads_only_the_edges() -> None:
    huge = np.broadcast_to(np.float32(1), (10**6, 10**6))
    assert text(huge[:, :7]).count("...") == 4 + 3


@pytest.mark.parametrize(
    ("profile", "changed"),
    [
        ("default", {}),
        ("short", {"precision": 2, "edgeitems": 2}),
        ("full", {"threshold": INF}),
    ],
)
def test_profiles(profile: str, changed: dict[str, Any]) -> None:
    set_printoptions(linewidth=10, profile=profile)
    assert get_printoptions() == DEFAULTS | changed | {"linewidth": 10}


def test_options_keep_their_values_except_sci_mode() -> None:
    set_printoptions(precision=2, sci_mode=True)
    set_printoptions(linewidth=40)
    assert get_printoptions() == DEFAULTS | {"precision": 2, "linewidth": 40}


def test_unknown_profile_is_refused_and_changes_nothing() -> None:
    with pytest.raises(ValueError, match="default, short, full; got 'SHORT'"):
        set_printoptions(profile="SHORT", precision=9)
    assert get_printoptions() == DEFAULTS


def test_context_restores_options_after_an_error() -> None:
    with pytest.raises(KeyError), printoptions(precision=1, sci_mode=True):  # noqa: PT012
        assert text([0.25]) == "tensor([2.5e-01])"
        raise KeyError
    assert get_printoptions() == DEFAULTS


def test_get_printoptions_returns_a_copy() -> None:
    get_printoptions()["precision"] = 9
    assert get_printoptions() == DEFAULTS


# Live parity with PyTorch

Rng = np.random.Generator
DTYPES = ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "bool"]
LONGEST_AXIS = [1, 120, 14, 8, 5, 4]
SUMMARISED_SHAPES = [
    (1000,),
    (1001,),
    (2000, 2),
    (3, 400),
    (8, 8, 20),
    (1, 7, 8, 20),
    (9, 2, 2, 30),
]
SPECIAL = [NAN, INF, -INF, 0.0, -0.0]
AT_BOUNDS = [1e-4, 0.1, 0.1001, 1e8, 1e5, 1000, 1, 1.001, 0, 99999.99995, 0.00005]
OPTION_CHOICES: dict[str, list[Any]] = {
    "precision": [0, 1, 2, 3, 8, 12],
    "threshold": [0, 1, 5, 20, 100, INF],
    "edgeitems": [0, 1, 2, 3, 5],
    "linewidth": [1, 10, 20, 40, 60, 100, 200],
    "sci_mode": [True, False],
    "profile": ["default", "short", "full"],
}


def random_shape(rng: Rng) -> tuple[int, ...]:
    if rng.random() < 0.04:
        return SUMMARISED_SHAPES[rng.integers(len(SUMMARISED_SHAPES))]
    ndim = int(rng.integers(len(LONGEST_AXIS)))
    shortest = int(rng.random() > 0.1)
    return tuple(int(rng.integers(shortest, LONGEST_AXIS[ndim] + 1)) for _ in range(ndim))


def random_floats(rng: Rng, shape: tuple[int, ...]) -> Any:
    normal = rng.standard_normal(shape)
    makers: list[Callable[[], Any]] = [
        lambda: normal,
        lambda: np.round(normal * 10 ** rng.integers(0, 11)),
        lambda: np.round(normal * 10, int(rng.integers(0, 4))),
        lambda: normal * 10.0 ** rng.integers(-12, 12),
        lambda: normal * 10.0 ** rng.integers(-5, 5, shape),
        lambda: normal * 10.0 ** rng.choice([-320, -300, 300, 0], shape),
        lambda: rng.choice(AT_BOUNDS, shape),
        lambda: rng.choice(SPECIAL, shape),
        lambda: np.where(rng.random(shape) < 0.4, rng.choice(SPECIAL, shape), normal),
    ]
    return makers[rng.integers(len(makers))]()


def random_array(rng: Rng, dtype: str) -> np.ndarray[Any, Any]:
    shape = random_shape(rng)
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.startswith("float"):
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(random_floats(rng, shape)).astype(dtype)
    low, high = (0, 100) if rng.random() < 0.5 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.asarray(rng.integers(low, high, shape, dtype=dtype, endpoint=True))


def random_options(rng: Rng) -> dict[str, Any]:
    if rng.random() < 0.4:
        return {}
    return {
        name: choices[rng.integers(len(choices))]
        for name, choices in OPTION_CHOICES.items()
        if rng.random() < 0.5
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(4))
def test_parity_with_torch(torch: Any, dtype: str, seed: int) -> None:
    rng = np.random.default_rng([seed, DTYPES.index(dtype)])
    for _ in range(60):
        array, options = random_array(rng, dtype), random_options(rng)
        tensor, grad_fn_name = torch.from_numpy(array.copy()), None
        if dtype.startswith("float") and rng.random() < 0.6:
            tensor.requires_grad_()
            if rng.random() < 0.5:
                tensor = tensor.view(tensor.shape)
                grad_fn_name = "ViewBackward0"
        with torch._tensor_str.printoptions(**options):
            expected = repr(tensor)
        with printoptions(**options):
            actual = text(
                array, dtype, requires_grad=tensor.requires_grad, grad_fn_name=grad_fn_name
            )
        assert actual == expected, (options, array.shape)


@pytest.mark.parametrize("profile", sorted(printing._PROFILES))
def test_profiles_are_those_of_torch(torch: Any, profile: str) -> None:
    with torch._tensor_str.printoptions(profile=profile), printoptions(profile=profile):
        assert get_printoptions() == torch._tensor_str.get_printoptions()
