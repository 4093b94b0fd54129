"""Families: a base and the views of it that Tensors show, so that what changes one is known to all.  Jitted.

A base is a row that owns its storage's history; its views name it through the family, a small block of
memory, because the base's Tensor moves to another row whenever it is changed in place.  The family keeps
the base's present row (and its value), as PyTorch's views keep their base; a view keeps the family only
while a Tensor shows it (`rows.drop` leaves), so that what a graph has saved keeps no base alive.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    F_VIEW,
    FAMILY,
    FAMILY_WORDS,
    FLAGS,
    H_FAMILIES,
    H_FAMILY_FREE,
    M_BASE,
    M_VIEWS,
    NONE,
)
from jitgrad.arena.rows import drop, keep, row_at
from jitgrad.kernels.lowlevel import jit, raw_malloc, words


@jit
def join_family(H, v, r):
    """Put row ``v``, a view of row ``r``, into the family of ``r``; False when memory is out."""
    h = words(H)
    p = row_at(H, r)
    family = p[FAMILY]
    if family == 0:
        if p[FLAGS] & F_VIEW:
            # It has lost its base: so has what is taken from it.
            return True
        family = h[H_FAMILY_FREE]
        if family != 0:
            h[H_FAMILY_FREE] = words(family)[M_BASE]
        else:
            family = raw_malloc(FAMILY_WORDS * 8)
            if family == 0:
                return False
        words(family)[M_BASE] = r
        words(family)[M_VIEWS] = 0
        h[H_FAMILIES] += 1
        p[FAMILY] = family
        keep(H, r)
    words(family)[M_VIEWS] += 1
    row_at(H, v)[FAMILY] = family
    return True


@jit
def base_of(H, r):
    """The row that the base of view ``r`` shows at present, or NONE."""
    family = row_at(H, r)[FAMILY]
    return NONE if family == 0 else words(family)[M_BASE]


@jit
def move_family(H, old, new):
    """Make row ``new`` the base in place of row ``old``."""
    p = row_at(H, old)
    family = p[FAMILY]
    if family != 0:
        p[FAMILY] = 0
        row_at(H, new)[FAMILY] = family
        words(family)[M_BASE] = new
        keep(H, new)
        drop(H, old)


@jit
def end_family(H, b):
    """Leave the views of base ``b`` without a base: its memory is no longer theirs."""
    p = row_at(H, b)
    family = p[FAMILY]
    if family != 0:
        p[FAMILY] = 0
        words(family)[M_BASE] = NONE
        drop(H, b)
