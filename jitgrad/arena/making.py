"""What Python calls to make a Tensor: of a shape, of one number, from lists of numbers, over other memory.

As in `entries`, each function without ``@jit`` becomes a builtin of CPython.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    F_CONTIGUOUS,
    FLAGS,
    H_DEFAULT_DTYPE,
    H_FLOAT_TYPE,
    H_INT_TYPE,
    H_LIST_TYPE,
    H_TUPLE_TYPE,
    MAX_DIMS,
    NDIM,
    NONE,
    NUMEL,
    OFFSET,
    S_REFS,
    SHAPE,
    STORAGE,
    STRIDE,
    X_TYPE,
)
from jitgrad.arena.python import (
    failed,
    fault,
    no_memory,
    none,
    tensor_row,
    wrap,
    wrap_as,
)
from jitgrad.arena.recorder import store_float, store_integer
from jitgrad.arena.rows import (
    C_ATTR,
    C_SHAPE,
    data_of,
    dense_row,
    drop,
    is_contiguous,
    itemsize,
    row_at,
    row_new,
)
from jitgrad.arena.storage import (
    storage_borrow,
    storage_release,
    store,
)
from jitgrad.dtypes import FIRST_FLOAT
from jitgrad.dtypes import float64 as _float64
from jitgrad.dtypes import int64 as _int64
from jitgrad.kernels.lowlevel import (
    as_double,
    as_int,
    at,
    capsule_pointer,
    error_clear,
    error_occurred,
    incref,
    jit,
    list_item,
    list_size,
    tuple_item,
    tuple_size,
    words,
)

FLOAT64 = _float64.code
INT64 = _int64.code

# Words of NumPy's struct of an array.
ARRAY_DATA, ARRAY_NDIM, ARRAY_SHAPE, ARRAY_STRIDES, ARRAY_FLAGS = 2, 3, 4, 5, 8
ARRAY_WRITEABLE = 0x400

# `literal`: the list that holds the present element at each depth, and the element's place in it.
_LISTS = C_ATTR
_PLACES = C_ATTR + MAX_DIMS


def new(self, args, n):
    """``new(dtype, type, *shape)``: an uninitialised Tensor."""
    H = capsule_pointer(self, 0)
    a = words(args)
    shape = words(H + C_SHAPE * 8)
    for d in range(n - 2):
        shape[d] = as_int(a[d + 2])
    r = dense_row(H, as_int(a[0]), n - 2, shape)
    if r == NONE:
        no_memory(H)
        return failed(H)
    return wrap_as(H, r, a[1])


def borrow(self, args, n):
    """``borrow(array, dtype)``: a Tensor over the memory of an array of that dtype, which it keeps alive.

    None for an array that no Tensor can show: with strides that are negative or no multiples of an element,
    at an address that is none either, read-only, or of too many dims.  It is read by the fields of NumPy's
    struct, which `header` has tried.
    """
    H = capsule_pointer(self, 0)
    array = words(args)[0]
    a = words(array)
    dtype = as_int(words(args)[1])
    size = itemsize(dtype)
    data = a[ARRAY_DATA]
    ndim = a[ARRAY_NDIM] & 0xFFFFFFFF
    if ndim > MAX_DIMS or data % size != 0 or a[ARRAY_FLAGS] & ARRAY_WRITEABLE == 0:
        return none(H)
    shape = words(a[ARRAY_SHAPE])
    stride = words(a[ARRAY_STRIDES])
    numel = 1
    last = 0
    for d in range(ndim):
        if stride[d] < 0 or stride[d] % size != 0:
            return none(H)
        numel *= shape[d]
        last += (shape[d] - 1) * stride[d]
    if numel == 0:
        return none(H)
    s = storage_borrow(H, data, last + size, array)
    if s == NONE:
        no_memory(H)
        return failed(H)
    incref(array)
    r = row_new(H)
    if r == NONE:
        storage_release(H, s)
        no_memory(H)
        return failed(H)
    p = row_at(H, r)
    p[DTYPE] = dtype
    p[NDIM] = ndim
    p[STORAGE] = s
    p[NUMEL] = numel
    for d in range(ndim):
        p[SHAPE + d] = shape[d]
        p[STRIDE + d] = stride[d] // size
    if is_contiguous(p):
        p[FLAGS] |= F_CONTIGUOUS
    return wrap(H, r)


def restride(self, args, n):
    """``restride(x, dtype, offset, *shape, *strides)``: a Tensor without history over the storage of ``x``.

    The offset counts elements of ``dtype`` from the first of ``x``.  The caller has checked that it stays
    within the elements of ``x``.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    ndim = (n - 3) // 2
    base = tensor_row(H, a[0])
    if base == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    r = row_new(H)
    if r == NONE:
        no_memory(H)
        return failed(H)
    q = row_at(H, base)
    p = row_at(H, r)
    p[DTYPE] = as_int(a[1])
    p[NDIM] = ndim
    p[OFFSET] = q[OFFSET] * itemsize(q[DTYPE]) // itemsize(p[DTYPE]) + as_int(a[2])
    numel = 1
    for d in range(ndim):
        p[SHAPE + d] = as_int(a[3 + d])
        p[STRIDE + d] = as_int(a[3 + ndim + d])
        numel *= p[SHAPE + d]
    p[NUMEL] = numel
    p[STORAGE] = q[STORAGE]
    store(H, q[STORAGE])[S_REFS] += 1
    if is_contiguous(p):
        p[FLAGS] |= F_CONTIGUOUS
    return wrap(H, r)


