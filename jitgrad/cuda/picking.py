"""Indexing on the GPU: blocks at positions picked, put and added.

As in `jitgrad.kernels.blocks` a tensor is (A, K, B), of which n positions below K name blocks of B elements.
Where positions meet, the last value stays and sums are made in the order of the positions, so that results
are the same in every run: no thread adds to what another one adds to.  Instead each element of the result
looks for what comes to it, in positions that were sorted before.

A position out of range is noted (`memory.fault`) and gives a zero or is left out.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

from jitgrad import dtypes
from jitgrad.cuda import atomics, copies, memory, order
from jitgrad.cuda.copies import dense
from jitgrad.cuda.each import Each, launcher
from jitgrad.cuda.geometry import Geometry
from jitgrad.cuda.target import INT64


@functools.cache
def picked(dtype: int) -> Each:
    """The blocks at the positions."""
    text = """
block = i // B
a = block // n
k = names[block - a * n]
if wrap != 0 and k < 0:
    k += K
value = T(0)
if k >= 0 and k < K:
    value = x[(a * K + k) * B + i - block * B]
else:
    fault[0] = 1
out[i] = value
"""
    parameters = "T* out, T* x, int* names, int* fault, int K, int n, int B, int wrap"
    return Each("picked", dtype, parameters, text)


@functools.cache
def checked(dtype: int) -> Each:
    """Positions counted from the front; K for those out of range."""
    text = """
k = names[i]
if wrap != 0 and k < 0:
    k += K
if k < 0 or k >= K:
    fault[0] = 1
    k = K
out[i] = k
"""
    return Each("checked", dtype, "int* out, int* names, int* fault, int K, int wrap", text)


@functools.cache
def nobody(dtype: int) -> Each:
    """-1 everywhere."""
    return Each("nobody", dtype, "int* owner", "owner[i] = -1")


@functools.cache
def owned(dtype: int) -> Each:
    """For each block the last position that names it."""
    text = """
k = names[i]
if k < K:
    keep_largest(owner, k, i)
"""
    space = {"keep_largest": atomics.keep_largest}
    return Each("owned", dtype, "int* owner, int* names, int K", text, space)


@functools.cache
def put(dtype: int) -> Each:
    """A copy of x in which each block that is owned has the values of its owner."""
    text = """
block = i // B
a = block // K
j = owner[block - a * K]
value = x[i]
if j >= 0:
    value = values[((a * n + j) * B + i - block * B) * each]
out[i] = value
"""
    parameters = "T* out, T* x, T* values, int* owner, int K, int n, int B, int each"
    return Each("put", dtype, parameters, text)


# A search for the first of the sorted positions that name a block, and the loop over those that do.
_SEARCHED = """
block = i // B
a = block // K
k = block - a * K
low = L(0)
high = n
while low < high:
    middle = (low + high) // 2
    if names[sorted_[middle]] < k:
        low = middle + 1
    else:
        high = middle
total = A(x[i])
while low < n:
    j = sorted_[low]
    if names[j] != k:
        break
    term = A(values[((a * n + j) * B + i - block * B) * each])
    JOIN
    low += 1
