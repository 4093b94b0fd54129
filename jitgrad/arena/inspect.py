"""Looking at the arena from Python: rows and storages as NumPy columns, memory statistics, invariants."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np

from jitgrad.arena import columns as col
from jitgrad.arena.header import header

Words = np.ndarray[Any, np.dtype[np.int64]]


def _words(address: int, count: int) -> Words:
    return np.ctypeslib.as_array((ctypes.c_int64 * count).from_address(address))


class Rows:
    """Some rows of the arena, over its own memory: ``rows[i, column]`` reads and writes, for any index ``i``.

    ``rows[i]`` with a number is that row's words, from which a column reads too; with an array, those rows.
    """

    def __init__(self, words: Words, numbers: Words) -> None:
        self.words = words
        self.numbers = numbers
        self._first = numbers * col.ROW_WORDS

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Words]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            return self.words[self._places(*key)]
        if isinstance(key, np.ndarray):
            return Rows(self.words, self.numbers[key])
        return self.words[self._first[key] :]

    def __setitem__(self, key: tuple[Any, Any], value: Any) -> None:
        self.words[self._places(*key)] = value

    def _places(self, which: Any, column: Any) -> Any:
        first = self._first[which]
        if isinstance(column, slice):
            return np.expand_dims(first, -1) + np.arange(column.start, column.stop)
        return first + column


def rows() -> Rows:
    """All rows, by number (those of the far halves are no rows); valid until the next op."""
    numbers = np.arange(int(header[col.H_ROW_TOP]))
    words = _words(int(header[col.H_ROWS]), int(header[col.H_ROW_CAP]) * col.ROW_WORDS)
    return Rows(words, numbers)


def row_numbers() -> Words:
    """The numbers of all rows ever used."""
    numbers = np.arange(int(header[col.H_ROW_TOP]))
    return numbers[numbers % col.NEXT_GROUP < col.GROUP]


def storages() -> Words:
    """All storages ever used, one a line; valid until the next op."""
    count = int(header[col.H_STORE_TOP])
    table = _words(int(header[col.H_STORES]), count * col.STORE_WORDS)
    return table.reshape(count, col.STORE_WORDS)


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


def inputs(line: Words) -> list[int]:
    """The inputs of the row with these words: row numbers, ``NONE`` where none is recorded."""
    n = int(line[col.NIN])
    if n <= col.MAX_INPUTS:
        return line[col.INPUT : col.INPUT + n].tolist()
    return list((ctypes.c_int64 * n).from_address(int(line[col.MORE])))


def edges(some: Rows) -> tuple[Words, Words, Words]:
    """All recorded inputs of some rows: whose (its position among them), which, and the input's number."""
    n = some[:, col.NIN]
    listed = np.flatnonzero(n > col.MAX_INPUTS)
    width = np.where(n > col.MAX_INPUTS, 0, n)
    table = some[:, col.INPUT : col.INPUT + col.MAX_INPUTS]
    at, place = np.nonzero(np.arange(col.MAX_INPUTS) < width[:, None])
    number = table[at, place]
    if len(listed):
        lists = [np.array(inputs(some[int(i)]), np.int64) for i in listed]
        at = np.concatenate([at, np.repeat(listed, n[listed])])
        place = np.concatenate([place, *(np.arange(len(found)) for found in lists)])
        number = np.concatenate([number, *lists])
    recorded = number != col.NONE
    return at[recorded], place[recorded], number[recorded]


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
        "row_capacity": int(header[col.H_ROW_CAP]) // 2,
    }


def reset_peak_memory_stats() -> None:
    """Count the peak of live bytes from now on."""
    header[col.H_PEAK_BYTES] = header[col.H_LIVE_BYTES]
