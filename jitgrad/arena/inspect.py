"""Looking at the arena from Python: rows and storages as NumPy columns, memory statistics, invariants."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from jitgrad.arena import columns as col
from jitgrad.arena.engine import header


def _table(address: int, rows: int, width: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    raw = (ctypes.c_int64 * (rows * width)).from_address(address)
    return np.ctypeslib.as_array(raw).reshape(rows, width)


def rows() -> np.ndarray[Any, np.dtype[np.int64]]:
    """All rows ever used, one a line; valid until the next op."""
    return _table(int(header[col.H_ROWS]), int(header[col.H_ROW_TOP]), col.ROW_WORDS)


def storages() -> np.ndarray[Any, np.dtype[np.int64]]:
    """All storages ever used, one a line; valid until the next op."""
    return _table(int(header[col.H_STORES]), int(header[col.H_STORE_TOP]), col.STORE_WORDS)


def row(number: int) -> dict[str, Any]:
    """The columns of one row: ints, and lists for shape, stride and inputs."""
    line = rows()[number]
    found: dict[str, Any] = {}
    for name, (first, width) in col.ROW_COLUMNS.items():
        value = line[first : first + width].tolist()
        found[name] = value if width > 1 else value[0]
    found["shape"] = found["shape"][: found["ndim"]]
    found["stride"] = found["stride"][: found["ndim"]]
    return found


def inputs(line: np.ndarray[Any, np.dtype[np.int64]]) -> list[int]:
    """The inputs of the row with these words: row numbers, ``NONE`` where none is recorded."""
    n = int(line[col.NIN])
    if n <= col.MAX_INPUTS:
        return line[col.INPUT : col.INPUT + n].tolist()
    return list((ctypes.c_int64 * n).from_address(int(line[col.MORE])))


def memory_stats() -> dict[str, int]:
    """What the arena holds: live rows and storages, bytes in use, peak, and bytes waiting in the pool.

    Examples
    --------
    >>> import jitgrad
    >>> before = jitgrad.memory_stats()["live_bytes"]
    >>> x = jitgrad.zeros(1000)
    >>> jitgrad.memory_stats()["live_bytes"] - before >= 4000
    True
    """
    return {
        "live_rows": int(header[col.H_ROW_LIVE]),
        "live_storages": int(header[col.H_STORE_LIVE]),
        "live_bytes": int(header[col.H_LIVE_BYTES]),
        "peak_bytes": int(header[col.H_PEAK_BYTES]),
        "borrowed_bytes": int(header[col.H_BORROWED_BYTES]),
        "pool_bytes": int(header[col.H_POOL_BYTES]),
        "pool_limit": int(header[col.H_POOL_LIMIT]),
        "recorded_rows": int(header[col.H_RECORDED]),
        "row_capacity": int(header[col.H_ROW_CAP]),
    }


def reset_peak_memory_stats() -> None:
    """Count the peak of live bytes from now on."""
    header[col.H_PEAK_BYTES] = header[col.H_LIVE_BYTES]
