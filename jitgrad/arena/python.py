"""Between Python objects and rows: reading a Tensor's row, reading a number, making the result's Tensor.

Jitted, called with the GIL held.  The layout relied on is CPython's object header (type at byte 8), which
`engine` checks when it starts, and the byte offset of Tensor's one slot, which it measures.  The slot is
hidden from Python and holds a capsule whose destructor releases the row, so a row number can neither be
forged nor outlive its owner.  The capsule's "name" is the header's address: it is how the destructor finds
the arena.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    H_BOOL_TYPE,
    H_CONTEXT,
    H_DESTRUCTOR,
    H_DETAIL,
    H_DEVICE,
    H_FAULT,
    H_FAULT_TYPE,
    H_FLOAT_TYPE,
    H_INT_TYPE,
    H_NONE,
    H_PARAMETER_TYPE,
    H_REFUSED,
    H_SLOT,
    H_TENSOR_TYPE,
    H_THREAD,
    H_TRUE,
    NONE,
    OWNER,
    X_DEVICE,
    X_INFERENCE,
    X_MEMORY,
    X_THREAD,
    X_TYPE,
)
from jitgrad.arena.devices import use_device
from jitgrad.arena.rows import (
    C_BITS,
    C_KIND,
    C_ROW,
    C_TEMP,
    KIND_BOOL,
    KIND_FLOAT,
    KIND_INT,
    KIND_TENSOR,
    device_of,
    drop,
    flush,
    keep,
    row_at,
)
from jitgrad.kernels.lowlevel import (
    as_double,
    as_int,
    bits,
    capsule_new,
    capsule_pointer,
    capsule_set_pointer,
    decref,
    error_occurred,
    error_set_object,
    generic_alloc,
    incref,
    is_subtype,
    jit,
    new_int,
    thread_ident,
    tuple_new,
    tuple_set,
    words,
)

#: Arguments of the exception: code, three numbers, the pass that waits to be resumed, the device.
FAULT_WORDS = 6


@jit
def fault(H, code, a, b, c):
    """Stage a fault for Python and return NONE; `failed` turns it into an exception."""
    h = words(H)
    h[H_FAULT] = code
    h[H_DETAIL] = a
    h[H_DETAIL + 1] = b
    h[H_DETAIL + 2] = c
    return NONE


@jit
def failed(H):
    """Raise what `fault` staged, as the exception's arguments: the value to return from an entry.

    They leave the header at once, which the next call, of another thread say, uses again.
    """
    h = words(H)
    told = 0
    if error_occurred() == 0:
        told = tuple_new(FAULT_WORDS)
        if told != 0:
            for i in range(4):
                tuple_set(told, i, new_int(h[H_FAULT + i]))
            tuple_set(told, 4, new_int(h[H_CONTEXT]))
            tuple_set(told, 5, new_int(h[H_DEVICE]))
            h[H_CONTEXT] = 0
    flush(H)
    if told != 0:
        if error_occurred() == 0:
            error_set_object(h[H_FAULT_TYPE], told)
        decref(told)
    return 0


@jit
def ready(H):
    """Whether the header holds this thread's grad mode; if not, a fault is staged."""
    if words(H)[H_THREAD] != thread_ident():
        fault(H, X_THREAD, 0, 0, 0)
        return False
    return True


@jit
def is_tensor(H, obj):
    h = words(H)
    ty = words(obj)[1]
    if ty == h[H_TENSOR_TYPE] or ty == h[H_PARAMETER_TYPE]:
        return True
    return is_subtype(ty, h[H_TENSOR_TYPE]) != 0


@jit
def tensor_row(H, obj):
    """Row number of a Tensor object, or NONE if it is none (or was made without a row)."""
    if not is_tensor(H, obj):
        return NONE
    capsule = words(obj + words(H)[H_SLOT])[0]
    if capsule == 0:
        return NONE
    return capsule_pointer(capsule, H) - 1


@jit
def set_tensor_row(H, obj, r):
    """Point an existing Tensor at another row, whose owner reference it takes over."""
    capsule_set_pointer(words(obj + words(H)[H_SLOT])[0], r + 1)
    row_at(H, r)[OWNER] = obj


@jit
def first_row(H, args):
    """The row of the first argument, or NONE and a fault."""
    r = tensor_row(H, words(args)[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
    return r


@jit
def wrap(H, r):
    """The new Tensor object that owns row ``r``; raises MemoryError."""
    return wrap_as(H, r, words(H)[H_TENSOR_TYPE])


@jit
def wrap_as(H, r, ty):
    """`wrap` for a subclass."""
    h = words(H)
    # The call is over; making an object can run Python (the garbage collector).
    use_device(H, 0)
    capsule = capsule_new(r + 1, H, h[H_DESTRUCTOR])
    if capsule == 0:
        drop(H, r)
        return 0
    obj = generic_alloc(ty, 0)
    if obj == 0:
        decref(capsule)
        return 0
    words(obj + h[H_SLOT])[0] = capsule
    row_at(H, r)[OWNER] = obj
    return obj


@jit
def operand(H, obj, i):
    """Stage operand ``i`` of the call: a Tensor's row or a Python number.  False for anything else."""
    h = words(H)
    ty = words(obj)[1]
    h[C_TEMP + i] = 0
    h[C_ROW + i] = NONE
    if ty == h[H_FLOAT_TYPE]:
        h[C_KIND + i] = KIND_FLOAT
        h[C_BITS + i] = bits(as_double(obj))
        return True
    if ty == h[H_INT_TYPE]:
        value = as_int(obj)
        # More than 64 bits: CPython has set OverflowError, which `failed` lets through.
        if value == -1 and error_occurred() != 0:
            return False
        h[C_KIND + i] = KIND_INT
        h[C_BITS + i] = value
        return True
    if ty == h[H_BOOL_TYPE]:
        h[C_KIND + i] = KIND_BOOL
        h[C_BITS + i] = 1 if obj == h[H_TRUE] else 0
        return True
    r = tensor_row(H, obj)
    if r == NONE:
        return False
    h[C_KIND + i] = KIND_TENSOR
    h[C_ROW + i] = r
    return True


@jit
def here(H, r, i):
    """Whether row ``r``, operand ``i``, is on the device that the call is for; if not, a fault is staged."""
    if device_of(H, r) != words(H)[H_DEVICE]:
        fault(H, X_DEVICE, i, 0, 0)
        return False
    return True


@jit
def all_here(H, n):
    """`here` for all Tensors among ``n`` staged operands."""
    h = words(H)
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR and not here(H, h[C_ROW + i], i):
            return False
    return True


@jit
def no_memory(H):
    """Stage the fault of an allocation that failed."""
    return fault(H, X_MEMORY, 0, 0, 0)


@jit
def owner_of(H, r):
    """A new reference to the one Tensor of row ``r``, made if it has none at present."""
    obj = row_at(H, r)[OWNER]
    # An object that is being deallocated (its weak references are called back) has no references left.
    if obj != 0 and words(obj)[0] > 0:
        incref(obj)
        return obj
    keep(H, r)
    return wrap(H, r)


@jit
def none(H):
    """A new reference to None."""
    flush(H)
    obj = words(H)[H_NONE]
    incref(obj)
    return obj


@jit
def result(H, r):
    """The Tensor of a recorded row, or the exception of the fault that kept it from being recorded."""
    if r == NONE:
        return failed(H)
    if words(H)[H_REFUSED] != 0:
        words(H)[H_REFUSED] = 0
        drop(H, r)
        fault(H, X_INFERENCE, 0, 0, 0)
        return failed(H)
    return wrap(H, r)
