"""Recurrent layers: a whole sequence in one call, and the way back through it.

Inputs: what each step gets from the layer's input (rows, gates * units); the weight of the hidden state
(gates * units, units); what the first step begins with, flat: hidden states (batch * units), an LSTM's cells,
a GRU's bias; a *reserve* that forward writes and backward reads.  At its head stands how many sequences
have each step and which is its first row.  Result: the hidden states of all rows, then the last ones
(batch), an LSTM's last cells.

The sequences run on their own, so threads share the batch, not the steps.  A running state of the whole
batch stands in the result; a step reads and writes the first rows of it, as many as it has sequences, so
those that end early, or begin late in the other direction, need no thought.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import ATTR, NONE, NUMEL, S_DATA, SHAPE, STRIDE, X_MEMORY
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.storage import storage_new, store
from jitgrad.arena.vjps import wants
from jitgrad.dtypes import ALL
from jitgrad.kernels.gates import GRU, LSTM, RNN_RELU, RNN_TANH, Cell
from jitgrad.kernels.gemm import gemm_of
from jitgrad.kernels.lowlevel import POINTERS, TYPES, float64s, jit, words
from jitgrad.kernels.panels import multiplier, packer, whole
from jitgrad.kernels.reading import copy, dense, done
from jitgrad.kernels.tasks import side_by_side, threads
from jitgrad.kernels.tiles import ROWS

Kernel = Callable[[Any, Any], Any]

GIVEN, WEIGHT, START, RESERVE = range(4)
# Attributes: a stash of gradients or NONE; whether the last step is the first; steps; batch; bytes of the
# reserve's head.
_STASH, _REVERSE, _STEPS, _BATCH, _HEAD = range(ATTR, ATTR + 5)

#: So many steps are worth packing the weight.
_PACK = 4
#: Multiplications that are worth a thread.
_THREAD = 1 << 18

# The words of a job: sizes, then addresses.
_T, _B, _U, _ROWS, _BACK, _PARTS, _STATUS, _HEADER = range(8)
_PANELS, _W, _W0, _W1, _MADE, _LD = range(8, 14)
_SIZES, _FIRST, _KEPT, _BEFORE, _CELLS, _BIAS = range(14, 20)
_X, _Y, _H, _C = range(20, 24)
_G, _DX, _DR, _DH, _CARRY, _TO_START = range(20, 26)
_WORDS = 26


@jit
def part_rows(job, k):
    """The sequences that part ``k`` runs: the first, and the one after the last."""
    tiles = (job[_B] + ROWS - 1) // ROWS
    low = tiles * k // job[_PARTS] * ROWS
    high = tiles * (k + 1) // job[_PARTS] * ROWS
    return low, min(high, job[_B])


@cache
def _staging(cell: Cell, dtype: int) -> Any:
    """Jitted ``staged(H, row, start)``: a job for the row, as a storage; NONE without memory."""
    size = ALL[dtype].itemsize
    gates, kept, states = cell.gates, cell.kept, cell.states

    @jit
    def staged(H, row, start):
        s = storage_new(H, _WORDS * 8)
        if s == NONE:
            return NONE
        p = row_at(H, row)
        w = row_at(H, input_at(p, WEIGHT))
        N, U = row_at(H, input_at(p, GIVEN))[SHAPE], w[SHAPE + 1]
        job = words(store(H, s)[S_DATA])
        job[_HEADER] = H
        job[_STATUS] = 0
        job[_T] = p[_STEPS]
        job[_B] = p[_BATCH]
        job[_U] = U
        job[_ROWS] = N
        job[_BACK] = p[_REVERSE]
        job[_PARTS] = 1
        if job[_T] >= _PACK:
            tiles = (job[_B] + ROWS - 1) // ROWS
            job[_PARTS] = max(min(threads(H, N * U * U * gates, _THREAD), tiles), 1)
        job[_PANELS] = 0
        job[_W] = data_of(H, input_at(p, WEIGHT))
        job[_W0] = w[STRIDE]
        job[_W1] = w[STRIDE + 1]
        job[_SIZES] = data_of(H, input_at(p, RESERVE))
        job[_FIRST] = job[_SIZES] + job[_T] * 8
        job[_KEPT] = job[_SIZES] + p[_HEAD]
        job[_BEFORE] = job[_KEPT] + N * U * kept * size
        job[_CELLS] = job[_BEFORE] + N * U * size
        job[_BIAS] = 0
        if row_at(H, input_at(p, START))[NUMEL] > job[_B] * U * states:
            job[_BIAS] = start + job[_B] * U * states * size
        return s

    return staged


@cache
def _times_weight(dtype: int) -> tuple[Any, Any]:
    """Jitted ``packed(H, job, K, N, down, right)`` and ``times(job, c, a, n, K, N, down, right)``.

    The first makes panels of the weight as a K x N matrix with these strides, in a storage, unless so few
    steps leave it to BLAS, and room for a product of the batch, in another.  The second writes n rows of a
    product to c; a is contiguous.
    """
    size = ALL[dtype].itemsize
    pack, rounded, multiply, gemm = packer(dtype), whole(dtype), multiplier(dtype), gemm_of(dtype)

    @jit
    def packed(H, job_, K, N, down, right):
        job = words(job_)
        made, panels = NONE, NONE
        job[_LD] = N
        if job[_T] >= _PACK:
            panels = storage_new(H, K * rounded(N) * size)
            if panels == NONE:
                return NONE, NONE
            job[_LD] = rounded(N)
            job[_PANELS] = store(H, panels)[S_DATA]
            pack(job[_PANELS], job[_W], K, N, down, right)
        made = storage_new(H, job[_B] * job[_LD] * size)
        if made != NONE:
            job[_MADE] = store(H, made)[S_DATA]
        return made, panels

    @jit
    def times(job, c, a, n, K, N, down, right):
        if job[_PANELS] != 0:
            multiply(c, job[_LD] * size, a, K * size, job[_PANELS], n, N, K)
            return
        status = gemm(job[_HEADER], n, N, K, 1.0, a, K, 1, job[_W], down, right, 0.0, c)
        if status != 0:
            job[_STATUS] = status

    return packed, times


def _forward(cell: Cell) -> Callable[[int], Kernel]:
    """The forward kernel's maker."""

    def make(dtype: int) -> Kernel:
        pointer, size = POINTERS[dtype], ALL[dtype].itemsize
        gates, kept, states = cell.gates, cell.kept, cell.states
        staged, (packed, times) = _staging(cell, dtype), _times_weight(dtype)
        step = cell.forward(dtype)

        @jit
        def part(job_, k):
            job = words(job_)
            U, ld = job[_U], job[_LD]
            line = U * size
            low, high = part_rows(job, k)
            sizes, firsts = words(job[_SIZES]), words(job[_FIRST])
            h, c = job[_H] + low * line, job[_C] + low * line
            made = job[_MADE] + low * ld * size
            for i in range(job[_T]):
                t = job[_T] - 1 - i if job[_BACK] != 0 else i
                n = min(sizes[t], high) - low
                if n <= 0:
                    continue
                first = firsts[t] + low
                before = job[_BEFORE] + first * line
                copy(pointer(before), pointer(h), n * U)
                times(job, made, before, n, U, gates * U, job[_W1], job[_W0])
                for r in range(n):
                    step(
                        pointer(job[_X] + (first + r) * gates * line),
                        pointer(made + r * ld * size),
                        pointer(job[_BIAS]),
                        job[_BIAS] != 0,
                        pointer(job[_KEPT] + (first + r) * kept * line),
                        pointer(job[_CELLS] + (first + r) * line),
                        pointer(c + r * line),
                        pointer(h + r * line),
                        pointer(job[_Y] + (first + r) * line),
                        U,
                    )
            return 0

        run = side_by_side(part)

        def kernel(H, out):
            p = row_at(H, out)
            x, sx = dense(H, input_at(p, GIVEN))
            start, ss = dense(H, input_at(p, START))
            s = staged(H, out, start)
            made, panels, status = NONE, NONE, X_MEMORY
            if x != 0 and start != 0 and s != NONE:
                at = store(H, s)[S_DATA]
                job = words(at)
                B, U = job[_B], job[_U]
                made, panels = packed(H, at, U, gates * U, job[_W1], job[_W0])
                if made != NONE:
                    job[_X] = x
                    job[_Y] = data_of(H, out)
                    job[_H] = job[_Y] + job[_ROWS] * U * size
                    job[_C] = job[_H] + B * U * size
                    copy(pointer(job[_H]), pointer(start), B * U * states)
                    run(H, at, job[_PARTS])
                    status = job[_STATUS]
            done(H, made)
            done(H, panels)
            done(H, s)
            done(H, sx)
            done(H, ss)
            return status

        return kernel

    return make


