"""Numbers in nested Python sequences as arrays, and what is wrong with data that are none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.ops.operands import is_tensor
from jitgrad.ops.reductions import default_dtype

if TYPE_CHECKING:
    from jitgrad.dtypes import dtype as DType  # noqa: N812

Array = np.ndarray[Any, Any]


def _plain(value: Any) -> Any:
    if is_tensor(value):
        return value.detach().tolist()
    if isinstance(value, (list, tuple, range)):
        return [_plain(v) for v in value]
    return value


def as_array(data: Any) -> Array:
    """Data as an array of numbers.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        What PyTorch raises for such data.
    """
    if not isinstance(data, (np.ndarray, np.generic)):
        data = _plain(data)
    try:
        array = np.asarray(data)
    except (ValueError, OverflowError):
        raise _fault(data) from None
    of_arrays = isinstance(data, (np.ndarray, np.generic))
    if any(step < 0 for step in array.strides):
        raise negative_strides()
    if array.dtype.kind in "buif" and (of_arrays or array.dtype != np.uint64):
        return array
    if of_arrays:
        names = ", ".join(d.name for d in reversed(dtypes.ALL))
        raise TypeError(
            f"can't convert np.ndarray of type {array.dtype}. The only supported types are: {names}."
        )
    raise _fault(data)


def negative_strides() -> ValueError:
    """The error for an array that runs backwards."""
    return ValueError(
        "At least one stride in the given numpy array is negative, and tensors with negative strides are"
        " not currently supported. (You can probably work around this by making a copy of your array "
        " with array.copy().) "
    )


def _fault(data: Any) -> Exception:
    """The error for a list that is no array of numbers, or for an object."""
    shape: list[int] = []
    first = data
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if isinstance(first, (str, bytes)) and shape:
        return ValueError(f"too many dimensions '{type(first).__name__}'")
    return _fault_at(data, 0, shape, first) or ValueError("Overflow when unpacking long long")


def _fault_at(value: Any, depth: int, shape: list[int], first: Any) -> Exception | None:
    if depth < len(shape):
        if not isinstance(value, list):
            return TypeError("not a sequence")
        if len(value) != shape[depth]:
            return ValueError(
                f"expected sequence of length {shape[depth]} at dim {depth} (got {len(value)})"
            )
        faults = (_fault_at(v, depth + 1, shape, first) for v in value)
        return next((f for f in faults if f is not None), None)
    kind = type(value).__name__
    if isinstance(value, list):
        if isinstance(first, float):
            return TypeError(f"must be real number, not {kind}")
        return TypeError(f"'{kind}' object cannot be interpreted as an integer")
    if isinstance(value, (str, bytes)):
        return TypeError(f"new(): invalid data type '{kind}'")
    if isinstance(value, complex):
        return TypeError("there are no complex dtypes here, and the data hold a complex number")
    if not isinstance(value, (bool, int, float, np.generic)):
        return RuntimeError(f"Could not infer dtype of {kind}")
    return None


def dtype_of(data: Any, array: Array) -> DType:
    """The dtype of a tensor of such data."""
    if isinstance(data, (np.ndarray, np.generic)):
        return dtypes.from_numpy(array.dtype)
    first = data
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if is_tensor(first) or isinstance(first, (np.generic, np.ndarray)):
        return dtypes.from_numpy(np.asarray(first).dtype)
    if array.dtype.kind == "f":
        return default_dtype()
    return dtypes.bool if array.dtype.kind == "b" else dtypes.int64


def check_range(array: Array, dtype: DType) -> None:
    """Raise RuntimeError if an element does not fit an integer dtype; unsigned ones wrap negatives."""
    if dtype.is_floating_point or dtype is dtypes.bool or array.size == 0:
        return
    if not _fits(array.min(), dtype) or not _fits(array.max(), dtype):
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")


def _fits(value: Any, dtype: DType) -> bool:
    if not math.isfinite(value):
        return False
    info = dtypes.iinfo(dtype)
    return (info.min or -info.max) <= int(value) <= info.max


def check_fill(value: Any, dtype: DType) -> None:
    """Raise RuntimeError if a number that is to fill a tensor does not fit its dtype."""
    value = value.item() if hasattr(value, "item") else value
    if dtype is dtypes.bool or not isinstance(value, (int, float)):
        return
    if dtype.is_floating_point:
        fits = not math.isfinite(value) or abs(value) <= dtypes.finfo(dtype).max
    else:
        fits = _fits(value, dtype)
    if not fits:
        name = dtype.c_name if dtype.is_floating_point else f"{dtype.name}_t"
        raise RuntimeError(f"value cannot be converted to type {name} without overflow")
