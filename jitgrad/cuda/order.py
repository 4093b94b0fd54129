"""Elements in order on the GPU: positions are sorted by a network of comparisons (Batcher's bitonic sort).

A lane of n elements is sorted as one of P places, the next power of two, of which those from n on come last.
What is compared are positions, by the elements that stand there and, where those are equal, by themselves:
so the order is always the same, and equal elements keep theirs.  A step is a launch, and there are
log2(P) * (log2(P) + 1) / 2 of them.
"""

from __future__ import annotations

import functools

from jitgrad import dtypes
from jitgrad.cuda import copies
from jitgrad.cuda.each import Each


@functools.cache
def numbered(dtype: int) -> Each:
    """Places numbered from 0 on, lane by lane."""
    return Each("numbered", dtype, "int* places, int P", "places[i] = i % P")


@functools.cache
def compared(dtype: int) -> Each:
    """A step of the network: pairs of places ``apart`` from each other, in runs of ``run``."""
    # NaN counts as larger than every number.
    before = "v < u"
    after = "v > u"
    same = "v == u"
    if dtype >= dtypes.FIRST_FLOAT:
        before = "v < u or (u != u and v == v)"
        after = "v > u or (v != v and u == u)"
        same = "v == u or (v != v and u != u)"
    text = f"""
half = P // 2
lane = i // half
pair = i - lane * half
block = pair // apart
low = block * 2 * apart + (pair - block * apart)
a = lane // B
start = a * n * B + (lane - a * B)
p = places[lane * P + low]
q = places[lane * P + low + apart]
turn = q < p
if p < n and q < n:
    u = x[start + p * B]
    v = x[start + q * B]
    sooner = {before}
    if backwards != 0:
        sooner = {after}
    if sooner:
        turn = True
    elif not ({same}):
        turn = False
if turn == ((low // run) % 2 == 0):
    places[lane * P + low] = q
    places[lane * P + low + apart] = p
"""
    parameters = "int* places, T* x, int P, int n, int B, int apart, int run, int backwards"
    return Each("compared", dtype, parameters, text)


@functools.cache
def taken(dtype: int) -> Each:
    """The first ``count`` places of each lane, as (A, count, B)."""
    text = """
block = i // B
b = i - block * B
a = block // count
out[i] = places[(a * B + b) * P + block - a * count]
"""
    return Each("taken", dtype, "int* out, int* places, int count, int B, int P", text)


def argsort(
    dtype: int,
    x: int,
    counts: tuple[int, int, int],
    out: int,
    backwards: bool = False,
    first: int | None = None,
) -> None:
    """Write the positions of contiguous (A, n, B) at ``x`` in order, or the ``first`` of them, to ``out``.

    ``backwards`` has the largest first.
    """
    a, n, b = counts
    count = n if first is None else first
    lanes = a * b
    if lanes * count == 0:
        return
    size = 1 << max(n - 1, 0).bit_length()
    places = copies.room(lanes * size * 8, 3)
    numbered(dtypes.int64.code).launch(lanes * size, places, size)
    step = compared(dtype)
    run = 2
    while run <= size:
        apart = run // 2
        while apart:
            step.launch(lanes * size // 2, places, x, size, n, b, apart, run, int(backwards))
            apart //= 2
        run *= 2
    taken(dtypes.int64.code).launch(lanes * count, out, places, count, b, size)
