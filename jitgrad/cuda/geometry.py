"""What commands say of tensors: where they are and how they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jitgrad.cuda.pointwise import Operand


class Plan(NamedTuple):
    """A pointwise plan: elements, shape, operands (the result first), and the bytes of their elements."""

    n: int
    shape: tuple[int, ...]
    operands: list[Operand]
    sizes: list[int]


class Geometry(NamedTuple):
    """What a kernel has to know of a row."""

    address: int
    dtype: int
    numel: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous tensor, in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))
