"""Values as they are shown: a row's memory, or a gradient's, summed up in a few numbers and a text."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.inspect import storages

#: Up to so many elements a text shows all of them.
WHOLE = 64


@dataclass(frozen=True)
class Value:
    """What is shown of a tensor's value or gradient.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
    text : str
        The elements; of more than 64 the first and last ones.
    short : str
        The same in a few characters: the elements if they are few, else the norm.
    norm : float
        The Euclidean norm.
    low, high : float or None
        The smallest and the largest element (NaN if one is NaN); None if there are none.
    """

    shape: tuple[int, ...]
    dtype: str
    text: str
    short: str
    norm: float
    low: float | None
    high: float | None

    @staticmethod
    def of(array: np.ndarray[Any, Any]) -> Value:
        """Sum up an array."""
        # Infinities are shown, so a norm that overflows is no reason to warn.
        with np.errstate(all="ignore"):
            norm = float(np.linalg.norm(array.astype(np.float64, copy=False).ravel()))
        brief = _written(array, 3)
        return Value(
            tuple(array.shape),
            array.dtype.name,
            _written(array, 6, aligned=True),
            brief if array.size <= 4 and len(brief) <= 24 else f"|g| {norm:.4g}",
            norm,
            float(array.min()) if array.size else None,
            float(array.max()) if array.size else None,
        )


def _written(array: np.ndarray[Any, Any], digits: int, aligned: bool = False) -> str:
    """The elements with so many significant digits; of more than `WHOLE` the first and last ones."""

    def number(x: Any) -> str:
        return f"{x:.{digits}g}"

    width = 0
    if aligned and array.ndim > 1 and array.size <= WHOLE and array.dtype.kind == "f":
        width = max((len(number(x)) for x in array.ravel()), default=0)
    return np.array2string(
        array,
        separator=", ",
        threshold=WHOLE,
        edgeitems=3,
        formatter={"float_kind": lambda x: number(x).rjust(width)},
    )


def memory(
    storage: int, dtype: int, shape: Sequence[int], stride: Sequence[int], offset: int
) -> np.ndarray[Any, Any]:
    """The elements in a storage, as an array over its memory: valid until the next op."""
    kind = dtypes.ALL[dtype].numpy
    if 0 in shape:
        return np.empty(tuple(shape), kind)
    first = int(storages()[storage, col.S_DATA]) + offset * kind.itemsize
    reach = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    raw = (ctypes.c_char * (reach * kind.itemsize)).from_address(first)
    return np.ndarray(tuple(shape), kind, raw, 0, tuple(s * kind.itemsize for s in stride))


def row_value(line: np.ndarray[Any, np.dtype[np.int64]]) -> Value | None:
    """The value of the row with these words; None once the graph has let go of it."""
    if line[col.STORAGE] == col.NONE:
        return None
    n = int(line[col.NDIM])
    shape = line[col.SHAPE : col.SHAPE + n].tolist()
    stride = line[col.STRIDE : col.STRIDE + n].tolist()
    storage, dtype, offset = (int(line[k]) for k in (col.STORAGE, col.DTYPE, col.OFFSET))
    return Value.of(memory(storage, dtype, shape, stride, offset))
