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
from jitgrad.arena.engine import header
from jitgrad.arena.inspect import Rows, inputs, row_numbers, rows, storages
from jitgrad.arena.storage import class_bytes, size_class
from jitgrad.ops.table import OPS

_ITEMSIZE = np.array([d.itemsize for d in dtypes.ALL])


class ArenaError(AssertionError):
    """An invariant of the arena does not hold."""


def _need(condition: Any, what: str, numbers: Any = None) -> None:
    if not np.all(condition):
        which = "" if numbers is None else f" (rows or storages {np.asarray(numbers)[:8].tolist()})"
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
    live = numbers[table[numbers, col.GEN] % 2 == 1]
    used = np.flatnonzero(stores[:, col.S_GEN] % 2 == 1)
    _need(len(live) == header[col.H_ROW_LIVE], "live rows are miscounted")
    _need(len(used) == header[col.H_STORE_LIVE], "live storages are miscounted")
    after = dict(zip(numbers.tolist(), table[numbers, col.NEXT].tolist(), strict=True))
    _check_free_list(after, int(header[col.H_ROW_FREE]), set(after) - set(live.tolist()), "rows")
    _check_free_list(
        dict(enumerate(stores[:, col.S_NEXT].tolist())),
        int(header[col.H_STORE_FREE]),
        set(np.flatnonzero((stores[:, col.S_GEN] + _waiting(stores)) % 2 == 0).tolist()),
        "storages",
    )
    lines = table[live]
    _check_geometry(live, lines, stores)
    # A pass that is stopped holds rows and storages too.
    roots, on_the_way = _held_by_passes()
    bases = _check_families(live, lines)
    _check_references(live, lines, len(table), roots, bases)
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


def _check_free_list(after: dict[int, int], head: int, free: set[int], what: str) -> None:
    # Plain tests: the list can be a million numbers long.
    seen = 0
    while head != col.NONE:
        if head not in free:
            raise ArenaError(f"a live number is on the free list of {what} ({head})")
        seen += 1
        if seen > len(free):
            raise ArenaError(f"the free list of {what} is a circle")
        head = after[head]
    _need(seen == len(free), f"a free number is not on the free list of {what}")


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


def _check_families(live: Any, lines: Rows) -> list[int]:
    """The bases, whose rows their families hold."""
    views: dict[int, int] = {}
    of_base: dict[int, int] = {}
    is_view = lines[:, col.FLAGS] & col.F_VIEW != 0
    families = lines[:, col.FAMILY]
    for number, view, family in zip(live.tolist(), is_view, families.tolist(), strict=True):
        if family and view:
            views[family] = views.get(family, 0) + 1
        elif family:
            _need(family not in of_base, "two rows are the base of one family", [number])
            of_base[family] = number
    _need(len(views) == header[col.H_FAMILIES], "families are miscounted")
    bases = []
    for family, count in views.items():
        base, noted = (ctypes.c_int64 * col.FAMILY_WORDS).from_address(family)
        _need(noted == count, "the views of a base are miscounted", [base])
        _need(of_base.pop(family, col.NONE) == base, "a family and its base disagree", [base])
        bases.append(base)
    _need(not of_base, "a base without views has a family", list(of_base.values()))
    shown = lines[:, col.OWNER] != 0
    _need(shown[is_view & (families != 0)], "a view that no Tensor shows has a family")
    return [b for b in bases if b != col.NONE]


def _check_references(
    live: Any, lines: Rows, total: int, roots: list[int], bases: list[int]
) -> None:
    refs = np.bincount(np.array([*roots, *bases], np.int64), minlength=total)
    refs[live] += lines[:, col.HANDLES]
    uses = np.bincount(np.array(bases, np.int64), minlength=total)
    sequence = dict(zip(live.tolist(), lines[:, col.SEQ].tolist(), strict=True))
    alive = np.zeros(total, bool)
    alive[live] = True
    for number, line in zip(live.tolist(), lines, strict=True):
        saved = int(line[col.SAVED])
        for i, j in enumerate(inputs(line)):
            if j == col.NONE:
                continue
            _need(0 <= j < total and alive[j], "a row's input was freed", [number, j])
            _need(sequence[j] < sequence[number], "a row is older than its input", [number, j])
            refs[j] += 1
            if i < col.MAX_INPUTS and saved & (1 << i):
                uses[j] += 1
        if saved & col.SAVED_OUT:
            uses[number] += 1
        grad = int(line[col.GRAD])
        if grad != col.NONE:
            _need(0 <= grad < total and alive[grad], "a row's gradient was freed", [number, grad])
            refs[grad] += 1
            uses[grad] += 1
        if line[col.OWNER] != 0:
            refs[number] += 1
            uses[number] += 1
    wrong = live[refs[live] != lines[:, col.REFS]]
    _need(len(wrong) == 0, "reference counts are wrong", wrong)
    wrong = live[uses[live] != lines[:, col.USES]]
    _need(len(wrong) == 0, "use counts are wrong", wrong)
    gone = live[(lines[:, col.USES] > 0) & (lines[:, col.STORAGE] == col.NONE)]
    _need(len(gone) == 0, "a value was freed while it is still used", gone)


def _check_storages(lines: Rows, stores: Any, used: Any, on_the_way: list[int]) -> None:
    held = lines[lines[:, col.STORAGE] != col.NONE, col.STORAGE].tolist()
    shared = used[stores[used, col.S_CLASS] == col.SHARED]
    whole = stores[shared, col.S_OWNER].tolist()
    refs = np.bincount([*held, *whole, *on_the_way], minlength=len(stores))
    wrong = used[refs[used] != stores[used, col.S_REFS]]
    _need(len(wrong) == 0, "storage reference counts are wrong", wrong)
    gpu = used[stores[used, col.S_CLASS] >= col.POOL_CLASSES]
    _need(
        stores[gpu, col.S_BYTES].sum() == header[col.H_GPU_BYTES], "the GPU's bytes are miscounted"
    )
    own = used[(stores[used, col.S_CLASS] >= 0) & (stores[used, col.S_CLASS] < col.POOL_CLASSES)]
    nbytes, counts = np.unique(stores[own, col.S_BYTES], return_counts=True)
    live = sum(_buffer_bytes(n) * count for n, count in zip(nbytes, counts, strict=True))
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
