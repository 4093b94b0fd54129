"""Calling the recorder from Python: an op's row, its operands, its integers.

Every function tries the jitted entry once and mends what it faults on (a kernel that is not loaded yet,
another thread's mode) in `engine.call`, so the ordinary call pays for a ``try`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, Any

from jitgrad.arena.columns import DTYPE, F_CONTIGUOUS, FLAGS
from jitgrad.arena.engine import call, entry, grad_mode
from jitgrad.arena.header import Fault
from jitgrad.dtypes import FIRST_HALF
from jitgrad.dtypes import dtype as DType  # noqa: N812 - "dtype" is an argument's name here
from jitgrad.ops.memory_overlap import may_overlap
from jitgrad.ops.table import BY_NAME, Op

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def pointwise(op: Op, *operands: Any) -> Tensor:
    """A pointwise op on Tensors and numbers."""
    try:
        return entry.pointwise(op.number, *operands)
    except Fault:
        return call(entry.pointwise, op.number, *operands)


def pointwise_(op: Op, target: Tensor, *operands: Any) -> Tensor:
    """A pointwise op whose result replaces the value of its first operand."""
    try:
        return entry.pointwise_(op.number, target, *operands)
    except Fault:
        return call(entry.pointwise_, op.number, target, *operands)


def view(op: Op, x: Tensor, *integers: int) -> Tensor:
    """A view of ``x``."""
    try:
        return entry.view(op.number, x, *integers)
    except Fault:
        return call(entry.view, op.number, x, *integers)


ALL_DIMS, ONE_DIM, MASK = 0, 1, 2
#: Of the keepdim argument of `lanes`: the dims were named.
NAMED = 2


def lanes(
    op: Op,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *attributes: int | float,
) -> Tensor:
    """An op along dims: None for all of them.

    Raises
    ------
    IndexError
        If a dim is out of range.
    RuntimeError
        If a dim is named twice.
    """
    try:
        if dim is None:
            return entry.lanes(op.number, x, ALL_DIMS, 0, keepdim, *attributes)
        if type(dim) is int:
            return entry.lanes(op.number, x, ONE_DIM, dim, NAMED | keepdim, *attributes)
    except Fault:
        pass
    if dim is None:
        return call(entry.lanes, op.number, x, ALL_DIMS, 0, keepdim, *attributes)
    kind, dims = (ONE_DIM, dim) if type(dim) is int else (MASK, dims_mask(x, dim))
    return call(entry.lanes, op.number, x, kind, dims, NAMED | keepdim, *attributes)


def dims_mask(x: Tensor, dims: Any) -> int:
    """The dims as bits; an empty sequence means all of them, as in PyTorch."""
    from jitgrad.errors import dim_out_of_range

    if not isinstance(dims, (tuple, list)):
        dims = (index(dims),)
    ndim = x.ndim
    if len(dims) == 0:
        return (1 << ndim) - 1
    mask = 0
    for dim in dims:
        d = index(dim)
        n = max(ndim, 1)
        if not -n <= d < n:
            raise dim_out_of_range(d, n)
        bit = 1 << (d % n)
        if mask & bit:
            raise RuntimeError(f"dim {d % n} appears multiple times in the list of dims")
        mask |= bit
    return mask & ((1 << ndim) - 1)


def explicit(
    op: Op,
    inputs: Sequence[Tensor],
    shape: Sequence[int],
    attributes: Sequence[int | float] = (),
    dtype: DType | None = None,
    key: DType | None = None,
) -> Tensor:
    """An op whose checks were made in Python: inputs, the result's shape, and the op's attributes.

    ``dtype`` is the result's, ``key`` the one that the kernel is compiled for; both default to the first
    input's.
    """
    code = entry.word(inputs[0], DTYPE) if key is None or dtype is None else 0
    arguments = (
        op.number,
        code if key is None else key.code,
        code if dtype is None else dtype.code,
        len(inputs),
        *inputs,
        len(shape),
        *shape,
        *attributes,
    )
    try:
        return entry.explicit(*arguments)
    except Fault:
        return call(entry.explicit, *arguments)


def explicit_(
    op: Op,
    over: Op,
    inputs: Sequence[Tensor],
    attributes: Sequence[int | float] = (),
    strided: bool = False,
) -> Tensor:
    """`explicit` in place: input 0, whose shape the result has, takes over value and history; returns it.

    ``over`` is the op's row that writes over it (`table.register_in_place`), whatever its strides if
    ``strided``.  On the GPU, of 16-bit floats, and else of what is not contiguous, the result is computed
    apart and then copied.
    """
    x = inputs[0]
    recorded = grad_mode() and any(t.requires_grad for t in inputs)
    if recorded:
        call(entry.refresh, x, 2)
    straight = entry.word(x, FLAGS) & F_CONTIGUOUS or (
        strided and not (recorded and may_overlap(x))
    )
    if not straight or entry.word(x, DTYPE) >= FIRST_HALF or x.is_cuda:
        over = op
    new = explicit(over, inputs, entry.shape(x), attributes)
    if recorded:
        return call(entry.adopt, x, new)
    return x if over is not op else pointwise_(BY_NAME["copy"], x, new)


def view_(op: Op, x: Tensor, *integers: int) -> Tensor:
    """Have ``x`` show its own memory as the view ``op`` does; returns ``x``."""
    return call(entry.view_, op.number, x, *integers)
