"""How tensors are written out: ``repr(tensor)`` reads exactly as PyTorch's does.

- One format serves every element of a tensor; it is chosen from the elements that are shown.
- Floats are formatted from their own values: a float32 is widened exactly, never rounded first.
- Above ``threshold`` elements only the edges of each axis are read: huge tensors print fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Scalar: TypeAlias = bool | int | float

# Floats beyond these bounds are written with an exponent. They are PyTorch's.
_SCI_RATIO = 1000.0
_SCI_LARGEST = 1e8
_SCI_SMALLEST = 1e-4

# Literals of these types, and of the default float type, need no `dtype=` to be read back.
_IMPLICIT_DTYPES = frozenset({"int64", "bool"})


@dataclass(frozen=True)
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": _Options(),
    "short": _Options(precision=2, edgeitems=2),
    "full": _Options(threshold=math.inf),
}
_options = _PROFILES["default"]


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed from now on, in every thread.

    An option left at None keeps its value, except `sci_mode`, whose None means "decide for each
    tensor" and is therefore set by every call, as in PyTorch.

    Parameters
    ----------
    precision : int, optional
        Digits after the decimal point of floats.
    threshold : int or inf, optional
        Tensors with more elements than this are summarised.
    edgeitems : int, optional
        Items shown at each end of a summarised axis.
    linewidth : int, optional
        Characters in a line before it is broken.
    profile : {"default", "short", "full"}, optional
        Named set of values to start from; the other arguments override it.
    sci_mode : bool, optional
        Write floats with an exponent always (True), never (False) or where it helps (None).

    Raises
    ------
    ValueError
        If `profile` is not one of the names above (PyTorch ignores it silently).

    Examples
    --------
    >>> set_printoptions(precision=2)
    >>> get_printoptions()["precision"]
    2
    >>> set_printoptions(profile="default")
    """
    global _options
    if profile is not None and profile not in _PROFILES:
        raise ValueError(f"profile must be one of {', '.join(_PROFILES)}; got {profile!r}")
    base = _options if profile is None else _PROFILES[profile]
    asked = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    _options = replace(base, sci_mode=sci_mode, **given)


