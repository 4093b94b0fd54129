"""Which row a Tensor shows after something was changed in place: its own, its base's, its views'.  Jitted.

A change that is recorded makes a new row over the same memory.  The Tensor moves to it; if the Tensor is a
view, its base moves to a row that joins the old base with the changed part.  Other views find out when they
are used next: their row notes the storage's version, and the family names the base's new row.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    F_NO_FLOW,
    F_REQUIRES_GRAD,
    F_RETAIN,
    F_VIEW,
    F_VIEW_MADE,
    F_VIEW_MEMORY,
    FLAGS,
    GRAD,
    H_GRAD_MODE,
    H_REGENERATED,
    HELD,
    LEAF,
    MADE,
    NONE,
    OP,
    OWNER,
    S_VERSION,
    STORAGE,
    X_LEAF,
    X_PART,
    X_VIEW_INPLACE,
    X_VIEW_LEAF,
    X_VIEW_MADE,
)
from jitgrad.arena.families import base_of, move_family
from jitgrad.arena.parts import VIEWS
from jitgrad.arena.python import fault, set_tensor_row
from jitgrad.arena.rows import C_KIND, C_ROW, KIND_TENSOR, drop, row_at
from jitgrad.arena.slices import link_slices, strided_row
from jitgrad.arena.storage import store
from jitgrad.kernels.lowlevel import call2, jit, words


@jit
def hand_over(H, old, new):
    """Give row ``new`` what belongs to the Tensor, not to the value, that row ``old`` shows."""
    p = row_at(H, old)
    q = row_at(H, new)
    q[GRAD] = p[GRAD]
    p[GRAD] = NONE
    q[FLAGS] |= p[FLAGS] & F_RETAIN
    p[FLAGS] &= ~F_RETAIN
    if p[FLAGS] & F_VIEW == 0:
        move_family(H, old, new)


@jit
def show(H, obj, old, new):
    """Have Tensor ``obj`` show row ``new``, whose owner reference it takes over, in place of ``old``."""
    hand_over(H, old, new)
    row_at(H, old)[OWNER] = 0
    set_tensor_row(H, obj, new)
    drop(H, old)


# ---------------------------------------------------------------- views whose base has changed
@jit
def current(H, r):
    """The row that the Tensor of row ``r`` shows when its history is asked for; NONE after a fault.

    Another row than ``r``, to which the Tensor has moved, if ``r`` is a view whose storage was changed.
    """
    p = row_at(H, r)
    if p[FLAGS] & F_VIEW == 0 or p[STORAGE] == NONE:
        return r
    if p[MADE] != store(H, p[STORAGE])[S_VERSION]:
        return regenerated(H, r)
    if p[OP] == LEAF and p[FLAGS] & F_REQUIRES_GRAD == 0:
        b = base_of(H, r)
        if b != NONE and row_at(H, b)[FLAGS] & F_REQUIRES_GRAD:
            p[FLAGS] |= F_REQUIRES_GRAD | F_NO_FLOW
    return r


@jit
def regenerated(H, r):
    """`current` of a view whose storage was changed since it got its history: in a part of its own."""
    routine = words(H)[H_REGENERATED]
    if routine == 0:
        return fault(H, X_PART, VIEWS, 0, 0)
    return call2(routine, (H, r))


def regenerated_c(H, r):
    """`regenerated`, with the shape of a unit."""
    p = row_at(H, r)
    b = base_of(H, r)
    if b == NONE:
        # Nobody knows its base any more.
        return r if p[OP] == LEAF else fault(H, X_VIEW_INPLACE, r, NONE, 0)
    if p[OP] == LEAF and row_at(H, b)[FLAGS] & F_REQUIRES_GRAD == 0:
        return r
    if p[FLAGS] & F_VIEW_MADE:
        return fault(H, X_VIEW_MADE, r, 1, 0)
    return cut_anew(H, r)


@jit
def cut_anew(H, r):
    """Move the Tensor of view ``r`` to a new row that is cut out of its base; NONE after a fault."""
    v = strided_row(H, base_of(H, r), r)
    if v != NONE:
        show(H, row_at(H, r)[OWNER], r, v)
    return v


@jit
def operands_current(H, n):
    """`current` for every staged operand; False after a fault."""
    h = words(H)
    if h[H_GRAD_MODE] != 0:
        for i in range(n):
            if h[C_KIND + i] == KIND_TENSOR:
                r = current(H, h[C_ROW + i])
                if r == NONE:
                    return False
                if r != h[C_ROW + i]:
                    restage(H, n, h[C_ROW + i], r)
    return True


@jit
def restage(H, n, old, new):
    """The Tensor of row ``old`` has moved to row ``new``: so have the operands that it is."""
    h = words(H)
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR and h[C_ROW + i] == old:
            h[C_ROW + i] = new


@jit
def recording(H, r):
    """`current` if operations are recorded, else ``r``; NONE after a fault."""
    return current(H, r) if words(H)[H_GRAD_MODE] != 0 else r


# ---------------------------------------------------------------- a change in place
@jit
def needs_grad(H, r):
    """Whether row ``r`` requires grad, itself or through its base."""
    p = row_at(H, r)
    if p[FLAGS] & F_REQUIRES_GRAD:
        return True
    if p[FLAGS] & F_VIEW:
        b = base_of(H, r)
        return b != NONE and row_at(H, b)[FLAGS] & F_REQUIRES_GRAD != 0
    return False


@jit
def may_change(H, r, op):
    """Whether a change in place of row ``r`` can be recorded; False after a fault."""
    p = row_at(H, r)
    needs = p[FLAGS] & F_REQUIRES_GRAD
    if p[FLAGS] & F_VIEW:
        b = base_of(H, r)
        if p[FLAGS] & F_VIEW_MADE:
            fault(H, X_VIEW_MADE, r, 0, 0)
            return False
        if b == NONE:
            fault(H, X_VIEW_INPLACE, r, NONE, 0)
            return False
        base = row_at(H, b)
        if base[OP] == LEAF and (needs | base[FLAGS]) & F_REQUIRES_GRAD:
            fault(H, X_VIEW_LEAF, op, 0, 0)
            return False
    if p[OP] == LEAF and needs:
        fault(H, X_LEAF, op, 0, 0)
        return False
    return True


@jit
def without_hooks(H, r):
    """The row that a change in place of row ``r`` takes as its old self; NONE after a fault.

    For a view with hooks that is a new one: the change goes past them, to the base.  So it does past what
    loses the gradients of elements that the base has.
    """
    p = row_at(H, r)
    if p[FLAGS] & F_VIEW and (p[HELD] != 0 or p[FLAGS] & F_VIEW_MEMORY):
        return cut_anew(H, r)
    return r


@jit
def base_changed(H, b, c):
    """Have what shows base ``b`` show row ``c``, whose owner reference is taken over."""
    obj = row_at(H, b)[OWNER]
    # A Tensor that is being deallocated has no references left, and keeps its row.
    if obj != 0 and words(obj)[0] > 0:
        show(H, obj, b, c)
    else:
        hand_over(H, b, c)
        drop(H, c)


@jit
def view_changed(H, r, c, w):
    """View ``r`` was changed: ``w`` is its new value's row, ``c`` its base's, made by `slices.slices_row`.

    False after a fault; the change is recorded all the same.
    """
    b = base_of(H, r)
    link_slices(H, c, b, w)
    base_changed(H, b, c)
    if row_at(H, r)[FLAGS] & F_RETAIN:
        # It moves with the Tensor now, not when it is used next.
        return cut_anew(H, r) != NONE
    return True
