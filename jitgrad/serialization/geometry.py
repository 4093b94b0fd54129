"""Tensors that share memory: what they use of it, and how they are made again."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad import creation, dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.tensor import Tensor

#: What an offset, size or stride in a file may be at most.
_MOST = 1 << 46


class BadFile(RuntimeError):
    """A file that cannot be what it says it is, with the reason."""


def storage_of(x: Tensor) -> tuple[int, int]:
    """What tensors of one dtype over the same memory have in common, and no others."""
    # ``x.data`` has a storage of its own over the same buffer; where there is none, storages differ.
    return int(entry.memory(x) or -entry.word(x, col.STORAGE)), int(entry.word(x, col.DTYPE))


def extent(x: Tensor) -> tuple[int, int]:
    """The first element that a tensor shows of its memory, and the one after the last."""
    first = x.storage_offset()
    if x.numel() == 0:
        return first, first
    pairs = zip(x.shape, x.stride(), strict=True)
    return first, first + 1 + sum((size - 1) * stride for size, stride in pairs)


def flat(x: Tensor, start: int, stop: int) -> np.ndarray[Any, Any]:
    """Elements ``start`` to ``stop`` of the memory of ``x``, as an array that shares it."""
    if start == stop:
        return np.empty(0, x.dtype.numpy)
    return entry.restride(x, x.dtype.code, start - x.storage_offset(), stop - start, 1)._memory()


def memory(values: np.ndarray[Any, Any]) -> Tensor:
    """A flat tensor with a copy of an array's elements; uint16 are the bits of bfloat16."""
    if values.dtype == np.uint16:
        return creation.of_bits(values.reshape(-1))
    made = creation.empty(values.size, dtype=dtypes.from_numpy(values.dtype))
    if values.size:
        made._array()[...] = values.reshape(-1)
    return made


def _whole_numbers(values: Any, what: str) -> list[int]:
    if not isinstance(values, (list, tuple)) or any(
        type(v) is not int or not 0 <= v <= _MOST for v in values
    ):
        raise BadFile(f"a tensor's {what} is not made of whole numbers from 0 to 2**46")
    return list(values)


def show(base: Tensor, offset: Any, shape: Any, stride: Any) -> Tensor:
    """A tensor of a shape and strides over a flat one.

    Raises
    ------
    BadFile
        If a number is negative or no number, or an element would lie outside.
    """
    shape, stride = _whole_numbers(shape, "shape"), _whole_numbers(stride, "stride")
    (offset,) = _whole_numbers([offset], "offset")
    if len(shape) != len(stride):
        raise BadFile(f"a tensor has shape {shape} but strides {stride}")
    if len(shape) > col.MAX_DIMS:
        raise BadFile(f"a tensor has {len(shape)} dims; {col.MAX_DIMS} is the most")
    count = base.numel()
    if 0 in shape:
        return creation.empty(tuple(shape), dtype=base.dtype)
    numel = 1
    for size in shape:
        numel *= size
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if last >= count or numel > _MOST:
        raise BadFile(
            f"a tensor of shape {shape}, strides {stride} and offset {offset} does not fit the"
            f" {count} elements that the file has for it"
        )
    made: Tensor = entry.restride(base, base.dtype.code, offset, *shape, *stride)
    return made
