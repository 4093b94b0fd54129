"""The dtype that an operation on tensors and numbers computes in."""

from __future__ import annotations

from typing import Any

from jitgrad import dtypes


def _rank(dtype: dtypes.dtype) -> int:
    return 0 if dtype is dtypes.bool else 2 if dtype.is_floating_point else 1


def result_type(*operands: Any) -> dtypes.dtype:
    """PyTorch's result type: tensors with dims count first, then 0-dim tensors, then numbers.

    A lower group changes the answer only by a higher category (bool, integer, float).

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.result_type(jitgrad.ones(1, dtype=jitgrad.int32), 1.5)
    jitgrad.float32
    """
    from jitgrad.ops.reductions import default_dtype
    from jitgrad.tensor import Tensor

    groups: list[dtypes.dtype | None] = [None, None, None]
    for operand in operands:
        if isinstance(operand, Tensor):
            group, dtype = (0 if operand.ndim else 1), operand.dtype
        else:
            group = 2
            dtype = (
                dtypes.bool
                if isinstance(operand, bool)
                else dtypes.int64
                if isinstance(operand, int)
                else default_dtype()
            )
        have = groups[group]
        groups[group] = dtype if have is None else dtypes.promote_types(have, dtype)
    result: dtypes.dtype | None = None
    for dtype_or_none in groups:
        if dtype_or_none is None:
            continue
        if result is None:
            result = dtype_or_none
        elif _rank(dtype_or_none) > _rank(result):
            result = dtypes.promote_types(result, dtype_or_none)
    assert result is not None
    return result
