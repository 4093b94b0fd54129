"""Elements put elsewhere by a map for each dim: padding; the kernels are in `jitgrad.kernels.remaps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.names import name
from jitgrad.ops.recipe import Gradients, Step, recipe
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Ints = NDArray[np.int64]

_KERNELS = "jitgrad.kernels.remaps:"
REMAP = register(
    Op(
        "remap",
        "ConstantPadNd",
        KERNEL,
        2,
        _KERNELS + "remap",
        (_KERNELS + "remap_dx", None),
        (2, 0),
    )
)
UNMAP = register(
    Op("unmap", "Unmap", KERNEL, 2, _KERNELS + "unmap", (_KERNELS + "unmap_dx", None), (2, 0))
)


@recipe(REMAP)
def _remap_recipe(step: Step, g: Tensor) -> Gradients:
    attributes = [step.integer(k) for k in range(4)]
    return (record.explicit(UNMAP, (g, step.saved(1)), step.input_shape(0), attributes), None)


@recipe(UNMAP)
def _unmap_recipe(step: Step, g: Tensor) -> Gradients:
    attributes = [step.integer(0), 0, step.integer(2), step.integer(3)]
    return (record.explicit(REMAP, (g, step.saved(1)), step.input_shape(0), attributes), None)


def _straight(map_: Ints) -> tuple[int, int]:
    """From where to where a map's positions are neighbours: the longest such part."""
    if not len(map_):
        return 0, 0
    breaks = np.flatnonzero((np.diff(map_) != 1) | (map_[:-1] < 0)) + 1
    edges = np.concatenate([[0], breaks, [len(map_)]])
    longest = int(np.argmax(np.diff(edges)))
    begin, end = int(edges[longest]), int(edges[longest + 1])
    return (begin, end) if map_[begin] >= 0 else (0, 0)


@lru_cache(256)
def _maps(make: Callable[..., Ints], arguments: tuple[tuple[Any, ...], ...]) -> tuple[Any, ...]:
    """The maps of some dims as a Tensor, their sizes, and the straight part of the last one."""
    from jitgrad.creation import from_numpy

    found = [np.asarray(make(*a), np.int64) for a in arguments]
    joined = from_numpy(np.concatenate(found))
    return joined, tuple(map(len, found)), _straight(found[-1])


def remapped(
    x: Tensor, make: Callable[..., Ints], arguments: Sequence[tuple[Any, ...]], fill: float = 0.0
) -> Tensor:
    """Elements by maps of the last dims, each from a function of its arguments; ``fill`` where it is -1."""
    maps, shape, (begin, end) = _maps(make, tuple(arguments))
    first = x.ndim - len(shape)
    attributes = (first, float(fill), begin, end)
    return record.explicit(REMAP, (x, maps), (*entry.shape(x)[:first], *shape), attributes)


# ---------------------------------------------------------------- padding
def _constant(size: int, before: int, after: int) -> Ints:
    places = np.arange(-before, size + after)
    return np.where((places >= 0) & (places < size), places, -1)


def _reflect(size: int, before: int, after: int) -> Ints:
    places = np.abs(np.arange(-before, size + after))
    return size - 1 - np.abs(size - 1 - places)


def _replicate(size: int, before: int, after: int) -> Ints:
    return np.clip(np.arange(-before, size + after), 0, size - 1)


def _circular(size: int, before: int, after: int) -> Ints:
    # What is cut off does not come back at the other side.
    kept = np.arange(max(-before, 0), size - max(-after, 0))
    return kept[np.arange(-max(before, 0), len(kept) + max(after, 0)) % len(kept)]


_MODES = {
    "constant": _constant,
    "reflect": _reflect,
    "replicate": _replicate,
    "circular": _circular,
}


#: PyTorch's node, one for each number of dims, where it is not that of a constant.
_NODES = {"reflect": "ReflectionPad", "replicate": "ReplicationPad"}


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """More elements, or less, at both sides of the last dims.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype.
    pad : sequence of int
        For the last dim how many are added in front and at the end, then for the one before it, and so
        on; negative ones are taken away.
    mode : {"constant", "reflect", "replicate", "circular"}
        What is added: a value, the neighbours backwards, the last element, or those of the other side.
    value : float, optional
        The value; 0 by default.

    Raises
    ------
    RuntimeError
        If ``pad`` does not fit the shape.
    NotImplementedError
        If ``mode`` is unknown, or not for such a shape.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.pad(jitgrad.tensor([1.0, 2.0]), (1, 2)).tolist()
    [0.0, 1.0, 2.0, 0.0, 0.0]
    >>> jitgrad.nn.functional.pad(jitgrad.tensor([[1.0, 2.0]]), (1, 1), "circular").tolist()
    [[2.0, 1.0, 2.0, 1.0]]
    """
    x = entry.shape(input)
    try:
        amounts = tuple(index(p) for p in pad)
    except TypeError:
        raise TypeError("pad(): argument 'pad' (position 2) must be tuple of ints") from None
    if len(amounts) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2 (got {list(amounts)})")
    n = len(amounts) // 2
    if n > len(x):
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got"
            f" padding length {len(amounts)} and input of dimension {len(x)}"
        )
    if mode not in _MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if mode != "constant":
        if value is not None and value != 0:
            raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
        if n == 0 or not n + 1 <= len(x) <= n + 2 or n > 3:
            raise NotImplementedError(
                "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now"
            )
    if n == 0:
        return input.clone()
    arguments = []
    for d in range(len(x) - n, len(x)):
        k = 2 * (len(x) - 1 - d)
        before, after = amounts[k : k + 2]
        _check_amounts(x, d, before, after, mode)
        arguments.append((x[d], before, after))
    while len(arguments) > 1 and arguments[0][1] == arguments[0][2] == 0:
        del arguments[0]
    found = remapped(input, _MODES[mode], arguments, 0.0 if value is None else value)
    if mode in _NODES:
        name(found, f"{_NODES[mode]}{n}DBackward0")
    return found


def _check_amounts(x: tuple[int, ...], d: int, before: int, after: int, mode: str) -> None:
    size = x[d]
    if size + before + after < 0 or (mode != "constant" and size + before + after == 0):
        raise RuntimeError(
            f"The input size {size}, plus negative padding {before} and {after}, resulted in a negative"
            f" output size, which is invalid. Check dimension {d} of your input."
        )
    if mode == "reflect" and (before >= size or after >= size):
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, but got:"
            f" padding ({before}, {after}) at dimension {d} of input {sizes(x)}"
        )
    if mode == "circular" and (before > size or after > size):
        raise RuntimeError("Padding value causes wrapping around more than once.")
    if mode == "replicate" and size == 0:
        raise RuntimeError(f"Expected input with non-zero size at dimension {d}, got {sizes(x)}")
