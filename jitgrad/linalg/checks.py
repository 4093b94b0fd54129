"""What functions of matrices check, and what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jitgrad.dtypes import FIRST_HALF
from jitgrad.ops.operands import tensor_of

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


class LinAlgError(RuntimeError):
    """A matrix that cannot be inverted or factorised."""


# PyTorch's class has this name, and an underscore in it.
LinAlgError.__name__ = "_LinAlgError"


def need_matrix(name: str, x: Tensor, halves: bool = False) -> None:
    """Refuse what has no two dims, integers and, unless ``halves``, 16-bit floats."""
    if x.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    need_floats(name, x)
    if x.dtype.code >= FIRST_HALF and not halves:
        raise NotImplementedError(
            f"{name}: Low precision dtypes not supported. Got {x.dtype.letter}"
        )


def need_floats(name: str, x: Tensor) -> None:
    """Refuse integers."""
    if not x.dtype.is_floating_point:
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype.letter}"
        )


def need_square(name: str, x: Tensor, halves: bool = False) -> None:
    """Refuse what are not square matrices."""
    need_matrix(name, x, halves)
    n, m = x.shape[-2:]
    if n != m:
        raise RuntimeError(
            f"{name}: A must be batches of square matrices, but they are {n} by {m} matrices"
        )


def made(array: Any, like: Tensor) -> Tensor:
    """An array as a Tensor in the dtype of another."""
    return tensor_of(array, like.dtype)


def transposed(x: Tensor) -> Tensor:
    """Matrices with their dims changed over."""
    return x.transpose(-1, -2)