def get_printoptions() -> dict[str, Any]:
    """Return the current options as a new dict.

    Examples
    --------
    >>> get_printoptions()
    {'precision': 4, 'threshold': 1000, 'edgeitems': 3, 'linewidth': 80, 'sci_mode': None}
    """
    return asdict(_options)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Apply `set_printoptions(**options)` inside a ``with`` block, then restore what held before.

    Examples
    --------
    >>> with printoptions(precision=8):
    ...     get_printoptions()["precision"]
    8
    >>> get_printoptions()["precision"]
    4
    """
    global _options
    saved = _options
    try:
        set_printoptions(**options)
        yield
    finally:
        _options = saved


def tensor_repr(
    values: Array,
    *,
    dtype_name: str,
    default_dtype_name: str,
    requires_grad: bool,
    grad_fn_name: str | None,
    prefix: str = "tensor",
    device: str = "cpu",
    namespace: str = "jitgrad",
) -> str:
    """Return the text of ``repr`` for a tensor, under the current print options.

    Parameters
    ----------
    values : numpy.ndarray
        The tensor's elements: any shape and strides; bool, integer or float dtype.
    dtype_name : str
        The tensor's dtype, such as ``"float32"``; written unless a literal would imply it.
    default_dtype_name : str
        The dtype that float literals take.
    requires_grad : bool
        Write ``requires_grad=True``, unless there is a `grad_fn_name`.
    grad_fn_name : str or None
        Name of the node that made the tensor, such as ``"MulBackward0"``; None for a leaf.
    prefix : str
        What stands before the opening parenthesis; its length sets the indentation.
    device : str
        Written unless it is ``"cpu"``.
    namespace : str
        Name of the package that holds the dtypes.

    Examples
    --------
    >>> print(tensor_repr(np.array([1.0, 2.0]), dtype_name="float64", requires_grad=True,
    ...                   default_dtype_name="float32", grad_fn_name=None))
    tensor([1., 2.], dtype=jitgrad.float64, requires_grad=True)
    """
    options = _options
    indent = len(prefix) + 1
    is_empty = values.size == 0
    fields: list[str] = []
    if device != "cpu":
        fields.append(f"device='{device}'")
    if _hides_shape(values, options):
        fields.append(f"size={values.shape}")
    # The type of an empty literal is always the default one.
    if dtype_name != default_dtype_name and (is_empty or dtype_name not in _IMPLICIT_DTYPES):
        fields.append(f"dtype={namespace}.{dtype_name}")
    if grad_fn_name is not None:
        fields.append(f"grad_fn=<{grad_fn_name}>")
    elif requires_grad:
        fields.append("requires_grad=True")
    body = "[]" if is_empty else _body(values, indent, options)
    return _append_fields(f"{prefix}({body}", fields, indent, options.linewidth)


def _hides_shape(values: Array, options: _Options) -> bool:
    """Tell whether the shape has to be written because the brackets do not show it."""
    if values.size == 0:
        return values.ndim != 1
    return options.edgeitems == 0  # whether or not anything is left out, as in PyTorch


def _append_fields(text: str, fields: list[str], indent: int, linewidth: int) -> str:
    """Close `text` with `fields`, moving to a new line each field that would pass `linewidth`."""
    # PyTorch counts two characters too many on the last line of elements, and so do we.
    column = len(text) - text.rfind("\n") + 1
    for field in fields:
        if column + len(field) + 2 > linewidth:
            text += ",\n" + " " * indent + field
            column = indent + len(field)
        else:
            text += ", " + field
            column += len(field) + 2
    return text + ")"


def _body(values: Array, indent: int, options: _Options) -> str:
    """Write the elements of a non-empty array; lines after the first start at `indent`."""
    cuts = (False,) * values.ndim
    if values.size > options.threshold and values.ndim:
        if options.edgeitems == 0:
            return "[...]"
        cuts = tuple(length > 2 * options.edgeitems for length in values.shape)
        values = _edges(values, options.edgeitems)
    return _nested(values, cuts, _choose_format(values, options), indent, options)


def _edges(values: Array, edgeitems: int) -> Array:
    """Keep the first and last `edgeitems` items of every axis that is longer than both together."""
    kept = []
    for length in values.shape:
        index = np.arange(min(length, 2 * edgeitems))
        index[edgeitems:] += length - len(index)
        kept.append(index)
    edges: Array = values[np.ix_(*kept)]
    return edges


def _nested(
    values: Array, cuts: tuple[bool, ...], fmt: _Format, indent: int, options: _Options
) -> str:
    """Write an array in brackets, with an ellipsis midway along each axis flagged in `cuts`."""
    if values.ndim == 0:
        return fmt.text(values.item())
    if values.ndim == 1:
        items, ellipsis = [fmt.text(value) for value in values.tolist()], " ..."
    else:
        inner = (_nested(row, cuts[1:], fmt, indent + 1, options) for row in values)
        items, ellipsis = list(inner), "..."
    if cuts[0]:
        items.insert(options.edgeitems, ellipsis)
    if values.ndim == 1:
        per_line = max(1, (options.linewidth - indent) // (fmt.width + len(", ")))
        items = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    newlines = "\n" * max(1, values.ndim - 1)
    return "[" + f",{newlines}{' ' * (indent + 1)}".join(items) + "]"


@dataclass(frozen=True)
class _Format:
    """How one element is written: `spec` is Python's, `point` adds the "." of a whole float."""

    spec: str
    width: int = 1
    point: bool = False

    def text(self, value: Scalar) -> str:
        point = "." if self.point and math.isfinite(value) else ""
        return (format(value, self.spec) + point).rjust(self.width)


def _choose_format(values: Array, options: _Options) -> _Format:
    """Choose the format of a non-empty array."""
    if not np.issubdtype(values.dtype, np.floating):
        return _fitted(_Format(""), values.ravel().tolist())
    # Zeros, infinities and NaNs neither choose the notation nor widen the column.
    telling = [value for value in values.ravel().tolist() if value and math.isfinite(value)]
    whole = all(value.is_integer() for value in telling)
    plain = _Format(".0f", point=True) if whole else _Format(f".{options.precision}f")
    if not telling:
        return plain
    exponent = options.sci_mode
    if exponent is None:
        exponent = _needs_exponent([abs(value) for value in telling], whole)
    return _fitted(_Format(f".{options.precision}e") if exponent else plain, telling)


def _fitted(fmt: _Format, values: list[Any]) -> _Format:
    """Widen `fmt` to its longest text among `values`."""
    return replace(fmt, width=max(len(fmt.text(value)) for value in values))


def _needs_exponent(magnitudes: list[float], whole: bool) -> bool:
    """Tell whether fixed-point notation would be too long or lose too many digits."""
    smallest, largest = min(magnitudes), max(magnitudes)
    return (
        largest / smallest > _SCI_RATIO
        or largest > _SCI_LARGEST
        or (not whole and smallest < _SCI_SMALLEST)
    )
