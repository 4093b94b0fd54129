"""Another device: which one a call is for, where memory is, and the launches that wait for Python.  Jitted.

Jitted code can't launch a kernel of the GPU.  It does everything else: shapes, dtypes, history, and
buffers, which are *virtual*: an address of the GPU is a storage's number and an offset
(`columns.GPU_BIT`), and Python makes the memory when a launch needs it
(`jitgrad.cuda.memory`).  What the CPU would compute at once becomes a *command*, a few words in a list that
Python launches in this order as soon as the entry has returned (`jitgrad.cuda.commands`).

A call is for one device.  Entries compare it with where their operands are, and fault; `entry.on_device`
calls an entry for the GPU, which has kernel tables of its own in the place of the CPU's.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    ATTR,
    ATTR_WORDS,
    DTYPE,
    GPU_BIT,
    H_BACKWARD,
    H_COMMANDS,
    H_COMMANDS_CAP,
    H_COMMANDS_LOST,
    H_COMMANDS_N,
    H_DEVICE,
    H_FORWARD,
    H_OTHER_BACKWARD,
    H_OTHER_FORWARD,
    H_OTHER_PARALLEL_FROM,
    H_PARALLEL_FROM,
    H_PLAN,
    MAX_DIMS,
    NDIM,
    NUMEL,
    P_BASE,
    P_CONST,
    P_KERNEL,
    P_N,
    P_NDIM,
    P_NIN,
    P_SHAPE,
    P_SIZE,
    P_STRIDES,
    SHAPE,
    STRIDE,
)
from jitgrad.arena.command_words import NUMBER, ONE, STRIDED
from jitgrad.kernels.lowlevel import at, jit, raw_realloc, words


@jit
def elsewhere(address):
    """1 if an address is one of the GPU, 0 if one of the CPU."""
    return (address >> GPU_BIT) & 1


@jit
def use_device(H, device):
    """Make the call in progress one for a device."""
    h = words(H)
    if h[H_DEVICE] != device:
        h[H_DEVICE] = device
        for pair in range(3):
            a = H_FORWARD
            b = H_OTHER_FORWARD
            if pair == 1:
                a = H_BACKWARD
                b = H_OTHER_BACKWARD
            elif pair == 2:
                a = H_PARALLEL_FROM
                b = H_OTHER_PARALLEL_FROM
            kept = h[a]
            h[a] = h[b]
            h[b] = kept


# ---------------------------------------------------------------- commands
@jit
def command(H, n, kind, kernel):
    """Room for a command of ``n`` words besides the first three; 0 (and the loss is noted) without memory."""
    h = words(H)
    need = h[H_COMMANDS_N] + 3 + n
    if need > h[H_COMMANDS_CAP]:
        block = raw_realloc(h[H_COMMANDS], 2 * need * 8)
        if block == 0:
            h[H_COMMANDS_LOST] = 1
            return 0
        h[H_COMMANDS] = block
        h[H_COMMANDS_CAP] = 2 * need
    c = words(h[H_COMMANDS] + h[H_COMMANDS_N] * 8)
    c[0] = 3 + n
    c[1] = kind
    c[2] = kernel
    h[H_COMMANDS_N] = need
    return h[H_COMMANDS] + (need - n) * 8


@jit
def plan_command(H, kind, more):
    """Put the plan in the header into the list; the address of ``more`` words behind it, or 0."""
    plan = words(H + H_PLAN * 8)
    ndim = plan[P_NDIM]
    operands = plan[P_NIN] + 1
    length = 3 + ndim + operands * (3 + ndim)
    to = command(H, length + more, kind, plan[P_KERNEL])
    if to == 0:
        return 0
    c = words(to)
    c[0] = plan[P_N]
    c[1] = operands
    c[2] = ndim
    for d in range(ndim):
        c[3 + d] = plan[P_SHAPE + d]
    for j in range(operands):
        o = at(c, 3 + ndim + j * (3 + ndim))
        o[0] = plan[P_BASE + j]
        o[1] = plan[P_SIZE + j]
        o[2] = ONE if plan[P_CONST + j] == 1 else STRIDED
        if elsewhere(o[0]) == 0:
            o[0] = words(o[0])[0]
            o[2] = NUMBER
        for d in range(ndim):
            o[3 + d] = 0 if plan[P_CONST + j] == 1 else plan[P_STRIDES + j * MAX_DIMS + d]
    return to + length * 8


@jit
def words_command(H, kind, kernel, source, n):
    """A command of ``n`` words that stand at ``source``."""
    to = command(H, n, kind, kernel)
    if to != 0:
        for i in range(n):
            words(to)[i] = words(source)[i]
    return 0


@jit
def geometry(to, p, address):
    """Write what a kernel has to know of row ``p``, whose first element is at ``address``."""
    c = words(to)
    c[0] = address
    c[1] = p[DTYPE]
    c[2] = p[NDIM]
    c[3] = p[NUMEL]
    for d in range(p[NDIM]):
        c[4 + d] = p[SHAPE + d]
        c[4 + MAX_DIMS + d] = p[STRIDE + d]


@jit
def attributes(to, p):
    """Write a row's attributes."""
    for i in range(ATTR_WORDS):
        words(to)[i] = p[ATTR + i]
