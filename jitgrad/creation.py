"""Making tensors: from data, filled, in sequences, and sharing memory with NumPy and DLPack."""

from __future__ import annotations

import builtins
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes, errors
from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry
from jitgrad.arena.header import header
from jitgrad.devices import CPU, usable
from jitgrad.devices import device as Device  # noqa: N812
from jitgrad.dtypes import dtype as DType  # noqa: N812
from jitgrad.ops.operands import copy_into
from jitgrad.ops.reductions import default_dtype
from jitgrad.sequences import as_array, check_fill, check_range, dtype_of

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

get_default_dtype = default_dtype


def set_default_dtype(d: DType) -> None:
    """The dtype that Python floats become: float32 or float64.

    Raises
    ------
    TypeError
        For any other.
    """
    if not isinstance(d, DType) or not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    header[col.H_DEFAULT_DTYPE] = d.code


@cache
def _class() -> type[Tensor]:
    from jitgrad.tensor import Tensor

    return Tensor


def _sizes(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    for n in size:
        if type(n) is not int or n < 0:
            return _checked_sizes(name, size)
    return size


def _checked_sizes(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and hasattr(size[0], "__iter__") and getattr(size[0], "ndim", None) != 0:
        size = size if isinstance(size[0], str) else tuple(size[0])
    try:
        sizes = tuple(index(n) for n in size)
    except TypeError:
        at, bad = next((i, n) for i, n in enumerate(size) if not hasattr(n, "__index__"))
        kind = type(bad).__name__
        if at == 0:
            raise TypeError(
                f"{name}(): argument 'size' (position 1) must be tuple of ints, not {kind}"
            ) from None
        raise TypeError(
            f"{name}(): argument 'size' failed to unpack the object at pos {at + 1} with error \"type"
            f' must be tuple of ints,but got {kind}"'
        ) from None
    for n in sizes:
        if n < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: {errors.sizes(sizes)}"
            )
    return sizes


def _finish(made: Tensor, requires_grad: bool, device: Any = None) -> Tensor:
    made = placed(made, device)
    if requires_grad:
        if not made.dtype.is_floating_point:
            raise errors.not_floating()
        entry.flag(made, col.F_REQUIRES_GRAD, 1)
    return made


class _Default(threading.local):
    """Where a thread makes tensors."""

    #: None is the CPU.
    device: Any = None
    #: What the user has chosen, also while a recipe makes its tensors beside a gradient.
    chosen: Any = None


_default = _Default()


def set_default_device(device: Any) -> None:
    """Make tensors on a device from now on, in this thread (None: on the CPU).

    Raises
    ------
    RuntimeError, AssertionError
        If there is no such device.
    """
    if device is not None:
        usable(device)
    _default.device = _default.chosen = device


def get_default_device() -> Device:
    """Where tensors are made."""
    return usable(_default.device or "cpu")


def as_chosen() -> AbstractContextManager[None]:
    """Make tensors where the user has chosen, for the length of a block: his code is called from a recipe."""
    return on_device(_default.chosen)


@contextmanager
def on_device(device: Any) -> Iterator[None]:
    """Make tensors on a device for the length of a block."""
    before, _default.device = _default.device, device
    try:
        yield
    finally:
        _default.device = before


def is_on_gpu(x: Tensor) -> builtins.bool:
    """Whether a tensor's memory is on the GPU."""
    return builtins.bool(entry.memory(x) >> col.GPU_BIT)


def placed(made: Tensor, device: Any) -> Tensor:
    """A tensor without history on the device that an argument ``device=`` means (None: the default one)."""
    device = _default.device if device is None else device
    if device is None:
        return made
    if device is CPU and not is_on_gpu(made):
        # An operand's device, mostly.
        return made
    return made if usable(device).type == made.device.type else made.to(device)


def _check_ndim(sizes: Sequence[int]) -> None:
    if len(sizes) > col.MAX_DIMS:
        raise errors.from_fault(col.X_DIMS, len(sizes), 0, 0, ())


def _on_gpu(device: Any) -> builtins.bool:
    """Whether an argument ``device=`` (None: the default one) means the GPU."""
    device = _default.device if device is None else device
    return device is not None and device is not CPU and usable(device).type == "cuda"


def _new(sizes: Sequence[int], dtype: DType, device: Any = CPU) -> Tensor:
    _check_ndim(sizes)
    if _on_gpu(device):
        from jitgrad.cuda import transfers

        return transfers.empty(tuple(sizes), dtypes.of(dtype).code)
    return call(entry.new, dtypes.of(dtype).code, _class(), *sizes)


def empty(
    *size: Any,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of a shape, its contents undefined.

    Raises
    ------
    RuntimeError
        If a size is negative or there are too many dims.
    MemoryError
        If there is not enough memory.
    """
    made = _new(_sizes("empty", size), dtype or default_dtype(), device)
    return _finish(made, requires_grad, device)


def _filled(
    sizes: Sequence[int], value: Any, dtype: DType, requires_grad: bool, device: Any
) -> Tensor:
    dtype = dtypes.of(dtype)
    value = value.item() if hasattr(value, "item") else value
    if not dtype.is_floating_point:
        # What a cast makes of it; a bool is True for all but 0.
        value = bool(value) if dtype is dtypes.bool else int(value)
    if _on_gpu(device):
        return _finish(_new(sizes, dtype, device).fill_(value), requires_grad, device)
    _check_ndim(sizes)
    made = call(entry.filled, dtype.code, _class(), value, *sizes)
    return _finish(made, requires_grad, device)


def _store(made: Tensor, values: Any) -> Tensor:
    """Give a new tensor the elements of an array, or a number; returns it."""
    if made.dtype is dtypes.bfloat16:
        # NumPy has no such dtype: by way of float32.
        single = _new(made.shape, dtypes.float32)
        copy_into(made, _store(single, values))
        return made
    array = made._array()
    if getattr(values, "dtype", None) is array.dtype:
        array[...] = values
    elif array.size:
        with np.errstate(all="ignore"):
            np.copyto(array, values, casting="unsafe")
    return made


def zeros(
    *size: Any, dtype: DType | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.zeros(2).tolist()
    [0.0, 0.0]
    """
    return _filled(_sizes("zeros", size), 0, dtype or default_dtype(), requires_grad, device)


def ones(
    *size: Any, dtype: DType | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones."""
    return _filled(_sizes("ones", size), 1, dtype or default_dtype(), requires_grad, device)


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of one value, whose kind gives the dtype if none is named."""
    if not isinstance(size, (tuple, list)):
        raise TypeError(
            f"full(): argument 'size' (position 1) must be tuple of ints, not {type(size).__name__}"
        )
    dtype = dtypes.of(dtype or _kind(fill_value))
    check_fill(fill_value, dtype)
    return _filled(_sizes("full", (size,)), fill_value, dtype, requires_grad, device)


def _kind(value: Any) -> DType:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool):
        return dtypes.bool
    return dtypes.int64 if isinstance(value, int) else default_dtype()


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The identity matrix, (n, m or n)."""
    for letter, value in (("n", n), ("m", n if m is None else m)):
        if index(value) < 0:
            raise RuntimeError(f"{letter} must be greater or equal to 0, got {value}")
    made = zeros(n, n if m is None else m, dtype=dtype)
    return _finish(made.fill_diagonal_(1), requires_grad, device)


def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from ``start`` (0) up to, without, ``end`` in steps: int64 unless one is a float.

    Raises
    ------
    RuntimeError
        If the step is zero or leads away from ``end``.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.arange(1, 2, 0.25).tolist()
    [1.0, 1.25, 1.5, 1.75]
    """
    if end is None:
        if type(start) is int and 0 <= start and step == 1 and dtype is None:
            values = np.arange(start, dtype=np.int64)
            return _finish(_store(_new((start,), dtypes.int64), values), requires_grad, device)
        start, end = 0, start
    start, end, step = (v.item() if hasattr(v, "item") else v for v in (start, end, step))
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        floating = builtins.any(isinstance(v, float) for v in (start, end, step))
        dtype = default_dtype() if floating else dtypes.int64
    if (end - start) / step >= 1 << 63:
        raise RuntimeError("invalid size, possible overflow?")
    count = int(np.ceil((end - start) / step)) if isinstance((end - start) / step, float) else 0
    dtype = dtypes.of(dtype)
    exact = np.float64 if dtype.is_floating_point else np.int64
    values = start + np.arange(count, dtype=exact) * step
    return _finish(_store(_new((count,), dtype), values), requires_grad, device)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``steps`` numbers from ``start`` to ``end``, both included."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    made = _new((steps,), dtype or default_dtype())
    return _finish(
        _store(made, np.linspace(float(start), float(end), steps)), requires_grad, device
    )


def inclusive_range(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DType | None = None,
    **more: Any,
) -> Tensor:
    """`arange` with the end included; deprecated in PyTorch."""
    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior is"
        " inconsistent with Python's range builtin. Instead, use torch.arange, which produces values in"
        " [start, end).",
        UserWarning,
        stacklevel=2,
    )
    first, last = (0, start) if end is None else (start, end)
    count = math.floor((last - first) / step) + 1
    return arange(first, first + count * step, step, dtype=dtype or default_dtype(), **more)


def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``steps`` powers of ``base``, whose exponents go from ``start`` to ``end``, both included."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    made = _new((steps,), dtype or default_dtype())
    values = np.logspace(float(start), float(end), steps, base=base)
    return _finish(_store(made, values), requires_grad, device)


# ---------------------------------------------------------------- like another
def _like(input: Tensor, dtype: DType | None, device: Any) -> tuple[tuple[int, ...], DType, Any]:
    if device is None and is_on_gpu(input):
        device = input.device
    return tuple(input.shape), dtype or input.dtype, device


def empty_like(
    input: Tensor,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """An uninitialised tensor of the shape and dtype of another."""
    sizes, dtype, device = _like(input, dtype, device)
    return _finish(_new(sizes, dtype), requires_grad, device)


def zeros_like(
    input: Tensor,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Zeros in the shape and dtype of another tensor."""
    sizes, dtype, device = _like(input, dtype, device)
    return _filled(sizes, 0, dtype, requires_grad, device)


def ones_like(
    input: Tensor,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Ones in the shape and dtype of another tensor."""
    sizes, dtype, device = _like(input, dtype, device)
    return _filled(sizes, 1, dtype, requires_grad, device)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """One value in the shape and dtype of another tensor."""
    sizes, dtype, device = _like(input, dtype, device)
    check_fill(fill_value, dtypes.of(dtype))
    return _filled(sizes, fill_value, dtype, requires_grad, device)


def new_empty(self: Tensor, *size: Any, dtype: DType | None = None, **kwargs: Any) -> Tensor:
    """An uninitialised tensor in this tensor's dtype."""
    kwargs.setdefault("device", self.device)
    return empty(*size, dtype=dtype or self.dtype, **kwargs)


def new_zeros(self: Tensor, *size: Any, dtype: DType | None = None, **kwargs: Any) -> Tensor:
    """Zeros in this tensor's dtype."""
    kwargs.setdefault("device", self.device)
    return zeros(*size, dtype=dtype or self.dtype, **kwargs)


def new_ones(self: Tensor, *size: Any, dtype: DType | None = None, **kwargs: Any) -> Tensor:
    """Ones in this tensor's dtype."""
    kwargs.setdefault("device", self.device)
    return ones(*size, dtype=dtype or self.dtype, **kwargs)


def new_full(
    self: Tensor, size: Any, fill_value: Any, dtype: DType | None = None, **kwargs: Any
) -> Tensor:
    """One value in this tensor's dtype."""
    kwargs.setdefault("device", self.device)
    return full(size, fill_value, dtype=dtype or self.dtype, **kwargs)


def new_tensor(self: Tensor, data: Any, dtype: DType | None = None, **kwargs: Any) -> Tensor:
    """Data in this tensor's dtype."""
    kwargs.setdefault("device", self.device)
    return tensor(data, dtype=dtype or self.dtype, **kwargs)


# ---------------------------------------------------------------- from data
def tensor(
    data: Any,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor with a copy of data: numbers, nested sequences, arrays, tensors.

    Python floats get the default dtype, ints int64, bools bool; arrays keep theirs.

    Raises
    ------
    RuntimeError
        If ``requires_grad`` is asked of integers.
    ValueError, TypeError
        If sequences differ in length or hold something else.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.tensor([[1, 2], [3, 4]]).dtype
    jitgrad.int64
    """
    if isinstance(data, _class()):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or"
            " sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=2,
        )
    made = entry.literal(data, -1 if dtype is None else dtypes.of(dtype).code, _class())
    return _finish(_copy(data, dtype) if made is None else made, requires_grad, device)


def _copy(data: Any, dtype: DType | None) -> Tensor:
    cls = _class()
    dtype = None if dtype is None else dtypes.of(dtype)
    if isinstance(data, cls):
        made = data.detach()
        return made.to(dtype) if dtype not in (None, made.dtype) else made.clone().detach()
    array = as_array(data)
    if dtype is None:
        dtype = dtype_of(data, array)
    elif not isinstance(data, (np.ndarray, np.generic)):
        check_range(array, dtype)
    return _store(_new(array.shape, dtype), array)


def from_numpy(ndarray: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over the memory of an array, which it keeps alive.

    Raises
    ------
    TypeError
        If it is no array, or there is no such dtype.
    ValueError
        If its strides are negative or no multiple of the element.

    Examples
    --------
    >>> import numpy, jitgrad
    >>> a = numpy.zeros(2, numpy.float32)
    >>> t = jitgrad.from_numpy(a)
    >>> a[0] = 5
    >>> t.tolist()
    [5.0, 0.0]
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    known = dtypes.of_native(ndarray.dtype)
    made: Tensor | None = None if known is None else call(entry.borrow, ndarray, known.code)
    return _borrowed_otherwise(ndarray) if made is None else made


def _borrowed_otherwise(ndarray: np.ndarray[Any, Any]) -> Tensor:
    """`from_numpy` of an array that is not simply borrowed: an error, a copy, or nothing at all."""
    dtype = dtypes.from_numpy(ndarray.dtype)
    if not ndarray.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between"
            " byte orders is currently not supported."
        )
    if ndarray.ndim > col.MAX_DIMS:
        raise errors.from_fault(col.X_DIMS, ndarray.ndim, 0, 0, ())
    if builtins.any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative"
            " strides are not currently supported. (You can probably work around this by making a copy"
            " of your array with array.copy().)"
        )
    if not ndarray.flags.writeable:
        # PyTorch warns and shares; writing into memory that may be read-only would crash.
        return from_numpy(ndarray.copy())
    if ndarray.size == 0:
        return _new(ndarray.shape, dtype)
    raise ValueError(
        "given numpy array strides not a multiple of the element byte size. Copy the array to"
        " reallocate the memory."
    )


def of_bits(array: np.ndarray[Any, Any]) -> Tensor:
    """A bfloat16 tensor with a copy of its bits, an array of uint16."""
    made = _new(array.shape, dtypes.bfloat16)
    if array.size:
        made._memory()[...] = array
    return made


def as_tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Data as a tensor without a copy where that is possible (tensors and arrays)."""
    if isinstance(data, _class()):
        data = data if dtype is None else data.to(dtype)
        return data if device is None else data.to(device)
    if isinstance(data, np.ndarray):
        try:
            made = from_numpy(data)
        except ValueError:
            made = _copy(data, None)
        return placed(made if dtype is None else made.to(dtype), device)
    return placed(_copy(data, dtype), device)


asarray = as_tensor


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor over the memory of another library's array, through DLPack."""
    return from_numpy(np.from_dlpack(ext_tensor))


def as_class(x: Tensor, cls: type) -> Tensor:
    """A tensor of the subclass ``cls`` over the memory of ``x``, without history."""
    if type(x) is cls:
        return x
    return call(entry.alias, x, cls)


def empty_cache() -> None:
    """Give the buffers that wait for reuse back to the system."""
    entry.empty_cache()
