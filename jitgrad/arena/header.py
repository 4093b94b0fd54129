"""The header: the one block of words that all jitted code is given, and the tables that it points at.

Filled once, before the core is loaded.  What its words are is said in `jitgrad.arena.columns`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from typing import Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.ops.table import OPS, Op
from jitgrad.ops.table import words as op_words

FaultWords = tuple[int, int, int, int, int, int]


class Fault(Exception):
    """A jitted entry could not do its work.

    Its arguments say why: the code, three numbers about it, the backward pass that waits, or 0, and the
    device that the call was for.
    """

    args: FaultWords


#: Methods of a custom function's context that a backward pass calls by name.
_METHODS = ("direct", "fitted")

_N_DTYPES = len(dtypes.ALL)
header = np.zeros(col.HEADER_WORDS, np.int64)
H = header.ctypes.data
#: What the header's addresses point at.
kept: list[Any] = []


def _address(array: np.ndarray) -> int:
    kept.append(array)
    return int(array.ctypes.data)


def _allocate(nbytes: int) -> int:
    malloc = ctypes.pythonapi.PyMem_RawMalloc
    malloc.restype, malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    address = malloc(nbytes)
    if not address:
        raise MemoryError("jitgrad's arena")
    return int(address)


def _aligned(nbytes: int) -> int:
    """Memory that begins on a cache line, as `arena.storage.buffer_new` makes it."""
    raw = _allocate(nbytes + 2 * 64)
    data = (raw + 8 + 63) & ~63
    ctypes.c_int64.from_address(data - 8).value = raw
    return data


def fill() -> None:
    """Write what is known before any code is loaded."""
    if ctypes.c_int64.from_address(id(header) + 8).value != id(type(header)):
        raise ImportError(
            "jitgrad needs the ordinary build of CPython 3.11 to 3.13 (not a free-threaded or debug one)"
        )
    rows, stores = 4 * col.NEXT_GROUP, 1024
    header[col.H_ROWS] = _aligned(rows * col.ROW_WORDS * 8)
    header[col.H_ROW_CAP] = rows
    header[col.H_STORES] = _aligned(stores * col.STORE_WORDS * 8)
    header[col.H_STORE_CAP] = stores
    for slot in (col.H_ROW_FREE, col.H_STORE_FREE, col.H_PENDING, col.H_PENDING_ROWS):
        header[slot] = col.NONE
    header[col.H_POOL_LIMIT] = 2 << 30
    header[col.H_DEBUG] = os.environ.get("JITGRAD_DEBUG", "0") not in ("", "0")
    header[col.H_GRAD_MODE] = 1
    header[col.H_THREAD] = threading.get_ident()
    header[col.H_THREADS] = 1
    header[col.H_PARALLEL_FROM] = 1 << 15
    header[col.H_OTHER_PARALLEL_FROM] = 1 << 62
    header[col.H_DEFAULT_DTYPE] = dtypes.float32.code
    header[col.H_FLOAT_TYPE] = id(float)
    header[col.H_INT_TYPE] = id(int)
    header[col.H_BOOL_TYPE] = id(bool)
    header[col.H_LIST_TYPE] = id(list)
    header[col.H_TUPLE_TYPE] = id(tuple)
    _note_numpy()
    header[col.H_TRUE] = id(True)
    header[col.H_NONE] = id(None)
    header[col.H_FAULT_TYPE] = id(Fault)
    header[col.H_DIRECT], header[col.H_FITTED] = (id(name) for name in _METHODS)
    _grow_tables(len(OPS) + 64)
    header[col.H_LIST] = _allocate(64 * 8)
    header[col.H_LIST_CAP] = 64
    header[col.H_SCRATCH] = _allocate(col.SCRATCH * 64)


def _note_numpy() -> None:
    """Note what arrays over a tensor's memory are made with: two functions of NumPy's C interface.

    Their places in its table are part of NumPy's binary interface, which lasts through 2.x.
    """
    umath = importlib.import_module("numpy._core._multiarray_umath")
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    table = pointer(umath._ARRAY_API, None)
    assert table
    functions = (ctypes.c_size_t * 283).from_address(table)
    header[col.H_ARRAY_TYPE] = functions[2]
    header[col.H_NEW_ARRAY] = functions[94]
    header[col.H_SET_BASE] = functions[282]
    # The struct of an array begins with object header, data, ndim, shape, strides, base, dtype, flags.
    array = np.zeros((3, 5), np.int16)
    fields = (ctypes.c_size_t * 9).from_address(id(array))
    sizes = (ctypes.c_size_t * 2).from_address(fields[4])
    steps = (ctypes.c_size_t * 2).from_address(fields[5])
    known = (
        header[col.H_ARRAY_TYPE] == id(np.ndarray)
        and fields[2] == array.ctypes.data
        and fields[3] & 0xFFFFFFFF == array.ndim
        and (*sizes, *steps) == (*array.shape, *array.strides)
        and fields[7] == id(array.dtype)
        and fields[8] & 0x500 == 0x500
    )
    if not known:
        raise ImportError(f"jitgrad does not know the binary interface of NumPy {np.__version__}")
    kinds = np.array([id(d.numpy) for d in dtypes.ALL])
    header[col.H_ARRAY_KINDS] = _address(kinds)


#: The tables of ops and kernels in these slots, and the words of an op in each.
_tables: list[np.ndarray] = []
_TABLE_SLOTS = (
    col.H_OPS,
    col.H_FORWARD,
    col.H_BACKWARD,
    col.H_OTHER_FORWARD,
    col.H_OTHER_BACKWARD,
)
_TABLE_WORDS = (
    col.O_WORDS,
    _N_DTYPES,
    col.MAX_INPUTS * _N_DTYPES,
    _N_DTYPES,
    col.MAX_INPUTS * _N_DTYPES,
)


def _grow_tables(ops: int) -> None:
    """Make room for so many ops; jitted code reads the addresses anew in each call."""
    new = [np.zeros((ops, n), np.int64) for n in _TABLE_WORDS]
    for old, table in zip(_tables, new, strict=False):
        table[: len(old)] = old
    new[0][: len(OPS)] = [op_words(op) for op in OPS]
    _tables[:] = new
    for slot, table in zip(_TABLE_SLOTS, new, strict=True):
        header[slot] = _address(table)


def note_op(op: Op) -> None:
    """Write the words of an op that was added to the table after the arena was started."""
    if op.number >= len(_tables[0]):
        _grow_tables(2 * len(OPS))
    _tables[0][op.number] = op_words(op)


def set_kernel(device: int, number: int, dtype: int, which: int, value: int) -> None:
    """Write the address of an op's kernel ``which`` for a dtype code; on the GPU, its number."""
    tables = _tables[3:] if device else _tables[1:3]
    if which == 0:
        tables[0][number, dtype] = value
    else:
        tables[1][number, (which - 1) * _N_DTYPES + dtype] = value
