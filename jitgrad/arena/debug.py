"""Debug mode (``JITGRAD_DEBUG=1``): every invariant of the arena is checked after each call.

Counts are not trusted but counted again, from the rows themselves: a reference too many is a leak, one too
few is a use after free before it happens.  Freed buffers are filled with NaN by the storage pool.
"""

from __future__ import annotations

import ctypes
import functools
import gc
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena import contexts
from jitgrad.arena.header import header
from jitgrad.arena.inspect import Rows, Words, edges, row_numbers, rows, storages
from jitgrad.arena.storage import class_bytes, size_class
from jitgrad.ops.table import OPS

_ITEMSIZE = np.array([d.itemsize for d in dtypes.ALL])


class ArenaError(AssertionError):
    """An invariant of the arena does not hold."""


def _need(holds: Any, what: str, numbers: Any = None) -> None:
    """Fail unless a condition holds, of each of these rows or storages if it is an array."""
    if not (holds.all() if numbers is not None else holds):
        which = ""
        if numbers is not None:
            which = f" (rows or storages {np.ravel(numbers[~holds])[:8].tolist()})"
        raise ArenaError(what + which)


def check() -> None:
    """Check every invariant; raises ArenaError with the row or storage at fault.

    Examples
    --------
    >>> import jitgrad
    >>> from jitgrad.arena import debug
    >>> x = jitgrad.ones(3)
    >>> debug.check()
    """
    # A collection in the middle could free rows that were just counted.
    was = gc.isenabled()
    gc.disable()
    try:
        _check_all()
    finally:
        if was:
            gc.enable()


def _check_all() -> None:
    table, stores = rows(), storages()
    numbers = row_numbers()
    alive = np.zeros(len(table), bool)
    alive[numbers] = table[numbers, col.GEN] % 2 == 1
    live = np.flatnonzero(alive)
    used = np.flatnonzero(stores[:, col.S_GEN] % 2 == 1)
    _need(len(live) == header[col.H_ROW_LIVE], "live rows are miscounted")
    _need(len(used) == header[col.H_STORE_LIVE], "live storages are miscounted")
    after = np.full(len(table), col.NONE)
    after[numbers] = table[numbers, col.NEXT]
    free = np.zeros(len(table), bool)
    free[numbers] = ~alive[numbers]
    _check_free_list(after, int(header[col.H_ROW_FREE]), free, "rows")
    _check_free_list(
        stores[:, col.S_NEXT],
        int(header[col.H_STORE_FREE]),
        (stores[:, col.S_GEN] + _waiting(stores)) % 2 == 0,
        "storages",
    )
    lines = table[live]
    _check_geometry(live, lines, stores)
    # A pass that is stopped holds rows and storages too.
    roots, on_the_way = _held_by_passes()
    bases = _check_families(live, lines)
    _check_references(live, lines, alive, [*roots, *bases], bases)
    _check_storages(lines, stores, used, on_the_way)


def _held_by_passes() -> tuple[list[int], list[int]]:
    """The rows and the storages that backward passes hold which have not ended."""
    found_rows: list[int] = []
    found_storages: list[int] = []
    address = int(header[col.H_CONTEXTS])
    while address:
        context = (ctypes.c_int64 * contexts.B_WORDS).from_address(address)
        nodes = (ctypes.c_int64 * (context[contexts.B_N] * contexts.N_WORDS)).from_address(
            context[contexts.B_NODES]
        )
        table = np.array(nodes, np.int64).reshape(-1, contexts.N_WORDS)
        found_rows += table[: context[contexts.B_ROOTS], contexts.N_ROW].tolist()
        for word in (contexts.N_GRAD, contexts.N_KEPT):
            found_storages += [s for s in table[:, word].tolist() if s != col.NONE]
        address = context[contexts.B_NEXT]
    return found_rows, found_storages


def _waiting(stores: Any) -> Any:
    """1 for each free storage that waits in the pool of the GPU, 0 for others."""
    free = stores[:, col.S_GEN] % 2 == 0
    return (free & (stores[:, col.S_DATA] != 0) & (stores[:, col.S_CLASS] >= col.POOL_CLASSES)) * 1


