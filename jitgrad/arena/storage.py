"""Storages: reference-counted buffers, recycled by size class.

A buffer that is given back waits in its class's free list (its first word links to the next one) until
the pool holds more than ``H_POOL_LIMIT`` bytes.  A fresh big buffer costs a page fault every 4 KB, more
than most kernels that fill it, so recycling is what makes large ops fast as well as small ones.

Jitted.  A storage number is valid while somebody holds a reference; a pointer from `store` is valid only
until the next `storage_new`, which may move the table.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    GPU_BIT,
    H_BORROWED_BYTES,
    H_DEBUG,
    H_DEVICE,
    H_GPU_BYTES,
    H_GPU_PEAK,
    H_GPU_POOL,
    H_INFERENCE,
    H_LIVE_BYTES,
    H_PEAK_BYTES,
    H_PENDING,
    H_POOL,
    H_POOL_BYTES,
    H_POOL_LIMIT,
    H_STORE_CAP,
    H_STORE_FREE,
    H_STORE_LIVE,
    H_STORE_TOP,
    H_STORES,
    H_STREAM,
    H_THREAD,
    NONE,
    OFFSET_BITS,
    POOL_CLASSES,
    S_BYTES,
    S_CLASS,
    S_DATA,
    S_GEN,
    S_NEXT,
    S_OWNER,
    S_REFS,
    S_VERSION,
    SHARED,
    STORE_WORDS,
    STREAMS,
)
from jitgrad.kernels.lowlevel import (
    jit,
    jit_seldom,
    raw_free,
    raw_malloc,
    raw_realloc,
    thread_ident,
    words,
)

ALIGN = 64
#: The class of 64 KiB, from which on a request may take a larger buffer.
BORROWING = 35


@jit
def size_class(nbytes):
    """The size class of a request: multiples of 64 bytes to 512, then four steps an octave."""
    if nbytes <= 512:
        return (max(nbytes, 1) + 63) // 64 - 1
    octave = 9
    while (1 << (octave + 1)) < nbytes:
        octave += 1
    step = 1 << (octave - 2)
    return 8 + (octave - 9) * 4 + (nbytes - (1 << octave) + step - 1) // step - 1


@jit
def class_bytes(k):
    """The bytes of a buffer of class ``k``."""
    if k < 8:
        return (k + 1) * 64
    octave = 9 + (k - 8) // 4
    return (1 << octave) + ((k - 8) % 4 + 1) * (1 << (octave - 2))


@jit
def store(H, s):
    """The words of storage ``s``."""
    return words(words(H)[H_STORES] + s * (STORE_WORDS * 8))


@jit
def aligned(raw):
    """The first aligned address in a block of malloc's that leaves room for a word below: ``raw`` itself."""
    data = (raw + 8 + ALIGN - 1) & ~(ALIGN - 1)
    words(data)[-1] = raw
    return data


@jit
def buffer_new(nbytes):
    """A 64-byte aligned buffer, or 0; the address that malloc gave stands just below it."""
    raw = raw_malloc(nbytes + 2 * ALIGN)
    return 0 if raw == 0 else aligned(raw)


@jit_seldom
def table_doubled(H, table, capacity, width):
    """Double the table whose address and capacity, in lines of ``width`` words, stand in these header words.

    False: there is no memory, and all is as it was.
    """
    h = words(H)
    used = h[capacity] * width
    data = h[table]
    first = data - words(data)[-1]
    raw = raw_realloc(words(data)[-1], 2 * used * 8 + 2 * ALIGN)
    if raw == 0:
        return False
    old = words(raw + first)
    made = (raw + 8 + ALIGN - 1) & ~(ALIGN - 1)
    new = words(made)
    # A block that moved may be aligned elsewhere; the two places overlap.
    if made > raw + first:
        for i in range(used):
            new[used - 1 - i] = old[used - 1 - i]
    elif made < raw + first:
        for i in range(used):
            new[i] = old[i]
    h[table] = aligned(raw)
    h[capacity] *= 2
    return True


@jit
def buffer_free(data):
    raw_free(words(data)[-1])


