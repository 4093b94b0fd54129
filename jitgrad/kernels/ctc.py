"""Kernels of connectionist temporal classification (Graves et al. 2006): the recursions over alignments.

Inputs: logarithms of probabilities (T, N, C); labels (N, L), int64; how many times and labels of each sample
are used (2, N), int64; a reserve of N (T (2 L + 3) + 1) elements, which forward writes and backward reads.
The states of a sample are its labels with blanks before, between and after them.  A row of the reserve has
two states in front that cannot be, so that the loops over states have no edge; at its end stand the losses.
Result: the losses (N).  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from jitgrad.arena.columns import ATTR, NONE, S_DATA, SHAPE, X_MEMORY
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.storage import storage_new, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, jit, words
from jitgrad.kernels.reading import dense, done
from jitgrad.kernels.scalars import environment
from jitgrad.kernels.tasks import side_by_side, threads

Kernel = Callable[[Any, Any], Any]

LOGS, LABELS, LENGTHS, RESERVE = range(4)
_BLANK, _ZERO = ATTR, ATTR + 1  # the class of no label; whether infinite losses are 0

#: States, at all times, that are worth a thread.
_THREAD = 1 << 13

# The words of a job.
_X, _CLASSES, _USED, _WANTED, _ALPHA, _LOSSES, _T, _N, _C, _L = range(10)
_NO_LABEL, _ZERO_INFINITY, _PARTS, _SPARE, _LINES, _Y, _G, _DX = range(10, 18)
_WORDS = 18


@cache
def _parts(dtype: int) -> tuple[Any, ...]:
    """Jitted: a job of a row; a sample's labels; the loops over its states."""
    ty, size = TYPES[dtype], ALL[dtype].itemsize
    pointer = POINTERS[dtype]
    space = environment(dtype, {"exp", "log", "maximum", "where"})
    exp, log, larger, where = (space[name] for name in ("exp", "log", "maximum", "where"))
    zero, never = ty(0), ty(-np.inf)

    @jit
    def staged(H, row, x, labels, lines):
        """(job, its own memory: ``lines`` rows of states for each part), as storages; NONE without memory."""
        s = storage_new(H, _WORDS * 8)
        if s == NONE:
            return NONE, NONE
        p = row_at(H, row)
        q = row_at(H, input_at(p, LOGS))
        job = words(store(H, s)[S_DATA])
        job[_X] = x
        job[_CLASSES] = labels
        job[_T] = q[SHAPE]
        job[_N] = q[SHAPE + 1]
        job[_C] = q[SHAPE + 2]
        job[_L] = row_at(H, input_at(p, LABELS))[SHAPE + 1]
        job[_USED] = data_of(H, input_at(p, LENGTHS))
        job[_WANTED] = job[_USED] + job[_N] * 8
        wide = 2 * job[_L] + 3
        job[_ALPHA] = data_of(H, input_at(p, RESERVE))
        job[_LOSSES] = job[_ALPHA] + job[_N] * job[_T] * wide * size
        job[_NO_LABEL] = p[_BLANK]
        job[_ZERO_INFINITY] = p[_ZERO]
        job[_PARTS] = max(min(threads(H, job[_N] * job[_T] * wide, _THREAD), job[_N]), 1)
        job[_LINES] = lines * (wide + 2) * size
        spare = storage_new(H, job[_PARTS] * job[_LINES])
        if spare != NONE:
            job[_SPARE] = store(H, spare)[S_DATA]
        return s, spare

    @jit
    def skips(skip, labels, n):
        """0 where a state can be reached from two before it: a label that does not repeat; else -inf."""
        for s in range(n + 2):
            skip[s] = never
        for k in range(1, n // 2):
            if labels[k] != labels[k - 1]:
                skip[2 * k + 1] = zero

    @jit
    def emitted(e, x, labels, blank, n):
        """The logarithms of the states' probabilities."""
        for k in range(n // 2):
            e[2 * k] = x[blank]
            e[2 * k + 1] = x[labels[k]]
        e[n - 1] = x[blank]

    @jit
    def advance(to, one, two, three, skip, e, n):
        """The logarithm of what comes to each state from itself, its neighbour, and the one beyond."""
        for s in range(n):
            a = one[s]
            b = two[s]
            c = three[s] + skip[s]
            m = larger(a, larger(b, c))
            m = where(m == never, zero, m)
            to[s] = log(exp(a - m) + exp(b - m) + exp(c - m)) + m + e[s]

    return pointer, staged, skips, emitted, advance


def ctc_loss(dtype: int) -> Kernel:
    """The losses: minus the logarithm of what all alignments add up to."""
    ty, size = TYPES[dtype], ALL[dtype].itemsize
    pointer, staged, skips, emitted, advance = _parts(dtype)
    space = environment(dtype, {"exp", "log", "maximum"})
    exp, log, larger = space["exp"], space["log"], space["maximum"]
    zero, never = ty(0), ty(-np.inf)

    @jit
    def together(a, b):
        """The logarithm of a sum of two."""
        m = larger(a, b)
        if m == never:
            m = zero
        return log(exp(a - m) + exp(b - m)) + m

    @jit
    def part(job_, k):
        job = words(job_)
        T, N, L, blank = job[_T], job[_N], job[_L], job[_NO_LABEL]
        wide = 2 * L + 3
        skip = pointer(job[_SPARE] + k * job[_LINES])
        e = at(skip, wide + 2)
        for i in range(N * k // job[_PARTS], N * (k + 1) // job[_PARTS]):
            labels = words(job[_CLASSES] + i * L * 8)
            used, wanted = words(job[_USED])[i], words(job[_WANTED])[i]
            n = 2 * wanted + 1
            skips(skip, labels, n)
            loss = zero if wanted == 0 else -never
            for t in range(used):
                alpha = at(pointer(job[_ALPHA] + (i * T + t) * wide * size), 2)
                alpha[-2] = never
                alpha[-1] = never
                emitted(e, pointer(job[_X] + (t * N + i) * job[_C] * size), labels, blank, n)
                if t == 0:
                    for s in range(n):
                        alpha[s] = e[s] if s < 2 else never
                else:
                    old = at(alpha, -wide)
                    advance(alpha, old, at(old, -1), at(old, -2), skip, e, n)
                if t == used - 1:
                    loss = -alpha[0] if n == 1 else -together(alpha[n - 1], alpha[n - 2])
            pointer(job[_LOSSES])[i] = loss
            drop = job[_ZERO_INFINITY] != 0 and loss == -never
            pointer(job[_Y])[i] = zero if drop else loss
        return 0

    run = side_by_side(part)

    def kernel(H, out):
        p = row_at(H, out)
        ax, sx = dense(H, input_at(p, LOGS))
        al, sl = dense(H, input_at(p, LABELS))
        s, spare = staged(H, out, ax, al, 2)
        status = X_MEMORY
        if ax != 0 and al != 0 and s != NONE and spare != NONE:
            job = words(store(H, s)[S_DATA])
            job[_Y] = data_of(H, out)
            run(H, store(H, s)[S_DATA], job[_PARTS])
            status = 0
        done(H, s)
        done(H, spare)
        done(H, sx)
        done(H, sl)
        return status

    return kernel


def ctc_loss_dx(dtype: int) -> Kernel:
    """The classes' probabilities less those of being there on an alignment, as of logits."""
    ty, size = TYPES[dtype], ALL[dtype].itemsize
    pointer, staged, skips, emitted, advance = _parts(dtype)
    space = environment(dtype, {"exp", "where"})
    exp, where = space["exp"], space["where"]
    zero, never, missing = ty(0), ty(-np.inf), ty(np.nan)

    @jit
    def probabilities(to, x, n):
        for c in range(n):
            to[c] = where(x[c] == never, missing, exp(x[c]))

    @jit
    def shares(to, alpha, beta, e, loss, n):
        """The probability of each state, given the labels."""
        for s in range(n):
            to[s] = exp(alpha[s] + beta[s] + loss - e[s])

    @jit
    def scale(to, by, n):
        for c in range(n):
            to[c] *= by

    @jit
    def fill(to, value, n):
        for c in range(n):
            to[c] = value

    @jit
    def part(job_, k):
        job = words(job_)
        T, N, C, L, blank = job[_T], job[_N], job[_C], job[_L], job[_NO_LABEL]
        wide = 2 * L + 3
        line = wide + 2
        skip = pointer(job[_SPARE] + k * job[_LINES])
        e, share = at(skip, line), at(skip, 2 * line)
        for i in range(N * k // job[_PARTS], N * (k + 1) // job[_PARTS]):
            labels = words(job[_CLASSES] + i * L * 8)
            used, wanted = words(job[_USED])[i], words(job[_WANTED])[i]
            n = 2 * wanted + 1
            skips(skip, labels, n)
            loss, g = pointer(job[_LOSSES])[i], pointer(job[_G])[i]
            impossible = loss == -never
            lost = loss != loss
            for t in range(T - 1, -1, -1):
                place = (t * N + i) * C * size
                dx = pointer(job[_DX] + place)
                if t >= used or (impossible and job[_ZERO_INFINITY] != 0):
                    fill(dx, zero, C)
                    continue
                if impossible or lost:
                    fill(dx, missing, C)
                    continue
                x = pointer(job[_X] + place)
                emitted(e, x, labels, blank, n)
                # Two rows by turns, with two impossible states behind.
                beta = at(skip, (3 + t % 2) * line)
                old = at(skip, (3 + (t + 1) % 2) * line)
                if t == used - 1:
                    for s in range(n):
                        beta[s] = e[s] if s >= n - 2 else never
                else:
                    advance(beta, old, at(old, 1), at(old, 2), at(skip, 2), e, n)
                beta[n] = never
                beta[n + 1] = never
                alpha = at(pointer(job[_ALPHA] + (i * T + t) * wide * size), 2)
                shares(share, alpha, beta, e, loss, n)
                probabilities(dx, x, C)
                for s in range(wanted):
                    dx[blank] -= share[2 * s]
                    dx[labels[s]] -= share[2 * s + 1]
                dx[blank] -= share[n - 1]
                scale(dx, g, C)
        return 0

    run = side_by_side(part)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        ax, sx = dense(H, input_at(p, LOGS))
        al, sl = dense(H, input_at(p, LABELS))
        s, spare = staged(H, args[0], ax, al, 5)
        status = X_MEMORY
        if ax != 0 and al != 0 and s != NONE and spare != NONE:
            job = words(store(H, s)[S_DATA])
            job[_G] = args[3]
            job[_DX] = args[2]
            run(H, store(H, s)[S_DATA], job[_PARTS])
            status = 0
        done(H, s)
        done(H, spare)
        done(H, sx)
        done(H, sl)
        return status

    return kernel
