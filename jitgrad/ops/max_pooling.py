"""Max pooling over windows, and its inverse; kernels in `jitgrad.kernels.pooling`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops import bands, record
from jitgrad.ops.convolution import Sizes, spread_sizes
from jitgrad.ops.gathering import scatter, scatter_add
from jitgrad.ops.recipe import Gradients, Step, recipe, zeros
from jitgrad.ops.table import KERNEL, Op, register
from jitgrad.ops.views import reshape
from jitgrad.ops.windows import adaptive_sizes, batched_shape, window_counts

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels.pooling:"


def _max_op(name: str, node: str) -> Op:
    """Max pooling over so many dims; they differ in their nodes' names only."""
    vjps = (_KERNELS + "max_pool_dx", None, None)
    return register(Op(name, node, KERNEL, 3, _KERNELS + "max_pool", vjps, (2, 0, 0)))


_MAX = [
    _max_op("max_pool1d", "MaxPool1D"),
    _max_op("max_pool2d", "MaxPool2DWithIndices"),
    _max_op("max_pool3d", "MaxPool3DWithIndices"),
]


@recipe(*_MAX)
def _max_recipe(step: Step, g: Tensor) -> Gradients:
    n = step.integer(0)
    x = step.input_shape(0)
    planes = prod(x[: len(x) - n])
    where = step.saved(1).reshape(planes, -1)
    flat = zeros((planes, prod(x[len(x) - n :])), g.dtype)
    return (scatter_add(flat, 1, where, g.reshape(planes, -1)).reshape(x), None, None)


def _window_list(begins: Sequence[Any], lengths: Sequence[Any]) -> Tensor:
    from jitgrad.creation import from_numpy

    one = [np.array([0, 1])] * (3 - len(begins))
    lists = [np.concatenate(pair) for pair in zip(begins, lengths, strict=True)]
    return from_numpy(np.concatenate([*one, *lists]).astype(np.int64))


