"""Sums of products over windows, which convolutions and their gradients are made of.

Three dims of space, the missing ones of size 1.  The source is first copied with zeros around it (`padded`);
then nothing below needs to know of padding, and a window's element lies at the same distance from the
window's first one everywhere: a *tap* is such a distance.  For a stride along the last dim the columns are
sorted by their remainder meanwhile, so the elements that neighbouring windows read are neighbours as well.

`correlate` computes ``dst[n, m, q] = bias[m] + sum of w[m, c, t] * src[n, c, q * step + tap[t]]`` over
panels of as many places (n, q) as a tile has columns: each panel is gathered once for all m, so the memory
it takes does not grow with the image.  `correlate_weights` computes ``dw[m, c, t]``, sums of ``g[n, m, q] *
src[n, c, q * step + tap[t]]``.  Imported by the compiler only.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jitgrad.arena.columns import NONE, S_DATA
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.lowlevel import POINTERS, TYPES, float64s, jit, words
from jitgrad.kernels.reading import done
from jitgrad.kernels.tasks import side_by_side, threads
from jitgrad.kernels.tiles import (
    COLUMNS,
    ROWS,
    SPANS,
    TAPS,
    copy_lanes,
    lanes,
    product_tile,
    tap_tile,
)

# The words of a job.  Distances are in elements.
SRC, SRC_N, SRC_C = 0, 1, 2  # address; from one image, channel to the next
SRC_Q = 3  # from one place to the next, 2 words: along the last dim it is 1
CHANNELS, COUNT_TAPS, TAP_LIST = 5, 6, 7  # channels, taps, address of their distances
DST, DST_N, DST_C = 8, 9, 10
DST_Q = 11  # 3 words
IMAGES, PLACES = 14, 15  # how many; of places 3 words
MAPS = 18  # channels of the result
WEIGHTS, MAP_STEP, CHANNEL_STEP, TAP_PICK = 19, 20, 21, 22  # weights, where w[m, c, t] lies
BIAS = 23  # address, or 0
PARTS = 24
PACKED = 25  # address of the packed weights or cotangents
SPARE, SPARE_BYTES = 26, 27  # a part's own memory
DEPTH = 28  # channels of a panel
SPAN = 29  # vectors of maps that a tap tile takes
GROUPS = 30  # how many there are: the rest of the job is about one, the first
WHOLE = 31  # taps of the whole kernel, which the weights are laid out for
JOB_WORDS = 32

#: Bytes of a panel, a sum of which is one of some hundred terms; and of cotangents: both stay in the
#: second cache.
PANEL = 1 << 16
LINES = 1 << 18
#: Multiplications that are worth a thread.
THREAD = 1 << 18


@jit
def places(job):
    """How many places an image has."""
    return job[PLACES] * job[PLACES + 1] * job[PLACES + 2]


@cache
def padder(dtype: int) -> Any:
    """Jitted: copy planes of 3 dims with zeros around them, or without their rim.

    ``padded(H, src, planes, size, before, extent, phases)``: addresses of 3 words each; element i of a dim
    goes to place ``i + before``, of ``extent`` places.  Returns a storage, or NONE.  The last dim becomes
    (phases, ceil(extent / phases)).
    """
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    itemsize = ALL[dtype].itemsize

    @jit
    def row(y, x, size, before, width, phases):
        for f in range(phases):
            # Places f, f + phases, ...: the first and last of them that have an element.
            first = max((before - f + phases - 1) // phases, 0) if before > f else 0
            last = min((before + size - 1 - f) // phases + 1, width) if before + size > f else 0
            first = min(first, width)
            last = max(last, first)
            to = f * width
            start = f - before
            for j in range(first):
                y[to + j] = ty(0)
            if phases == 1:
                for j in range(first, last):
                    y[to + j] = x[start + j]
            else:
                for j in range(first, last):
                    y[to + j] = x[start + j * phases]
            for j in range(last, width):
                y[to + j] = ty(0)

    @jit
    def part(job_, k):
        job = words(job_)
        src, dst, planes, parts, phases = job[0], job[1], job[2], job[3], job[4]
        size, before, extent = words(job[5]), words(job[6]), words(job[7])
        width = (extent[2] + phases - 1) // phases
        line = width * phases
        for i in range(planes * k // parts, planes * (k + 1) // parts):
            for d in range(extent[0]):
                for h in range(extent[1]):
                    y = dst + ((i * extent[0] + d) * extent[1] + h) * line * itemsize
                    sd = d - before[0]
                    sh = h - before[1]
                    if sd >= 0 and sd < size[0] and sh >= 0 and sh < size[1]:
                        x = src + ((i * size[0] + sd) * size[1] + sh) * size[2] * itemsize
                        row(pointer(y), pointer(x), size[2], before[2], width, phases)
                    else:
                        to = pointer(y)
                        for j in range(line):
                            to[j] = ty(0)
        return 0

    run = side_by_side(part)

    @jit
    def padded(H, src, planes, size, before, extent, phases):
        e = words(extent)
        line = (e[2] + phases - 1) // phases * phases
        total = planes * e[0] * e[1] * line
        s = storage_new(H, total * itemsize)
        memory = storage_new(H, 8 * 8)
        if s == NONE or memory == NONE:
            done(H, s)
            done(H, memory)
            return NONE
        job = words(store(H, memory)[S_DATA])
        job[0] = src
        job[1] = store(H, s)[S_DATA]
        job[2] = planes
        job[3] = threads(H, total, THREAD)
        job[4] = phases
        job[5] = size
        job[6] = before
        job[7] = extent
        run(H, store(H, memory)[S_DATA], job[3])
        storage_release(H, memory)
        return s

    return padded


@cache
def correlator(dtype: int) -> Any:
    """Jitted ``correlate(H, job)``; 0, or 1 if memory is out.  The job's words from PARTS on are its own."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize
    v = lanes(dtype)
    width = COLUMNS * v
    tile = product_tile(dtype)
    copy = copy_lanes(dtype)

    @jit
    def pack(job_, k):
        """Weights in the order in which tiles read them: ROWS maps by all terms (c, t)."""
        job = words(job_)
        blocks = (job[MAPS] + ROWS - 1) // ROWS
        nt = job[COUNT_TAPS]
        pick = words(job[TAP_PICK])
        w = pointer(job[WEIGHTS])
        to = pointer(job[PACKED])
        for b in range(blocks * k // job[PARTS], blocks * (k + 1) // job[PARTS]):
            for r in range(ROWS):
                m = b * ROWS + r
                at = b * job[CHANNELS] * nt * ROWS + r
                if m < job[MAPS]:
                    for c in range(job[CHANNELS]):
                        start = m * job[MAP_STEP] + c * job[CHANNEL_STEP]
                        for t in range(nt):
                            to[at] = w[start + pick[t]]
                            at += ROWS
                else:
                    for i in range(job[CHANNELS] * nt):
                        to[at + i * ROWS] = ty(0)
        return 0

    @jit
    def runs(job, first, list_):
        """The places from ``first`` on that fill a panel, as runs of neighbours: how many.

        Of each: column, length, where it starts in the source and in the result.
        """
        q1, q2 = job[PLACES + 1], job[PLACES + 2]
        each = places(job)
        n = first // each
        rest = first - n * each
        a = rest // (q1 * q2)
        rest -= a * q1 * q2
        b = rest // q2
        c = rest - b * q2
        column = 0
        found = 0
        while column < width and n < job[IMAGES]:
            length = min(min(q2 - c, width - column), v)
            list_[found * 4] = column
            list_[found * 4 + 1] = length
            list_[found * 4 + 2] = n * job[SRC_N] + a * job[SRC_Q] + b * job[SRC_Q + 1] + c
            list_[found * 4 + 3] = (
                n * job[DST_N] + a * job[DST_Q] + b * job[DST_Q + 1] + c * job[DST_Q + 2]
            )
            found += 1
            column += length
            c += length
            if c == q2:
                c = 0
                b += 1
                if b == q1:
                    b = 0
                    a += 1
                    if a == job[PLACES]:
                        a = 0
                        n += 1
        return found

    @jit
    def gather(job, panel, start, length, first, last):
        """One run of a panel: its terms of channels ``first`` to ``last``."""
        nt = job[COUNT_TAPS]
        tap = words(job[TAP_LIST])
        to = panel
        for c in range(first, last):
            src = job[SRC] + (start + c * job[SRC_C]) * size
            for t in range(nt):
                copy(to, src + tap[t] * size, length)
                to += width * size

    @jit
    def part(job_, k):
        job = words(job_)
        total = job[IMAGES] * places(job)
        panels = (total + width - 1) // width
        blocks = (job[MAPS] + ROWS - 1) // ROWS
        nt = job[COUNT_TAPS]
        terms = job[CHANNELS] * nt
        own = job[SPARE] + k * job[SPARE_BYTES]
        sums_ = own
        panel = sums_ + blocks * ROWS * width * size
        list_ = words(panel + job[DEPTH] * nt * width * size)
        bias = pointer(job[BIAS])
        # Columns that the last panel leaves empty are computed as well, and dropped.
        clear = pointer(panel)
        for i in range(job[DEPTH] * nt * width):
            clear[i] = ty(0)
        sums = pointer(sums_)
        for i in range(panels * k // job[PARTS], panels * (k + 1) // job[PARTS]):
            found = runs(job, i * width, list_)
            for m in range(blocks * ROWS):
                start = bias[m] if job[BIAS] != 0 and m < job[MAPS] else ty(0)
                for j in range(width):
                    sums[m * width + j] = start
            first = 0
            while first < job[CHANNELS] and nt > 0:
                last = min(first + job[DEPTH], job[CHANNELS])
                for f in range(found):
                    to = panel + list_[f * 4] * size
                    if list_[f * 4 + 1] == v:
                        gather(job, to, list_[f * 4 + 2], v, first, last)
                    else:
                        gather(job, to, list_[f * 4 + 2], list_[f * 4 + 1], first, last)
                for b in range(blocks):
                    tile(
                        job[PACKED] + (b * terms + first * nt) * ROWS * size,
                        panel,
                        (last - first) * nt,
                        sums_ + b * ROWS * width * size,
                    )
                first = last
            for f in range(found):
                length = list_[f * 4 + 1]
                src = sums_ + list_[f * 4] * size
                dst = job[DST] + list_[f * 4 + 3] * size
                if job[DST_Q + 2] == 1:
                    for m in range(job[MAPS]):
                        copy(dst + m * job[DST_C] * size, src + m * width * size, length)
                else:
                    for m in range(job[MAPS]):
                        y = pointer(dst + m * job[DST_C] * size)
                        x = pointer(src + m * width * size)
                        for j in range(length):
                            y[j * job[DST_Q + 2]] = x[j]
        return 0

    pack_all = side_by_side(pack)
    run = side_by_side(part)

    @jit
    def correlate(H, job_):
        job = words(job_)
        total = job[IMAGES] * places(job)
        if total == 0 or job[MAPS] == 0:
            return 0
        nt = job[COUNT_TAPS]
        blocks = (job[MAPS] + ROWS - 1) // ROWS
        terms = job[CHANNELS] * nt
        panels = (total + width - 1) // width
        parts = min(threads(H, total * terms * job[MAPS], THREAD), panels)
        deep = max(min(PANEL // (width * size) // max(nt, 1), job[CHANNELS]), 1)
        spare = (blocks * ROWS * width + deep * nt * width) * size + width * 4 * 8
        spare = (spare + 63) // 64 * 64
        weights = storage_new(H, max(blocks * ROWS * terms, 1) * size)
        own = storage_new(H, parts * spare)
        if weights == NONE or own == NONE:
            done(H, weights)
            done(H, own)
            return 1
        job[PACKED] = store(H, weights)[S_DATA]
        job[SPARE] = store(H, own)[S_DATA]
        job[SPARE_BYTES] = spare
        job[DEPTH] = deep
        job[PARTS] = min(threads(H, blocks * ROWS * terms, THREAD), blocks)
        pack_all(H, job_, job[PARTS])
        job[PARTS] = parts
        run(H, job_, parts)
        storage_release(H, weights)
        storage_release(H, own)
        return 0

    return correlate


@cache
def weights_correlator(dtype: int) -> Any:
    """Jitted ``correlate_weights(H, job)``: DST is the cotangent, WEIGHTS where its sums go.

    Terms are added in the dtype for some thousand places, and these sums in float64.
    """
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize
    v = lanes(dtype)
    tiles = [tap_tile(dtype, span) for span in SPANS]
    one, two, four = tiles[0], tiles[1], tiles[-1]
    widest = SPANS[-1]

    @jit
    def pack(job_, k):
        """The cotangent with the maps of a block as neighbours: (image, block, place, map)."""
        job = words(job_)
        wide = job[SPAN] * v
        blocks = (job[MAPS] + wide - 1) // wide
        each = places(job)
        count = job[IMAGES] * blocks
        for i in range(count * k // job[PARTS], count * (k + 1) // job[PARTS]):
            n = i // blocks
            m = (i - n * blocks) * wide
            to = pointer(job[PACKED] + i * each * wide * size)
            g = pointer(job[DST] + (n * job[DST_N] + m * job[DST_C]) * size)
            there = min(job[MAPS] - m, wide)
            step = job[DST_C]
            for q in range(each):
                for r in range(there):
                    to[q * wide + r] = g[r * step + q]
                for r in range(there, wide):
                    to[q * wide + r] = ty(0)
        return 0

    @jit
    def part(job_, k):
        job = words(job_)
        wide = job[SPAN] * v
        blocks = (job[MAPS] + wide - 1) // wide
        nt = job[COUNT_TAPS]
        rows = job[CHANNELS] * nt
        groups = (rows + TAPS - 1) // TAPS
        tap, pick = words(job[TAP_LIST]), words(job[TAP_PICK])
        # Groups are dealt out in runs: a thread's are neighbours in memory.
        begin, end = groups * k // job[PARTS], groups * (k + 1) // job[PARTS]
        q0, q1, q2 = job[PLACES], job[PLACES + 1], job[PLACES + 2]
        each = places(job)
        own = job[SPARE] + k * job[SPARE_BYTES]
        offsets = words(own)
        sums_ = own + 64
        sums = pointer(sums_)
        totals = float64s(sums_ + TAPS * widest * v * size)
        for i in range((end - begin) * blocks * TAPS * wide):
            totals[i] = 0.0
        deep = max(min(LINES // max(q2 * wide * size, 1), q1), 1)
        for n in range(job[IMAGES]):
            for block in range(blocks):
                for a in range(q0):
                    line = 0
                    while line < q1:
                        lines = min(deep, q1 - line)
                        x = n * job[SRC_N] + a * job[SRC_Q] + line * job[SRC_Q + 1]
                        x = job[SRC] + x * size
                        g = (n * blocks + block) * each + (a * q1 + line) * q2
                        g = job[PACKED] + g * wide * size
                        skip = job[SRC_Q + 1] * size
                        for i in range(begin, end):
                            for t in range(TAPS):
                                row = min(i * TAPS + t, rows - 1)
                                c = row // nt
                                offsets[t] = (c * job[SRC_C] + tap[row - c * nt]) * size
                            for j in range(TAPS * wide):
                                sums[j] = ty(0)
                            if job[SPAN] == 1:
                                one(x, own, skip, g, lines, q2, sums_)
                            elif job[SPAN] == 2:
                                two(x, own, skip, g, lines, q2, sums_)
                            else:
                                four(x, own, skip, g, lines, q2, sums_)
                            at = ((i - begin) * blocks + block) * TAPS * wide
                            for j in range(TAPS * wide):
                                totals[at + j] += sums[j]
                        line += lines
        w = pointer(job[WEIGHTS])
        for i in range(begin, end):
            for t in range(TAPS):
                row = i * TAPS + t
                if row < rows:
                    c = row // nt
                    start = c * job[CHANNEL_STEP] + pick[row - c * nt]
                    for m in range(job[MAPS]):
                        block = m // wide
                        at = (((i - begin) * blocks + block) * TAPS + t) * wide + m - block * wide
                        w[m * job[MAP_STEP] + start] = ty(totals[at])
        return 0

    pack_all = side_by_side(pack)
    run = side_by_side(part)

    @jit
    def correlate_weights(H, job_):
        job = words(job_)
        rows = job[CHANNELS] * job[COUNT_TAPS]
        if rows == 0 or job[MAPS] == 0:
            return 0
        span = 1
        while span < widest and span * v < job[MAPS]:
            span *= 2
        wide = span * v
        blocks = (job[MAPS] + wide - 1) // wide
        groups = (rows + TAPS - 1) // TAPS
        total = job[IMAGES] * places(job)
        parts = min(threads(H, total * rows * job[MAPS], THREAD), groups)
        each = (groups + parts - 1) // parts
        spare = 64 + TAPS * widest * v * size + each * blocks * TAPS * wide * 8
        spare = (spare + 63) // 64 * 64
        packed = storage_new(H, max(total * blocks * wide, 1) * size)
        own = storage_new(H, parts * spare)
        if packed == NONE or own == NONE:
            done(H, packed)
            done(H, own)
            return 1
        job[PACKED] = store(H, packed)[S_DATA]
        job[SPARE] = store(H, own)[S_DATA]
        job[SPARE_BYTES] = spare
        job[SPAN] = span
        count = max(job[IMAGES] * blocks, 1)
        job[PARTS] = min(threads(H, total * blocks * wide, THREAD), count)
        pack_all(H, job_, job[PARTS])
        job[PARTS] = parts
        run(H, job_, parts)
        storage_release(H, packed)
        storage_release(H, own)
        return 0

    return correlate_weights
