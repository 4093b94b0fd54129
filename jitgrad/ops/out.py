"""``out=``: a result is computed as ever, then written into the tensor that was given for it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.arena.engine import grad_mode
from jitgrad.errors import sizes
from jitgrad.ops.operands import copy_into, is_tensor

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def write_out(name: str, out: Any, result: Any, exact: bool) -> Any:
    """The result (or results) of the function ``name`` in ``out``, which is returned.

    ``exact`` says that its dtype must be the result's; else the result is converted if a cast is safe.

    Raises
    ------
    TypeError
        If ``out`` is no Tensor, or not one for each result.
    RuntimeError
        If gradients would be needed, or the dtype does not fit.
    """
    if isinstance(result, tuple):
        if not isinstance(out, (tuple, list)) or len(out) != len(result):
            raise TypeError(
                f"{name}(): argument 'out' must be tuple of {len(result)} Tensors,"
                f" not {type(out).__name__}"
            )
        made = [write_out(name, o, r, exact) for o, r in zip(out, result, strict=True)]
        return type(result)(made)
    if not is_tensor(out):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if grad_mode() and (out.requires_grad or result.requires_grad):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but"
            " one of the arguments requires grad."
        )
    _check_dtype(out, result, exact)
    if out.shape != result.shape:
        _resize(out, result)
    return copy_into(out, result)


def _check_dtype(out: Tensor, result: Tensor, exact: bool) -> None:
    if out.dtype is result.dtype:
        return
    if exact:
        raise RuntimeError(
            f"Expected out tensor to have dtype {result.dtype.c_name}, but got"
            f" {out.dtype.c_name} instead"
        )
    if not dtypes.can_cast(result.dtype, out.dtype):
        raise RuntimeError(
            f"result type {result.dtype.letter} can't be cast to the desired output type"
            f" {out.dtype.letter}"
        )


def _resize(out: Tensor, result: Tensor) -> None:
    if out.numel():
        warnings.warn(
            "An output with one or more elements was resized since it had shape"
            f" {sizes(out.shape)}, which does not match the required output shape"
            f" {sizes(result.shape)}. This behavior is deprecated, and in a future PyTorch release"
            " outputs will not be resized unless they have zero elements. You can explicitly reuse an"
            " out tensor t by resizing it, inplace, to zero elements with t.resize_(0).",
            stacklevel=5,
        )
    out.data = result.detach().to(out.dtype, copy=True)