@lru_cache(256)
def _windows(
    space: tuple[int, ...],
    out: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Tensor:
    begins, lengths = [], []
    for size, n, k, s, p, d in zip(space, out, kernel, stride, padding, dilation, strict=True):
        begin = np.arange(n) * s - p
        end = np.minimum(begin + (k - 1) * d + 1, size)
        begin = np.where(begin < 0, begin + -(begin // d) * d, begin)
        begins.append(begin)
        lengths.append(np.maximum((end - begin + d - 1) // d, 0))
    return _window_list(begins, lengths)


@lru_cache(256)
def _adaptive_list(space: tuple[int, ...], out: tuple[int, ...]) -> Tensor:
    pairs = [bands.adaptive_windows(size, n) for size, n in zip(space, out, strict=True)]
    return _window_list([b for b, _ in pairs], [e - b for b, e in pairs])


def _largest(
    input: Tensor, n: int, out: Sequence[int], windows: Tensor, dilation: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    from jitgrad.creation import empty

    x = entry.shape(input)
    shape = (*x[: len(x) - n], *out)
    where = empty(shape, dtype=dtypes.int64, device=input.device)
    attributes = (n, *(1,) * (3 - n), *dilation)
    return record.explicit(_MAX[n - 1], (input, where, windows), shape, attributes), where


def _max_pool(
    n: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
) -> tuple[Tensor, Tensor]:
    function = f"max_pool{n}d"
    x = batched_shape(input, n, function)
    kernel = spread_sizes(kernel_size, n, "kernel_size", function)
    steps = kernel if stride in (None, []) else spread_sizes(stride, n, "stride", function)
    pads = spread_sizes(padding, n, "padding", function)
    apart = spread_sizes(dilation, n, "dilation", function)
    out = window_counts(x, kernel, steps, pads, apart, ceil_mode)
    windows = _windows(x[len(x) - n :], tuple(out), kernel, steps, pads, apart)
    return _largest(input, n, out, windows, apart)


def _adaptive_max(n: int, input: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    x, out = adaptive_sizes(input, output_size, n, f"adaptive_max_pool{n}d")
    windows = _adaptive_list(x[len(x) - n :], tuple(out))
    return _largest(input, n, out, windows, (1,) * n)


_MAX_DOC = """The largest element of each window along the last {n} dims.

    Parameters
    ----------
    input : Tensor
        (n, channels, ...) or (channels, ...); any dtype.
    kernel_size, stride, padding, dilation : int or sequence of int
        Size of the windows, how far they lie apart (their size by default), what is added at either side
        (it is never the largest), how far the elements in a window lie apart.
    ceil_mode : bool
        Have a last window that hangs over the end.
    return_indices : bool
        Return the positions as well: int64, flat over the pooled dims.

    Raises
    ------
    RuntimeError
        If the input has other dims, a number is out of its range or no window fits.
    """


def _max_functions(n: int) -> tuple[Callable[..., Any], ...]:
    def pool(
        input: Tensor,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        y, where = _max_pool(n, input, kernel_size, stride, padding, dilation, ceil_mode)
        return (y, where) if return_indices else y

    def pool_with_indices(
        input: Tensor,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> tuple[Tensor, Tensor]:
        return _max_pool(n, input, kernel_size, stride, padding, dilation, ceil_mode)

    def adaptive(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        y, where = _adaptive_max(n, input, output_size)
        return (y, where) if return_indices else y

    def adaptive_with_indices(
        input: Tensor, output_size: Any, return_indices: bool = False
    ) -> tuple[Tensor, Tensor]:
        return _adaptive_max(n, input, output_size)

    for function, name in (
        (pool, f"max_pool{n}d"),
        (pool_with_indices, f"max_pool{n}d_with_indices"),
        (adaptive, f"adaptive_max_pool{n}d"),
        (adaptive_with_indices, f"adaptive_max_pool{n}d_with_indices"),
    ):
        function.__name__ = function.__qualname__ = name
    pool.__doc__ = _MAX_DOC.format(n=n)
    pool_with_indices.__doc__ = f"`max_pool{n}d` and the positions."
    adaptive.__doc__ = (
        f"The largest elements of windows that cover the last {n} dims; ``output_size`` of them along"
        " each\n\n    (None: as many as there are elements)."
    )
    adaptive_with_indices.__doc__ = f"`adaptive_max_pool{n}d` and the positions."
    return pool, pool_with_indices, adaptive, adaptive_with_indices


(
    max_pool1d,
    max_pool1d_with_indices,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
) = _max_functions(1)
(
    max_pool2d,
    max_pool2d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
) = _max_functions(2)
(
    max_pool3d,
    max_pool3d_with_indices,
    adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices,
) = _max_functions(3)


def _max_unpool(
    n: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sequence[int] | None,
) -> Tensor:
    function = f"max_unpool{n}d"
    kernel = spread_sizes(kernel_size, n, "kernel_size", function)
    steps = kernel if stride is None else spread_sizes(stride, n, "stride", function)
    pads = spread_sizes(padding, n, "padding", function)
    x = entry.shape(input)
    lead, space = x[: len(x) - n], x[len(x) - n :]
    if entry.shape(indices) != x:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({sizes(x)}) but got"
            f" indices tensor with shape: {sizes(indices.shape)}"
        )
    usual = [(i - 1) * s + k - 2 * p for i, s, k, p in zip(space, steps, kernel, pads, strict=True)]
    out = usual if output_size is None else list(output_size)[-n:]
    if output_size is not None and len(output_size) not in (n, n + 2):
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length"
            f" of '{len(output_size)}'"
        )
    for size, default, step in zip(out, usual, steps, strict=True):
        if not default - step < size < default + step:
            raise ValueError(
                f'invalid output_size "{out}" (dim must be between {default - step} and'
                f" {default + step})"
            )
    flat = zeros((prod(lead), prod(out)), input.dtype, input.device)
    rows = prod(lead)
    y = scatter(flat, 1, reshape(indices, rows, -1), reshape(input, rows, -1))
    return reshape(y, *lead, *out)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Elements back at the positions that max pooling over one dim took them from, zeros elsewhere."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Elements back at the positions that max pooling over two dims took them from, zeros elsewhere.

    Examples
    --------
    >>> import jitgrad
    >>> f = jitgrad.nn.functional
    >>> y, where = f.max_pool2d(jitgrad.tensor([[[1.0, 4.0], [2.0, 3.0]]]), 2, return_indices=True)
    >>> f.max_unpool2d(y, where, 2).tolist()
    [[[0.0, 4.0], [0.0, 0.0]]]
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Elements back at the positions that max pooling over three dims took them from, zeros elsewhere."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)
