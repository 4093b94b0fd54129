"""A convolution's plan: the words that its kernels share, first those of a job of `correlation`.

Input (N, C, I), weight (M, C / groups, K), result (N, M, O), with three dims of space, the missing ones of
size 1; S, P and D are stride, padding and dilation.  Imported by the compiler only.
"""

from __future__ import annotations

from jitgrad.arena.columns import ATTR, NDIM, NONE, S_DATA, SHAPE
from jitgrad.arena.storage import storage_new, store
from jitgrad.kernels.correlation import (
    BIAS,
    CHANNEL_STEP,
    CHANNELS,
    COUNT_TAPS,
    DST_C,
    DST_N,
    DST_Q,
    GROUPS,
    IMAGES,
    JOB_WORDS,
    MAP_STEP,
    MAPS,
    PLACES,
    SRC_C,
    SRC_N,
    SRC_Q,
    TAP_LIST,
    TAP_PICK,
    WHOLE,
)
from jitgrad.kernels.lowlevel import jit, words

# A row's attributes: stride, padding in front, dilation (3 words each, the last dims at the end), groups,
# and whether it is transposed.
ATTR_STRIDE, ATTR_PADDING, ATTR_DILATION = ATTR, ATTR + 3, ATTR + 6
ATTR_GROUPS, ATTR_TRANSPOSED = ATTR + 9, ATTR + 10

# A plan: the job, then the ordinary convolution's sizes (3 words each), then the two lists of taps.
N_, C_, M_ = JOB_WORDS, JOB_WORDS + 1, JOB_WORDS + 2
I_, O_, K_ = JOB_WORDS + 5, JOB_WORDS + 8, JOB_WORDS + 11
S_, P_, D_ = JOB_WORDS + 14, JOB_WORDS + 17, JOB_WORDS + 20
BEFORE, EXTENT = JOB_WORDS + 23, JOB_WORDS + 26
LINE, PLANE = JOB_WORDS + 29, JOB_WORDS + 30  # of the source, padded or not
LISTS = JOB_WORDS + 32


@jit
def planned(H, p, big, w, small):
    """A plan for row ``p``: the rows of an ordinary convolution's input, weight and result.

    A storage, or NONE when memory is out.
    """
    taps = 1
    for d in range(w[NDIM] - 2):
        taps *= w[SHAPE + 2 + d]
    s = storage_new(H, (LISTS + 2 * taps) * 8)
    if s == NONE:
        return NONE
    plan = words(store(H, s)[S_DATA])
    plan[N_] = big[SHAPE]
    plan[C_] = big[SHAPE + 1]
    plan[M_] = small[SHAPE + 1]
    plan[GROUPS] = p[ATTR_GROUPS]
    plan[WHOLE] = taps
    lead = 5 - w[NDIM]
    for d in range(3):
        e = SHAPE + 2 + d - lead
        plan[I_ + d] = big[e] if d >= lead else 1
        plan[O_ + d] = small[e] if d >= lead else 1
        plan[K_ + d] = w[e] if d >= lead else 1
        plan[S_ + d] = p[ATTR_STRIDE + d]
        plan[P_ + d] = p[ATTR_PADDING + d]
        plan[D_ + d] = p[ATTR_DILATION + d]
    plan[TAP_LIST] = store(H, s)[S_DATA] + LISTS * 8
    plan[TAP_PICK] = plan[TAP_LIST] + taps * 8
    plan[IMAGES] = plan[N_]
    plan[BIAS] = 0
    return s


@jit
def volume(plan, size):
    """Product of three sizes."""
    return plan[size] * plan[size + 1] * plan[size + 2]


@jit
def frame(plan):
    """What the windows need of the input: how many zeros before it, and how long each dim is then."""
    for d in range(3):
        plan[BEFORE + d] = plan[P_ + d]
        plan[EXTENT + d] = (plan[O_ + d] - 1) * plan[S_ + d] + (plan[K_ + d] - 1) * plan[D_ + d] + 1


@jit
def steps(plan):
    """Where the windows and their taps lie in a source whose line, plane and channel are known."""
    phases = plan[S_ + 2]
    plan[SRC_N] = plan[C_] * plan[SRC_C]
    plan[SRC_Q] = plan[S_] * plan[PLANE]
    plan[SRC_Q + 1] = plan[S_ + 1] * plan[LINE]
    plan[CHANNELS] = plan[C_] // plan[GROUPS]
    plan[COUNT_TAPS] = plan[WHOLE]
    tap, pick = words(plan[TAP_LIST]), words(plan[TAP_PICK])
    t = 0
    for a in range(plan[K_]):
        for b in range(plan[K_ + 1]):
            for c in range(plan[K_ + 2]):
                last = c * plan[D_ + 2]
                tap[t] = (
                    a * plan[D_] * plan[PLANE]
                    + b * plan[D_ + 1] * plan[LINE]
                    + last % phases * (plan[LINE] // phases)
                    + last // phases
                )
                pick[t] = t
                t += 1
    plan[MAPS] = plan[M_] // plan[GROUPS]
    plan[MAP_STEP] = plan[CHANNELS] * plan[WHOLE]
    plan[CHANNEL_STEP] = plan[WHOLE]
    for d in range(3):
        plan[PLACES + d] = plan[O_ + d]
    plan[DST_C] = volume(plan, O_)
    plan[DST_N] = plan[M_] * plan[DST_C]
    plan[DST_Q] = plan[O_ + 1] * plan[O_ + 2]
    plan[DST_Q + 1] = plan[O_ + 2]
    plan[DST_Q + 2] = 1
