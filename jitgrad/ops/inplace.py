"""In-place methods of functions without an in-place kernel: computed apart, then written into the tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.arena.engine import entry
from jitgrad.ops.joining import tril, triu
from jitgrad.ops.operands import in_place
from jitgrad.ops.products import addmm
from jitgrad.ops.reductions import cumsum
from jitgrad.ops.special import heaviside

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

addmm_ = in_place(addmm)
cumsum_ = in_place(cumsum)
tril_, triu_ = in_place(tril), in_place(triu)
heaviside_ = in_place(heaviside)


def float_power_(input: Tensor, exponent: Any) -> Tensor:
    """`float_power` in place; returns ``input``, which must be float64 (RuntimeError)."""
    if input.dtype is not dtypes.float64:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {input.dtype.letter} but the operation's result"
            " requires dtype Double"
        )
    return input.pow_(exponent)


def fill_diagonal_(input: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Set the main diagonal to a number; returns ``input``.

    Parameters
    ----------
    input : Tensor
        At least 2 dims; if more, all of one size.
    fill_value : number
    wrap : bool
        In a matrix with more rows than columns, begin anew one row below each end of the diagonal.

    Raises
    ------
    RuntimeError
        If there are fewer than 2 dims, or more of different sizes.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.zeros(2, 2).fill_diagonal_(1.0).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    shape = entry.shape(input)
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    if len(shape) == 2 and wrap:
        rows, columns = shape
        for start in range(0, rows, columns + 1):
            input[start : start + columns].diagonal().fill_(fill_value)
        return input
    diagonal = input.diagonal()
    while diagonal.ndim > 1:
        diagonal = diagonal.diagonal(0, 0, -1)
    diagonal.fill_(fill_value)
    return input
