"""The arguments of pooling: which windows lie over the last dims of an input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops import bands

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def batched_shape(input: Tensor, n: int, function: str) -> tuple[int, ...]:
    """The shape of (batch, channels, n dims) or (channels, n dims); raises RuntimeError for others."""
    x = entry.shape(input)
    if len(x) not in (n + 1, n + 2):
        raise RuntimeError(
            f"{function}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch"
            f" size for input, but got: {sizes(x)}"
        )
    if 0 in x[len(x) - n - 1 :]:
        raise RuntimeError(
            f"{function}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch"
            f" size for input, but got: {sizes(x)}"
        )
    return x


def window_counts(
    x: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    up: bool,
) -> list[int]:
    """How many windows there are along each dim."""
    if min(stride) <= 0:
        raise RuntimeError("stride should not be zero")
    if min(kernel) <= 0:
        raise RuntimeError(f"kernel size should be greater than zero, but got {list(kernel)}")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")
    for p, k, d in zip(padding, kernel, dilation, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > k // 2:
            raise RuntimeError(
                "pad should be at most half of effective kernel size, but got"
                f" pad={p}, kernel_size={k} and dilation={d}"
            )
    space = x[len(x) - len(kernel) :]
    found = [
        bands.places_after(*of, up)
        for of in zip(space, kernel, stride, padding, dilation, strict=True)
    ]
    if min(found) < 1:
        channels = x[len(x) - len(kernel) - 1]
        given, left = ("x".join(map(str, (channels, *n))) for n in (space, found))
        raise RuntimeError(
            f"Given input size: ({given}). Calculated output size: ({left}). Output size is too small"
        )
    return found


def adaptive_sizes(
    input: Tensor, output_size: Any, n: int, function: str
) -> tuple[tuple[int, ...], list[int]]:
    """The input's shape and how many windows along each of its last ``n`` dims were asked for."""
    x = entry.shape(input)
    if len(x) not in (n + 1, n + 2):
        raise RuntimeError(
            f"{function}(): Expected {n + 1}D or {n + 2}D tensor, but got {sizes(x)}"
        )
    space = x[len(x) - n :]
    if 0 in space:
        raise RuntimeError(
            f"{function}(): Expected input to have non-zero size for non-batch dimensions, but input"
            f" has sizes {sizes(x)}"
        )
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * n
    if len(given) != n:
        raise RuntimeError(f"{function}: output_size must be {n}")
    found = [s if o is None else int(o) for o, s in zip(given, space, strict=True)]
    if min(found) < 0:
        raise RuntimeError(
            f"{function}: elements of output_size must be greater than or equal to 0 but received"
            f" {found}"
        )
    return x, found