def _check_free_list(after: Words, head: int, free: Any, what: str) -> None:
    total = int(free.sum())
    listed = _followed(after, head, total + 1)
    end = int(np.argmax(listed == len(after))) if listed[-1] == len(after) else total + 1
    listed = listed[:end]
    # What lies outside of the table is no free number either.
    is_free = np.append(free, [False, False])[listed]
    if not is_free.all():
        number = listed[np.argmin(is_free)]
        raise ArenaError(f"a live number is on the free list of {what} ({number})")
    _need(end <= total, f"the free list of {what} is a circle")
    _need(end == total, f"a free number is not on the free list of {what}")


def _followed(after: Words, head: int, steps: int) -> Words:
    """The first numbers of a list, ``len(after)`` from its end on, and one more for a number out of range.

    Found in jumps of 1, 2, 4, ... numbers: the list is as long as there were ever rows.
    """
    n = len(after)
    jump = np.append(after, [col.NONE, col.NONE])
    jump = np.where(jump == col.NONE, n, np.where((jump < 0) | (jump >= n), n + 1, jump))
    first = n if head == col.NONE else head if 0 <= head < n else n + 1
    found = np.array([first])
    while True:
        found = np.concatenate([found, jump[found]])
        if len(found) >= steps:
            return found[:steps]
        jump = jump[jump]


def _check_geometry(live: Any, lines: Rows, stores: Any) -> None:
    ndim, dtype = lines[:, col.NDIM], lines[:, col.DTYPE]
    _need((ndim >= 0) & (ndim <= col.MAX_DIMS), "a row has too many dims", live)
    _need((dtype >= 0) & (dtype < len(dtypes.ALL)), "a row has an unknown dtype", live)
    _need((lines[:, col.OP] >= 0) & (lines[:, col.OP] < len(OPS)), "a row has an unknown op", live)
    dims = np.arange(col.MAX_DIMS) < ndim[:, None]
    shape = np.where(dims, lines[:, col.SHAPE : col.SHAPE + col.MAX_DIMS], 1)
    stride = np.where(dims, lines[:, col.STRIDE : col.STRIDE + col.MAX_DIMS], 0)
    _need(
        shape.prod(1) == lines[:, col.NUMEL], "a row's element count does not match its shape", live
    )
    held = (lines[:, col.STORAGE] != col.NONE) & (lines[:, col.NUMEL] > 0)
    storage = lines[held, col.STORAGE]
    _need(stores[storage, col.S_GEN] % 2 == 1, "a row shows a storage that was freed", live[held])
    last = lines[held, col.OFFSET] + ((shape[held] - 1) * stride[held]).sum(1)
    reach = (last + 1) * _ITEMSIZE[dtype[held]]
    # Borrowed memory may be strided: its size counts elements, not the reach.
    own = stores[storage, col.S_CLASS] >= 0
    _need(
        reach[own] <= stores[storage[own], col.S_BYTES],
        "a row reaches past its storage",
        live[held][own],
    )
    _need(lines[held, col.OFFSET] >= 0, "a row starts before its storage", live[held])


def _check_families(live: Words, lines: Rows) -> list[int]:
    """The bases, whose rows their families hold."""
    family = lines[:, col.FAMILY]
    is_view = lines[:, col.FLAGS] & col.F_VIEW != 0
    families, views = np.unique(family[is_view & (family != 0)], return_counts=True)
    is_base = ~is_view & (family != 0)
    of_base, base_rows = family[is_base], live[is_base]
    _, which, bases = np.unique(of_base, return_inverse=True, return_counts=True)
    _need(bases[which] == 1, "two rows are the base of one family", base_rows)
    _need(len(families) == header[col.H_FAMILIES], "families are miscounted")
    noted = np.array(
        [(ctypes.c_int64 * col.FAMILY_WORDS).from_address(f)[:] for f in families.tolist()],
        np.int64,
    ).reshape(-1, col.FAMILY_WORDS)
    noted_base, noted_views = noted[:, col.M_BASE], noted[:, col.M_VIEWS]
    _need(noted_views == views, "the views of a base are miscounted", noted_base)
    base = np.full(len(families), col.NONE)
    has_views = np.isin(of_base, families)
    base[np.searchsorted(families, of_base[has_views])] = base_rows[has_views]
    _need(base == noted_base, "a family and its base disagree", noted_base)
    _need(has_views, "a base without views has a family", base_rows)
    shown = lines[:, col.OWNER] != 0
    _need(shown | ~is_view | (family == 0), "a view that no Tensor shows has a family", live)
    return base[base != col.NONE].tolist()