@jit
def empty_pool(H):
    """Give every waiting buffer back to the system."""
    h = words(H)
    for k in range(POOL_CLASSES):
        data = h[H_POOL + k]
        h[H_POOL + k] = 0
        while data != 0:
            after = words(data)[0]
            buffer_free(data)
            data = after
    h[H_POOL_BYTES] = 0


@jit_seldom
def slot_never_used(H):
    """A storage number that was never used, or NONE when memory is out."""
    h = words(H)
    if h[H_STORE_TOP] == h[H_STORE_CAP] and not table_doubled(
        H, H_STORES, H_STORE_CAP, STORE_WORDS
    ):
        return NONE
    s = h[H_STORE_TOP]
    h[H_STORE_TOP] = s + 1
    store(H, s)[S_GEN] = 0
    return s


@jit
def slot_new(H):
    """A free storage number, or NONE when the table can't grow."""
    h = words(H)
    s = h[H_STORE_FREE]
    if s != NONE:
        h[H_STORE_FREE] = store(H, s)[S_NEXT]
    else:
        s = slot_never_used(H)
        if s == NONE:
            return NONE
    slot_begin(H, s)
    return s


@jit
def slot_begin(H, s):
    """Set what every storage has when it begins."""
    h = words(H)
    p = store(H, s)
    p[S_GEN] += 1
    p[S_REFS] = 1
    p[S_VERSION] = 0
    # Creation does not ask whose mode stands in the header; another thread's must not count.
    if h[H_INFERENCE] != 0 and h[H_THREAD] == thread_ident():
        p[S_VERSION] = h[H_INFERENCE]
    p[S_OWNER] = 0
    h[H_STORE_LIVE] += 1


@jit
def slot_free(H, s):
    h = words(H)
    p = store(H, s)
    p[S_GEN] += 1
    p[S_DATA] = 0
    p[S_NEXT] = h[H_STORE_FREE]
    h[H_STORE_FREE] = s
    h[H_STORE_LIVE] -= 1


@jit
def waiting(H, k):
    """The class to take a buffer of class ``k`` from: a larger one, if only there one waits.

    Up to twice as large, and only for buffers whose memory counts: else the pool would come to hold the most
    buffers that were ever in use of each class, which together are many more than were in use at any time.
    """
    h = words(H)
    if k >= BORROWING:
        for larger in range(k, min(k + 5, POOL_CLASSES)):
            if h[H_POOL + larger] != 0:
                return larger
    return k


@jit
def storage_new(H, nbytes):
    """A storage of at least ``nbytes``, contents undefined, one reference; NONE when memory is out."""
    h = words(H)
    if nbytes < 0 or nbytes > (1 << 47):
        return NONE
    k = size_class(nbytes)
    size = class_bytes(k)
    if h[H_DEVICE] != 0:
        return gpu_storage(H, k, size)
    k = waiting(H, k)
    data = h[H_POOL + k]
    if data != 0:
        h[H_POOL + k] = words(data)[0]
        h[H_POOL_BYTES] -= class_bytes(k)
    else:
        data = buffer_new(size)
        if data == 0:
            empty_pool(H)
            data = buffer_new(size)
            if data == 0:
                return NONE
    s = slot_new(H)
    if s == NONE:
        buffer_free(data)
        return NONE
    p = store(H, s)
    p[S_DATA] = data
    p[S_BYTES] = nbytes
    p[S_CLASS] = k
    h[H_LIVE_BYTES] += size
    if h[H_LIVE_BYTES] > h[H_PEAK_BYTES]:
        h[H_PEAK_BYTES] = h[H_LIVE_BYTES]
    return s


