"""`assert_close`: whether values are near each other, and what to say if they are not."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jitgrad import creation, dtypes
from jitgrad.tensor import Tensor

#: rtol and atol of a dtype, if none are given.
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5),
    dtypes.bfloat16: (1.6e-2, 1e-5),
    dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7),
}


@dataclass(frozen=True)
class _How:
    rtol: float | None
    atol: float | None
    equal_nan: bool
    check_device: bool
    check_dtype: bool
    check_stride: bool
    allow_subclasses: bool
    msg: str | Callable[[str], str] | None


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raise AssertionError unless ``|actual - expected| <= atol + rtol * |expected|`` everywhere.

    Parameters
    ----------
    actual, expected : Tensor, array, number, or sequence or mapping of them
        Of the same structure, shapes and, unless told otherwise, dtypes.
    rtol, atol : float, optional
        Both or none; by default they follow from the dtypes.
    equal_nan : bool
        NaN equals NaN.
    msg : str or callable, optional
        The text of the error, or what makes it of the usual one.

    Raises
    ------
    AssertionError
        If they are not close.
    ValueError
        If only one tolerance is given.
    TypeError
        If there is something else in them.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.testing.assert_close(jitgrad.tensor(1.0), jitgrad.tensor(1.0000001))
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            "Both 'rtol' and 'atol' must be either specified or omitted, but got no"
            f" {'atol' if atol is None else 'rtol'}."
        )
    how = _How(
        rtol, atol, equal_nan, check_device, check_dtype, check_stride, allow_subclasses, msg
    )
    _compare(actual, expected, how, ())


def _compare(actual: Any, expected: Any, how: _How, at: tuple[Any, ...]) -> None:
    if _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            _fail(
                f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", how, at
            )
        for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
            _compare(a, e, how, (*at, i))
    elif isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            missing = sorted(set(expected) - set(actual), key=str)
            more = sorted(set(actual) - set(expected), key=str)
            _fail(
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {missing}\n"
                f"Additional keys in the actual mapping: {more}",
                how,
                at,
            )
        for key in sorted(actual, key=str):
            _compare(actual[key], expected[key], how, (*at, key))
    elif actual is None or expected is None:
        if actual is not expected:
            _fail(f"None mismatch: {actual} is not {expected}", how, at)
    elif _is_boolean(actual) and _is_boolean(expected):
        if bool(actual) is not bool(expected):
            _fail(f"Booleans mismatch: {bool(actual)} is not {bool(expected)}", how, at)
    elif isinstance(actual, numbers.Number) and isinstance(expected, numbers.Number):
        _numbers(actual, expected, how, at)
    elif _is_tensor(actual) and _is_tensor(expected):
        _tensors(_tensor(actual), _tensor(expected), how, at)
    else:
        raise TypeError(
            "No comparison pair was able to handle inputs of type"
            f" {type(actual)} and {type(expected)}." + _where(at)
        )


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_boolean(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray, np.generic))


def _tensor(value: Any) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else creation.as_tensor(value)


def _where(at: tuple[Any, ...]) -> str:
    if not at:
        return ""
    return "\n\nThe failure occurred for item " + "".join(f"[{k!r}]" for k in at)


def _fail(text: str, how: _How, at: tuple[Any, ...]) -> None:
    text += _where(at)
    if how.msg is not None:
        text = how.msg(text) if callable(how.msg) else how.msg
    raise AssertionError(text)


def _tolerances(how: _How, *kinds: dtypes.dtype) -> tuple[float, float]:
    if how.rtol is not None and how.atol is not None:
        return how.rtol, how.atol
    pairs = [_TOLERANCES.get(kind, (0.0, 0.0)) for kind in kinds]
    return max(r for r, _ in pairs), max(a for _, a in pairs)


def _numbers(actual: Any, expected: Any, how: _How, at: tuple[Any, ...]) -> None:
    kinds = [dtypes.float64 if isinstance(v, float) else dtypes.int64 for v in (actual, expected)]
    if how.check_dtype and type(actual) is not type(expected):
        _fail(f"The (d)types do not match: {type(actual)} != {type(expected)}.", how, at)
    rtol, atol = _tolerances(how, *kinds)
    if actual == expected or (how.equal_nan and actual != actual and expected != expected):
        return
    absolute = abs(actual - expected)
    if (
        absolute == absolute
        and absolute != float("inf")
        and absolute <= atol + rtol * abs(expected)
    ):
        return
    if rtol == 0 and atol == 0:
        text = f"Scalars are not equal!\n\nExpected {expected} but got {actual}.\n"
        text += f"Absolute difference: {absolute}\n"
        text += f"Relative difference: {absolute / abs(expected) if expected else float('inf')}"
        _fail(text, how, at)
    relative = absolute / abs(expected) if expected else float("inf")
    _fail(
        f"Scalars are not close!\n\nExpected {expected} but got {actual}.\n"
        f"Absolute difference: {absolute} (up to {atol} allowed)\n"
        f"Relative difference: {relative} (up to {rtol} allowed)",
        how,
        at,
    )


def _attribute(name: str, actual: Any, expected: Any, how: _How, at: tuple[Any, ...]) -> None:
    if actual != expected:
        _fail(f"The values for attribute '{name}' do not match: {actual} != {expected}.", how, at)


def _tensors(actual: Tensor, expected: Tensor, how: _How, at: tuple[Any, ...]) -> None:
    _attribute("shape", actual.shape, expected.shape, how, at)
    if how.check_device:
        _attribute("device", actual.device, expected.device, how, at)
    if how.check_dtype:
        _attribute("dtype", actual.dtype, expected.dtype, how, at)
    if how.check_stride:
        _attribute("stride()", actual.stride(), expected.stride(), how, at)
    rtol, atol = _tolerances(how, actual.dtype, expected.dtype)
    both = dtypes.promote_types(actual.dtype, expected.dtype)
    a, e = (x.cpu().to(both)._array() for x in (actual, expected))
    shown = a, e
    if a.dtype.kind in "bu":
        a, e = a.astype(np.int64), e.astype(np.int64)
    with np.errstate(all="ignore"):
        absolute = np.abs(a - e)
        close = (a == e) | (np.isfinite(absolute) & (absolute <= atol + rtol * np.abs(e)))
        if how.equal_nan:
            close |= (a != a) & (e != e)
        if close.all():
            return
        exact = a.dtype.kind in "iu"
        # PyTorch divides integers in float32.
        relative = (absolute / np.abs(e)).astype(np.float32 if exact else a.dtype)
    text = f"Tensor-likes are not {'close' if rtol or atol else 'equal'}!\n\n"
    if a.ndim == 0:
        text = text.replace("Tensor-likes", "Scalars") + _of_one(
            *shown, absolute, relative, rtol, atol
        )
        _fail(text, how, at)
    wrong = int((~close).sum())
    text += f"Mismatched elements: {wrong} / {a.size} ({100 * wrong / a.size:.1f}%)\n"
    found = []
    for kind, values, bound in (("absolute", absolute, atol), ("relative", relative, rtol)):
        place = np.unravel_index(np.argmax(np.where(close, -1.0, values)), a.shape)
        allowed = f" (up to {bound} allowed)" if rtol or atol else ""
        index = tuple(int(i) for i in place)
        found.append(
            f"Greatest {kind} difference: {values[place].item()} at index {index}{allowed}"
        )
    _fail(text + "\n".join(found), how, at)


def _of_one(a: Any, e: Any, absolute: Any, relative: Any, rtol: float, atol: float) -> str:
    bounds = (f" (up to {atol} allowed)", f" (up to {rtol} allowed)") if rtol or atol else ("", "")
    return (
        f"Expected {e.item()} but got {a.item()}.\n"
        f"Absolute difference: {absolute.item()}{bounds[0]}\n"
        f"Relative difference: {relative.item()}{bounds[1]}"
    )