@cache
def _gradients(cell: Cell, dtype: int) -> Any:
    """Jitted ``gradients(H, row, g, dx, dw, dstart)``: those that are given an address; a status."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ALL[dtype].itemsize
    gates, kept, states, bias = cell.gates, cell.kept, cell.states, cell.bias
    staged, (packed, times) = _staging(cell, dtype), _times_weight(dtype)
    gemm, step = gemm_of(dtype), cell.backward(dtype)

    @jit
    def part(job_, k):
        job = words(job_)
        U, ld = job[_U], job[_LD]
        line = U * size
        low, high = part_rows(job, k)
        sizes, firsts = words(job[_SIZES]), words(job[_FIRST])
        dh, carry = job[_DH] + low * ld * size, job[_CARRY] + low * line
        for i in range(job[_T]):
            t = i if job[_BACK] != 0 else job[_T] - 1 - i
            n = min(sizes[t], high) - low
            if n <= 0:
                continue
            first = firsts[t] + low
            dr = job[_DR] + first * gates * line
            for r in range(n):
                step(
                    pointer(job[_KEPT] + (first + r) * kept * line),
                    pointer(job[_CELLS] + (first + r) * line),
                    pointer(job[_BEFORE] + (first + r) * line),
                    pointer(dh + r * ld * size),
                    pointer(carry + r * line),
                    pointer(job[_G] + (first + r) * line),
                    pointer(job[_DX] + (first + r) * gates * line),
                    pointer(dr + r * gates * line),
                    U,
                )
            # Of the first step's state only those who ask for it need the gradient.
            if job[_TO_START] != 0 or i < job[_T] - 1:
                times(job, dh, dr, n, gates * U, U, job[_W0], job[_W1])
        return 0

    run = side_by_side(part)

    @jit
    def begin(job, g):
        """The cotangents of the last states."""
        B, U, ld = job[_B], job[_U], job[_LD]
        h = g + job[_ROWS] * U * size
        carry = pointer(job[_CARRY])
        for r in range(B):
            copy(pointer(job[_DH] + r * ld * size), pointer(h + r * U * size), U)
        if states == 2:
            copy(carry, pointer(h + B * U * size), B * U)
        else:
            for j in range(B * U):
                carry[j] = ty(0)

    @jit
    def end(H, job, dstart):
        """The gradients of the first states and of a bias; a status."""
        B, U, ld = job[_B], job[_U], job[_LD]
        to, carry = pointer(dstart), pointer(job[_CARRY])
        for r in range(B):
            dh = pointer(job[_DH] + r * ld * size)
            for j in range(U):
                to[r * U + j] = dh[j] + carry[r * U + j] if states == 1 else dh[j]
        if states == 2:
            copy(pointer(dstart + B * U * size), carry, B * U)
        if job[_BIAS] == 0:
            return 0
        s = storage_new(H, gates * U * 8)
        if s == NONE:
            return X_MEMORY
        total = float64s(store(H, s)[S_DATA])
        for j in range(gates * U):
            total[j] = 0.0
        for r in range(job[_ROWS]):
            add(total, pointer(job[_DR] + r * gates * U * size), gates * U)
        db = pointer(dstart + B * U * size)
        for j in range(gates * U):
            db[j] = ty(total[j])
        done(H, s)
        return 0

    @jit
    def add(total, of, n):
        for j in range(n):
            total[j] += of[j]

    @jit
    def gradients(H, row, g, dx, dw, dstart):
        s = staged(H, row, 64)
        if s == NONE:
            return X_MEMORY
        at = store(H, s)[S_DATA]
        job = words(at)
        B, U, N = job[_B], job[_U], job[_ROWS]
        lines, carry, made, panels = NONE, NONE, NONE, NONE
        other = NONE
        status = 0
        if dx == 0:
            lines = storage_new(H, N * gates * U * size)
            status |= lines == NONE
        if bias:
            other = storage_new(H, N * gates * U * size)
            status |= other == NONE
        carry = storage_new(H, B * U * size)
        made, panels = packed(H, at, gates * U, U, job[_W0], job[_W1])
        if status != 0 or carry == NONE or made == NONE:
            status = X_MEMORY
        else:
            job[_G] = g
            job[_DX] = dx if dx != 0 else store(H, lines)[S_DATA]
            job[_DR] = store(H, other)[S_DATA] if bias else job[_DX]
            job[_DH] = job[_MADE]
            job[_CARRY] = store(H, carry)[S_DATA]
            job[_TO_START] = dstart
            begin(job, g)
            run(H, at, job[_PARTS])
            status = job[_STATUS]
            if status == 0 and dstart != 0:
                status = end(H, job, dstart)
            if status == 0 and dw != 0:
                status = gemm(
                    H, gates * U, U, N, 1.0, job[_DR], 1, gates * U, job[_BEFORE], U, 1, 0.0, dw
                )
        done(H, lines)
        done(H, other)
        done(H, carry)
        done(H, made)
        done(H, panels)
        done(H, s)
        return status

    return gradients


# All gradients come from one walk, so the first one that is asked for leaves the others in a stash: the
# weight's, then the start's.
def _backward(cell: Cell) -> Callable[[int], Kernel]:
    """The maker of the backward kernel, which serves all inputs."""

    def make(dtype: int) -> Kernel:
        pointer, size = POINTERS[dtype], ALL[dtype].itemsize
        gradients = _gradients(cell, dtype)

        def kernel(H, args_):
            args = words(args_)
            row, slot, to, g = args[0], args[1], args[2], args[3]
            p = row_at(H, row)
            W = row_at(H, input_at(p, WEIGHT))[NUMEL]
            S = row_at(H, input_at(p, START))[NUMEL]
            s = p[_STASH]
            if s == NONE:
                weight = slot < WEIGHT and wants(H, p, WEIGHT)
                start = slot < START and wants(H, p, START)
                dw, dstart = 0, 0
                if weight or start:
                    s = storage_new(H, max((W + S) * size, 1))
                    if s == NONE:
                        return X_MEMORY
                    dw = store(H, s)[S_DATA] if weight else 0
                    dstart = store(H, s)[S_DATA] + W * size if start else 0
                status = gradients(
                    H,
                    row,
                    g,
                    to if slot == GIVEN else 0,
                    to if slot == WEIGHT else dw,
                    to if slot == START else dstart,
                )
                if status != 0:
                    done(H, s)
                    return status
                row_at(H, row)[_STASH] = s
                return 0
            of = store(H, s)[S_DATA]
            if slot == WEIGHT:
                copy(pointer(to), pointer(of), W)
            else:
                copy(pointer(to), pointer(of + W * size), S)
            if slot == START or not wants(H, p, START):
                p[_STASH] = NONE
                done(H, s)
            return 0

        return kernel

    return make


lstm, lstm_back = _forward(LSTM), _backward(LSTM)
gru, gru_back = _forward(GRU), _backward(GRU)
rnn_tanh, rnn_tanh_back = _forward(RNN_TANH), _backward(RNN_TANH)
rnn_relu, rnn_relu_back = _forward(RNN_RELU), _backward(RNN_RELU)