@jit
def gpu_storage(H, k, size):
    """A storage of the GPU of size class ``k``; NONE when memory for its number is out.

    A buffer that is given back keeps its storage's number and waits in its class's list of the stream that it
    was made for: what is launched there after that finds it free, because launches keep their order.
    """
    h = words(H)
    k += h[H_STREAM] * POOL_CLASSES
    if size > 1 << OFFSET_BITS:
        return NONE
    s = h[H_GPU_POOL + k] - 1
    if s != NONE:
        h[H_GPU_POOL + k] = store(H, s)[S_NEXT]
        slot_begin(H, s)
    else:
        s = slot_new(H)
        if s == NONE:
            return NONE
        p = store(H, s)
        p[S_DATA] = (1 << GPU_BIT) | (s << OFFSET_BITS)
        p[S_BYTES] = size
        p[S_CLASS] = POOL_CLASSES + k
    h[H_GPU_BYTES] += size
    h[H_GPU_PEAK] = max(h[H_GPU_PEAK], h[H_GPU_BYTES])
    return s


@jit
def gpu_storage_free(H, s):
    """Have the buffer of storage ``s`` of the GPU wait."""
    h = words(H)
    p = store(H, s)
    k = H_GPU_POOL + p[S_CLASS] - POOL_CLASSES
    h[H_GPU_BYTES] -= p[S_BYTES]
    h[H_STORE_LIVE] -= 1
    p[S_GEN] += 1
    p[S_NEXT] = h[k]
    h[k] = s + 1


@jit
def empty_gpu_pool(H):
    """Give up the numbers of all storages of the GPU that wait; Python lets their memory go."""
    h = words(H)
    for k in range(STREAMS * POOL_CLASSES):
        s = h[H_GPU_POOL + k] - 1
        h[H_GPU_POOL + k] = 0
        while s != NONE:
            after = store(H, s)[S_NEXT] - 1
            store(H, s)[S_DATA] = 0
            store(H, s)[S_NEXT] = h[H_STORE_FREE]
            h[H_STORE_FREE] = s
            s = after


@jit
def storage_borrow(H, data, nbytes, owner):
    """A storage over memory that the Python object ``owner`` keeps alive (its reference is stolen)."""
    s = slot_new(H)
    if s == NONE:
        return NONE
    p = store(H, s)
    p[S_DATA] = data
    p[S_BYTES] = nbytes
    p[S_CLASS] = NONE
    p[S_OWNER] = owner
    words(H)[H_BORROWED_BYTES] += nbytes
    return s


@jit
def storage_share(H, s):
    """A storage over the buffer of storage ``s``, with a version of its own; NONE when memory is out."""
    if store(H, s)[S_CLASS] == SHARED:
        s = store(H, s)[S_OWNER]
    t = slot_new(H)
    if t == NONE:
        return NONE
    p = store(H, s)
    q = store(H, t)
    p[S_REFS] += 1
    q[S_DATA] = p[S_DATA]
    q[S_BYTES] = p[S_BYTES]
    q[S_CLASS] = SHARED
    q[S_OWNER] = s
    return t


@jit
def storage_release(H, s):
    """Drop one reference."""
    h = words(H)
    p = store(H, s)
    p[S_REFS] -= 1
    if p[S_REFS] > 0:
        return
    if p[S_CLASS] == SHARED:
        whole = p[S_OWNER]
        slot_free(H, s)
        p = store(H, whole)
        p[S_REFS] -= 1
        if p[S_REFS] > 0:
            return
        s = whole
    if p[S_CLASS] == NONE:
        # Letting go of a Python object can run any Python code, which can come back in here: it waits in
        # a list until the entry is about to return (`rows.flush`) and everything is consistent.
        p[S_NEXT] = h[H_PENDING]
        h[H_PENDING] = s
        return
    if p[S_CLASS] >= POOL_CLASSES:
        gpu_storage_free(H, s)
        return
    data = p[S_DATA]
    size = class_bytes(p[S_CLASS])
    # Not more than was asked for needs: the buffer may be a larger one.
    h[H_LIVE_BYTES] -= class_bytes(size_class(p[S_BYTES]))
    if h[H_DEBUG] != 0:
        # All bits set: NaN in every float dtype, -1 or 255 in the integers.
        for i in range(size // 8):
            words(data)[i] = -1
    if h[H_POOL_BYTES] + size > h[H_POOL_LIMIT]:
        buffer_free(data)
    else:
        k = p[S_CLASS]
        words(data)[0] = h[H_POOL + k]
        h[H_POOL + k] = data
        h[H_POOL_BYTES] += size
    slot_free(H, s)