def _check_references(
    live: Words, lines: Rows, alive: Any, held: list[int], used: list[int]
) -> None:
    """Count references and uses: besides the rows' own those of ``held`` and ``used``."""
    total = len(alive)

    def lives(numbers: Words) -> Any:
        inside = (numbers >= 0) & (numbers < total)
        return inside & alive[np.where(inside, numbers, 0)]

    at, place, below = edges(lines)
    above = live[at]
    pair = np.stack([above, below], 1)
    _need(lives(below), "a row's input was freed", pair)
    sequence = np.zeros(total, np.int64)
    sequence[live] = lines[:, col.SEQ]
    _need(sequence[below] < sequence[above], "a row is older than its input", pair)
    saved = lines[:, col.SAVED]
    is_saved = (place < col.MAX_INPUTS) & (saved[at] >> np.minimum(place, col.MAX_INPUTS) & 1 == 1)
    has_grad = lines[:, col.GRAD] != col.NONE
    grads = lines[has_grad, col.GRAD]
    _need(lives(grads), "a row's gradient was freed", np.stack([live[has_grad], grads], 1))
    shown = live[lines[:, col.OWNER] != 0]
    refs = _counted(total, held, below, grads, shown)
    refs[live] += lines[:, col.HANDLES]
    itself = live[saved & col.SAVED_OUT != 0]
    uses = _counted(total, used, below[is_saved], itself, grads, shown)
    _need(refs[live] == lines[:, col.REFS], "reference counts are wrong", live)
    _need(uses[live] == lines[:, col.USES], "use counts are wrong", live)
    _need(
        (lines[:, col.USES] <= 0) | (lines[:, col.STORAGE] != col.NONE),
        "a value was freed while it is still used",
        live,
    )


def _counted(total: int, *numbers: Any) -> Words:
    """How often each number below ``total`` occurs in some lists."""
    return np.bincount(np.concatenate([np.asarray(n, np.int64) for n in numbers]), minlength=total)


def _check_storages(lines: Rows, stores: Any, used: Any, on_the_way: list[int]) -> None:
    storage = lines[:, col.STORAGE]
    shared = used[stores[used, col.S_CLASS] == col.SHARED]
    refs = _counted(
        len(stores), storage[storage != col.NONE], stores[shared, col.S_OWNER], on_the_way
    )
    _need(refs[used] == stores[used, col.S_REFS], "storage reference counts are wrong", used)
    gpu = used[stores[used, col.S_CLASS] >= col.POOL_CLASSES]
    _need(
        stores[gpu, col.S_BYTES].sum() == header[col.H_GPU_BYTES], "the GPU's bytes are miscounted"
    )
    own = used[(stores[used, col.S_CLASS] >= 0) & (stores[used, col.S_CLASS] < col.POOL_CLASSES)]
    live = sum(map(_buffer_bytes, stores[own, col.S_BYTES].tolist()))
    _need(live == header[col.H_LIVE_BYTES], "live bytes are miscounted")
    _need(stores[own, col.S_DATA] % 64 == 0, "a buffer is not aligned to 64 bytes", own)


@functools.cache
def _buffer_bytes(nbytes: int) -> int:
    """The bytes of the buffer that a storage of so many needs."""
    return int(class_bytes.py_func(size_class.py_func(nbytes)))


def checked(entry: Callable[..., Any]) -> Callable[..., Any]:
    """An entry that checks the arena after every call that came to an end."""

    @functools.wraps(entry)
    def call(*args: Any) -> Any:
        result = entry(*args)
        check()
        return result

    return call