def filled(self, args, n):
    """``filled(dtype, type, value, *shape)``: a Tensor of one number, which fits the dtype's kind."""
    H = capsule_pointer(self, 0)
    a = words(args)
    dtype = as_int(a[0])
    shape = words(H + C_SHAPE * 8)
    for d in range(n - 3):
        shape[d] = as_int(a[d + 3])
    r = dense_row(H, dtype, n - 3, shape)
    if r == NONE:
        no_memory(H)
        return failed(H)
    size = itemsize(dtype)
    data = words(data_of(H, r))
    if dtype >= FIRST_FLOAT:
        store_float(data_of(H, r), dtype, as_double(a[2]))
    else:
        store_integer(data_of(H, r), dtype, as_int(a[2]))
    if error_occurred() != 0:
        drop(H, r)
        return 0
    # Whole words, in which the number is repeated: a buffer is a multiple of 64 bytes.
    word = data[0]
    if size < 8:
        word &= (1 << (8 * size)) - 1
        while size < 8:
            word |= word << (8 * size)
            size *= 2
    for i in range((row_at(H, r)[NUMEL] * itemsize(dtype) + 7) // 8):
        data[i] = word
    return wrap_as(H, r, a[1])


# ---------------------------------------------------------------- from lists
@jit
def is_list(H, obj):
    """Whether an object is a list or a tuple, and of no subclass."""
    h = words(H)
    ty = words(obj)[1]
    return ty == h[H_LIST_TYPE] or ty == h[H_TUPLE_TYPE]


@jit
def list_length(H, obj):
    return list_size(obj) if words(obj)[1] == words(H)[H_LIST_TYPE] else tuple_size(obj)


@jit
def member(H, obj, i):
    """Item ``i`` of a list or tuple, without a reference."""
    return list_item(obj, i) if words(obj)[1] == words(H)[H_LIST_TYPE] else tuple_item(obj, i)


@jit
def descend(H, depth, ndim):
    """Stage the lists that hold the present element, from ``depth`` on; False if one does not fit."""
    h = words(H)
    for d in range(depth, ndim):
        if d > 0:
            obj = member(H, h[_LISTS + d - 1], h[_PLACES + d - 1])
            if not is_list(H, obj) or list_length(H, obj) != h[C_SHAPE + d]:
                return False
            h[_LISTS + d] = obj
        h[_PLACES + d] = 0
    return True


@jit
def advance(H, ndim):
    """Go on to the next element; the depth from which lists are to be staged anew, or NONE at the end."""
    h = words(H)
    for k in range(ndim):
        d = ndim - 1 - k
        h[_PLACES + d] += 1
        if h[_PLACES + d] < h[C_SHAPE + d]:
            return d + 1
    return NONE


@jit
def literal_dtype(H, leaf, wanted):
    """The dtype that `literal` makes of numbers like ``leaf``, asked for ``wanted``; NONE: it does not."""
    h = words(H)
    ty = words(leaf)[1]
    own = NONE
    if ty == h[H_FLOAT_TYPE]:
        own = h[H_DEFAULT_DTYPE]
    elif ty == h[H_INT_TYPE]:
        own = INT64
    dtype = own if wanted == NONE else wanted
    if own == NONE or dtype < INT64 or dtype > FLOAT64 or (dtype == INT64 and own != INT64):
        return NONE
    return dtype


def literal(self, args, n):
    """``literal(data, dtype, type)``: a Tensor of nested lists or tuples of floats, or of ints; or a number.

    ``dtype`` -1 means that of the numbers.  None for all else: what is empty, ragged, of mixed or of other
    kinds, or is to become another dtype than int64, float32 and float64, is left to Python.  Nothing here
    runs code of the user's, who could change the lists meanwhile: every object's type is checked.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    h = words(H)
    leaf = a[0]
    ndim = 0
    while is_list(H, leaf):
        if ndim == MAX_DIMS or list_length(H, leaf) == 0:
            return none(H)
        h[C_SHAPE + ndim] = list_length(H, leaf)
        leaf = member(H, leaf, 0)
        ndim += 1
    dtype = literal_dtype(H, leaf, as_int(a[1]))
    if dtype == NONE:
        return none(H)
    ty = words(leaf)[1]
    r = dense_row(H, dtype, ndim, at(h, C_SHAPE))
    if r == NONE:
        no_memory(H)
        return failed(H)
    h[_LISTS] = a[0]
    to = data_of(H, r)
    size = itemsize(dtype)
    depth = 0
    while depth != NONE:
        good = descend(H, depth, ndim)
        if good:
            obj = leaf if ndim == 0 else member(H, h[_LISTS + ndim - 1], h[_PLACES + ndim - 1])
            # An int among floats is one.
            good = words(obj)[1] == ty or (ty == h[H_FLOAT_TYPE] and words(obj)[1] == h[H_INT_TYPE])
            if good and dtype == INT64:
                store_integer(to, dtype, as_int(obj))
            elif good:
                store_float(to, dtype, as_double(obj))
            good = good and error_occurred() == 0
        if not good:
            error_clear()
            drop(H, r)
            return none(H)
        to += size
        depth = advance(H, ndim)
    return wrap_as(H, r, a[2])
