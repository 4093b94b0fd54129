"""The windows that taper a signal: Hann, Hamming, Blackman, Bartlett, Kaiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.creation import get_default_dtype, tensor

if TYPE_CHECKING:
    from jitgrad.dtypes import dtype as DType  # noqa: N812
    from jitgrad.tensor import Tensor

Array = np.ndarray[Any, Any]


def _window(
    name: str,
    length: int,
    periodic: bool,
    values: Callable[[Array], Array],
    options: dict[str, Any],
) -> Tensor:
    """A window from its values at -1 to 1, of which a periodic one lacks the last."""
    options.pop("layout", None)
    dtype = options.pop("dtype", None) or get_default_dtype()
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
    if length < 0:
        raise RuntimeError(
            f"{name} requires non-negative window_length, got window_length={length}"
        )
    whole = length + periodic
    made = np.ones(length)
    if length > 1:
        made = values(np.linspace(-1.0, 1.0, whole)[:length])
    return tensor(made, dtype=dtype, **options)


def _cosines(*weights: float) -> Callable[[Array], Array]:
    def values(x: Array) -> Array:
        return np.asarray(sum(w * np.cos(math.pi * k * x) for k, w in enumerate(weights)))

    return values


def hann_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None, **options: Any
) -> Tensor:
    """A raised cosine, 0 at the ends.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.hann_window(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return _window(
        "hann_window", window_length, periodic, _cosines(0.5, 0.5), {"dtype": dtype, **options}
    )


def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: DType | None = None,
    **options: Any,
) -> Tensor:
    """``alpha + beta * cos``, a raised cosine that is not 0 at the ends."""
    values = _cosines(alpha, beta)
    return _window("hamming_window", window_length, periodic, values, {"dtype": dtype, **options})


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None, **options: Any
) -> Tensor:
    """Two cosines."""
    values = _cosines(0.42, 0.5, 0.08)
    return _window("blackman_window", window_length, periodic, values, {"dtype": dtype, **options})


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None, **options: Any
) -> Tensor:
    """A triangle."""

    def values(x: Array) -> Array:
        return np.asarray(1.0 - np.abs(x))

    return _window("bartlett_window", window_length, periodic, values, {"dtype": dtype, **options})


def kaiser_window(
    window_length: int,
    periodic: bool = True,
    beta: float = 12.0,
    *,
    dtype: DType | None = None,
    **options: Any,
) -> Tensor:
    """A Bessel function, the narrower the larger ``beta``."""

    def values(x: Array) -> Array:
        return np.asarray(np.i0(beta * np.sqrt(np.maximum(1 - x * x, 0))) / np.i0(beta))

    return _window("kaiser_window", window_length, periodic, values, {"dtype": dtype, **options})
