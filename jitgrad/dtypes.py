"""The element types: their codes in the arena, NumPy's twin of each, and PyTorch's promotion rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class dtype:  # noqa: N801 - PyTorch's own name for it
    """An element type, such as ``jitgrad.float32``.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.float32
    jitgrad.float32
    >>> jitgrad.float32.is_floating_point, jitgrad.int16.itemsize
    (True, 2)
    """

    __slots__ = (
        "c_name",
        "code",
        "is_floating_point",
        "is_signed",
        "itemsize",
        "letter",
        "name",
        "numpy",
    )

    is_complex = False

    def __init__(self, code: int, name: str, numpy_type: Any, letter: str, c_name: str) -> None:
        self.code = code
        self.name = name
        #: What NumPy reads the memory as; it has no bfloat16, whose bits are integers to it.
        self.numpy = np.dtype(numpy_type)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = code >= FIRST_FLOAT
        self.is_signed = self.is_floating_point or self.numpy.kind == "i"
        #: What PyTorch calls a tensor of it in messages ("torch.FloatTensor", "Float").
        self.letter = letter
        #: What C++ calls the type, in some messages.
        self.c_name = c_name

    def __repr__(self) -> str:
        return f"jitgrad.{self.name}"

    def to_real(self) -> dtype:
        """Itself: there are no complex dtypes."""
        return self

    def __reduce__(self) -> tuple[Callable[[str], dtype], tuple[str]]:
        return by_name, (self.name,)


_python_bool = bool
# The codes are what the arena's dtype column holds; a float's code is above every integer's, and what is
# only stored and converted, but never computed in, comes last.
FIRST_FLOAT = 6
FIRST_HALF = 8
bool = dtype(0, "bool", np.bool_, "Bool", "bool")
uint8 = dtype(1, "uint8", np.uint8, "Byte", "unsigned char")
int8 = dtype(2, "int8", np.int8, "Char", "signed char")
int16 = dtype(3, "int16", np.int16, "Short", "short int")
int32 = dtype(4, "int32", np.int32, "Int", "int")
int64 = dtype(5, "int64", np.int64, "Long", "long int")
float32 = dtype(6, "float32", np.float32, "Float", "float")
float64 = dtype(7, "float64", np.float64, "Double", "double")
float16 = dtype(8, "float16", np.float16, "Half", "c10::Half")
bfloat16 = dtype(9, "bfloat16", np.uint16, "BFloat16", "c10::BFloat16")

ALL = (bool, uint8, int8, int16, int32, int64, float32, float64, float16, bfloat16)
ALIASES = {
    "float": float32,
    "double": float64,
    "half": float16,
    "short": int16,
    "int": int32,
    "long": int64,
}

_BY_NAME = {d.name: d for d in ALL}
_BY_NUMPY = {d.numpy: d for d in ALL if d is not bfloat16}


def by_name(name: str) -> dtype:
    """The dtype of that name; raises KeyError for another."""
    return _BY_NAME[name]


_BY_PYTHON = {_python_bool: bool, int: int64, float: float64}


def of(value: Any) -> dtype:
    """A dtype, or the one that a Python type stands for: ``float`` is float64, ``int`` int64.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(value, dtype):
        return value
    found = _BY_PYTHON.get(value) if isinstance(value, type) else None
    if found is None:
        raise TypeError(f"argument 'dtype' must be a jitgrad.dtype, not {value!r}")
    return found


def of_native(numpy_type: np.dtype[Any]) -> dtype | None:
    """The dtype that stores what a NumPy dtype in the processor's byte order does, or None."""
    return _BY_NUMPY.get(numpy_type)


def from_numpy(numpy_type: np.dtype[Any]) -> dtype:
    """The dtype that stores what a NumPy dtype does.

    Raises
    ------
    TypeError
        If there is none (complex, uint16, strings, objects, ...).
    """
    found = _BY_NUMPY.get(numpy_type.newbyteorder("=")) if numpy_type.kind in "buif" else None
    if found is None:
        names = ", ".join(d.name for d in reversed(list(_BY_NUMPY.values())))
        raise TypeError(
            f"can't convert np.ndarray of type {numpy_type}. The only supported types are: {names}."
        )
    return found


def _category(code: int) -> int:
    return 0 if code == 0 else 2 if code >= FIRST_FLOAT else 1


def _promote(a: int, b: int) -> int:
    if _category(a) != _category(b):
        return a if _category(a) > _category(b) else b
    if {a, b} == {uint8.code, int8.code}:
        return int16.code
    if max(a, b) < FIRST_HALF:
        return max(a, b)
    return a if a == b else float64.code if float64.code in (a, b) else min(a, b, float32.code)


#: ``PROMOTION[a][b]``: the code of the smallest dtype that holds both, as PyTorch defines it.
PROMOTION = tuple(tuple(_promote(a, b) for b in range(len(ALL))) for a in range(len(ALL)))


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The dtype that an operation on tensors of two dtypes computes in.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.promote_types(jitgrad.uint8, jitgrad.int8)
    jitgrad.int16
    """
    return ALL[PROMOTION[type1.code][type2.code]]


class finfo:  # noqa: N801 - PyTorch's name
    """The limits of a floating-point dtype (the default one if none is given).

    Attributes
    ----------
    bits : int
    eps, max, min, tiny, smallest_normal, resolution : float
    dtype : str

    Raises
    ------
    TypeError
        For any other dtype.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.finfo(jitgrad.float16).max, jitgrad.finfo(jitgrad.bfloat16).eps
    (65504.0, 0.0078125)
    """

    def __init__(self, type: dtype | None = None) -> None:
        if type is None:
            from jitgrad.ops.reductions import default_dtype

            type = default_dtype()
        if not isinstance(type, dtype) or not type.is_floating_point:
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle {type}"
            )
        self.dtype = type.name
        self.bits = 8 * type.itemsize
        single = type is bfloat16
        limits = np.finfo(np.float32 if single else type.numpy)
        self.eps = 2.0**-7 if single else float(limits.eps)
        self.max = (2 - self.eps) * 2.0**127 if single else float(limits.max)
        self.min = -self.max
        self.tiny = self.smallest_normal = float(limits.tiny)
        self.resolution = 0.01 if single else float(f"1e-{limits.precision}")

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g},"
            f" eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g},"
            f" dtype={self.dtype})"
        )


class iinfo:  # noqa: N801 - PyTorch's name
    """The limits of an integer dtype: ``bits``, ``min``, ``max``, ``dtype``.

    Raises
    ------
    TypeError
        For any other dtype.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.iinfo(jitgrad.int8).max
    127
    """

    def __init__(self, type: dtype) -> None:
        if not isinstance(type, dtype) or type.is_floating_point or type is bool:
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle {type}"
            )
        self.dtype = type.name
        self.bits = 8 * type.itemsize
        limits = np.iinfo(type.numpy)
        self.min, self.max = int(limits.min), int(limits.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def can_cast(from_: dtype, to: dtype) -> Any:
    """Whether PyTorch lets a result of one dtype be stored in another (same or higher category).

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.can_cast(jitgrad.float64, jitgrad.int32), jitgrad.can_cast(jitgrad.int8, jitgrad.float32)
    (False, True)
    """
    return _category(from_.code) <= _category(to.code)