out[i] = T(TOTAL)
"""


def _joined(name: str, dtype: int, join: str, total: str = "total", more: str = "") -> Each:
    parameters = "T* out, T* x, T* values, int* names, int* sorted_, int K, int n, int B, int each"
    text = _SEARCHED.replace("JOIN", join).replace("TOTAL", total)
    return Each(name, dtype, parameters + more, text)


@functools.cache
def added(dtype: int) -> Each:
    """A copy of x with alpha times the values at each position added, in the order of the positions."""
    alpha = "real" if dtype >= dtypes.FIRST_FLOAT else "int"
    total = "total != 0" if dtype == dtypes.bool.code else "total"
    return _joined("added", dtype, "total += term * A(alpha)", total, f", {alpha} alpha")


@functools.cache
def larger(dtype: int) -> Each:
    """A copy of x with the largest of its element and the values; NaN if there is one."""
    return _joined("larger", dtype, "total = term if term > total or term != term else total")


@functools.cache
def smaller(dtype: int) -> Each:
    """A copy of x with the smallest of its element and the values; NaN if there is one."""
    return _joined("smaller", dtype, "total = term if term < total or term != term else total")


# ---------------------------------------------------------------- what these are put together to
#: A tensor as blocks: A, K, n, B.
Blocks = tuple[int, int, int, int]


def names_of(positions: int, blocks: Blocks, wrap: int) -> int:
    """Checked positions, in memory of their own."""
    _, k, n, _ = blocks
    names = copies.room(n * 8, 4)
    checked(INT64).launch(n, names, positions, memory.fault(), k, wrap)
    return names


def put_at(
    dtype: int, out: int, x: int, values: int, each: int, names: int, blocks: Blocks
) -> None:
    """Write x with the values at checked positions; ``each`` 0: one value for all."""
    a, k, n, b = blocks
    owner = copies.room(k * 8, 3)
    nobody(INT64).launch(k, owner)
    owned(INT64).launch(n, owner, names, k)
    put(dtype).launch(a * k * b, out, x, values, owner, k, n, b, each)


def add_at(
    dtype: int,
    out: int,
    x: int,
    values: int,
    each: int,
    names: int,
    blocks: Blocks,
    alpha: float = 1,
) -> None:
    """Write x with alpha times the values added at checked positions."""
    a, k, n, b = blocks
    ordered = _sorted(names, n)
    added(dtype).launch(a * k * b, out, x, values, names, ordered, k, n, b, each, alpha)


def extreme_at(
    dtype: int, out: int, x: int, values: int, names: int, blocks: Blocks, largest: bool
) -> None:
    """Write the larger or smaller of x and the values at checked positions."""
    a, k, n, b = blocks
    ordered = _sorted(names, n)
    kernel = larger(dtype) if largest else smaller(dtype)
    kernel.launch(a * k * b, out, x, values, names, ordered, k, n, b, 1)


def _sorted(names: int, n: int) -> int:
    """The numbers of positions in the order of the positions."""
    ordered = copies.room(n * 8, 5)
    order.argsort(INT64, names, (1, n, 1), ordered)
    return ordered


# ---------------------------------------------------------------- ops
def _pick(dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    _, k, n, b, wrap = attributes[:5]
    x, names = dense(inputs[0]), dense(inputs[1], 1)
    picked(dtype).launch(out.numel, out.address, x, names, memory.fault(), k, n, b, wrap)


def _put(dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    blocks: Blocks = (attributes[0], attributes[1], attributes[2], attributes[3])
    x, positions, values = (dense(g, place) for place, g in enumerate(inputs))
    each = int(inputs[2].numel != 1)
    act = add_at if attributes[5] else put_at
    act(dtype, out.address, x, values, each, names_of(positions, blocks, attributes[4]), blocks)


def _add(dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    blocks: Blocks = (attributes[0], attributes[1], attributes[2], attributes[3])
    x, positions, values = (dense(g, place) for place, g in enumerate(inputs))
    alpha: float = attributes[5]
    if dtype >= dtypes.FIRST_FLOAT:
        alpha = struct.unpack("d", struct.pack("q", attributes[5]))[0]
    names = names_of(positions, blocks, attributes[4])
    add_at(dtype, out.address, x, values, 1, names, blocks, alpha)


@functools.cache
def combined(dtype: int) -> Each:
    """Where an index tensor, broadcast, points: added to what those before it gave."""
    # What is out of range stays so, whatever is added to it.
    text = """
k = names[i]
if k < -size or k >= size:
    k = -(1 << 58)
else:
    k = (k + size if k < 0 else k) * stride
out[i] = k + (out[i] if more != 0 else 0)
"""
    return Each("combined", dtype, "int* out, int* names, int size, int stride, int more", text)


def _combine(
    dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
) -> None:
    for j, x in enumerate(inputs):
        lead = len(out.shape) - len(x.shape)
        strides = [0] * lead
        strides += [0 if n == 1 else step for n, step in zip(x.shape, x.strides, strict=True)]
        names = dense(Geometry(x.address, x.dtype, out.numel, out.shape, tuple(strides)))
        size, stride = attributes[2 * j], attributes[2 * j + 1]
        combined(dtype).launch(out.numel, out.address, names, size, stride, int(j > 0))


#: The kernels of positions that `put_at` and `add_at` launch.
PUTTING = (nobody, owned)
ADDING = (order.numbered, order.compared, order.taken)
_BOTH = (checked, *PUTTING, *ADDING)

PICKS = (
    "index index_select take masked_select embedding"
    " sort topk kthvalue median nanmedian mode cummax cummin"
).split()
LAUNCHERS = {
    **{name: launcher(_pick, picked) for name in PICKS},
    **{
        name: launcher(_put, put, added, places=_BOTH)
        for name in ("index_put", "index_fill", "index_copy")
    },
    "index_add": launcher(_add, added, places=(checked, *ADDING)),
    "combine_indices": launcher(_combine, places=(combined,)),
}
