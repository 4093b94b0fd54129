"""Views: rows that share their input's storage.  Jitted.

`view_begin` makes the row with the input's geometry; each op changes shape, strides and offset, and does
the same to the strides that the input's *contiguous gradient* would have (VIEW_STRIDE, VIEW_OFFSET), so
that one backward kernel (`backward.view_row`) serves every view.  Integer arguments have been checked by
the entries, here or in Python.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    F_CONTIGUOUS,
    F_REQUIRES_GRAD,
    F_VIEW,
    F_VIEW_MADE,
    F_VIEW_MEMORY,
    F_VIEW_NO_GRAD,
    FLAGS,
    H_GRAD_MODE,
    H_OPS,
    INPUT,
    MADE,
    MAX_DIMS,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    O_BITS,
    O_WORDS,
    OFFSET,
    OP,
    REFS,
    S_BYTES,
    S_REFS,
    S_VERSION,
    SHAPE,
    STORAGE,
    STRIDE,
    VIEW_ALIAS,
    VIEW_ARGS,
    VIEW_ARGS_MAX,
    VIEW_EXPAND,
    VIEW_KIND,
    VIEW_MEMORY,
    VIEW_OVERLAP,
    VIEW_REGION,
    X_BOUNDS,
    X_DIM,
    X_DIMS,
    X_INDEX,
    X_SHAPE,
)
from jitgrad.arena.families import join_family
from jitgrad.arena.python import fault, no_memory
from jitgrad.arena.regions import GRAD_OFFSET, GRAD_STRIDE, lay, may_overlap
from jitgrad.arena.rows import drop, is_contiguous, itemsize, row_at, row_new
from jitgrad.arena.storage import store
from jitgrad.dtypes import FIRST_FLOAT
from jitgrad.kernels.lowlevel import at, jit, words
from jitgrad.ops import views as ops

OP_VIEW = ops.VIEW.number
OP_TRANSPOSE = ops.TRANSPOSE.number
OP_T = ops.T.number
OP_PERMUTE = ops.PERMUTE.number
OP_SELECT = ops.SELECT.number
OP_SLICE = ops.SLICE.number
OP_UNSQUEEZE = ops.UNSQUEEZE.number
OP_SQUEEZE = ops.SQUEEZE.number
OP_EXPAND = ops.EXPAND.number
OP_DETACH = ops.DETACH.number
OP_ALIAS = ops.ALIAS.number
OP_DIAGONAL = ops.DIAGONAL.number
OP_UNBIND = ops.UNBIND.number
OP_UNSAFE_VIEW = ops.UNSAFE_VIEW.number
OP_UNFOLD = ops.UNFOLD.number
OP_AS_STRIDED = ops.AS_STRIDED.number


@jit
def view_begin(H, r, op):
    """A row that shows all of row ``r``; NONE when memory is out."""
    v = row_new(H)
    if v == NONE:
        return no_memory(H)
    p = row_at(H, r)
    q = row_at(H, v)
    q[DTYPE] = p[DTYPE]
    q[NUMEL] = p[NUMEL]
    q[NDIM] = p[NDIM]
    stride = 1
    for k in range(p[NDIM]):
        d = p[NDIM] - 1 - k
        q[SHAPE + d] = p[SHAPE + d]
        q[STRIDE + d] = p[STRIDE + d]
        q[GRAD_STRIDE + d] = stride
        stride *= max(p[SHAPE + d], 1)
    q[OFFSET] = p[OFFSET]
    q[GRAD_OFFSET] = 0
    q[ATTR + VIEW_KIND] = VIEW_REGION
    q[STORAGE] = p[STORAGE]
    store(H, p[STORAGE])[S_REFS] += 1
    if op == OP_DETACH:
        return v
    if op != OP_UNSAFE_VIEW and not begin_sharing(H, r, v):
        drop(H, v)
        return no_memory(H)
    if words(H)[H_GRAD_MODE] != 0 and p[FLAGS] & F_REQUIRES_GRAD and p[DTYPE] >= FIRST_FLOAT:
        q[OP] = op
        q[NIN] = 1
        q[INPUT] = r
        q[FLAGS] |= F_REQUIRES_GRAD
        p[REFS] += 1
    return v


@jit
def begin_sharing(H, r, v):
    """Make row ``v`` a view of row ``r``, as far as changes in place go; False when memory is out."""
    p = row_at(H, r)
    q = row_at(H, v)
    q[FLAGS] = F_VIEW | (p[FLAGS] & (F_VIEW_MADE | F_VIEW_MEMORY))
    q[MADE] = store(H, p[STORAGE])[S_VERSION]
    if words(H)[H_GRAD_MODE] == 0:
        q[FLAGS] = F_VIEW | F_VIEW_NO_GRAD
    return join_family(H, v, r)


@jit
def view_end(q):
    """Set what follows from the final geometry."""
    numel = 1
    for d in range(q[NDIM]):
        numel *= q[SHAPE + d]
    q[NUMEL] = numel
    if is_contiguous(q):
        q[FLAGS] |= F_CONTIGUOUS


@jit
def wrapped(H, d, ndim):
    """Dim ``d`` counted from the front, or NONE (and a fault) if it is out of range."""
    n = max(ndim, 1)
    if d < -n or d >= n:
        return fault(H, X_DIM, d, n, 0)
    return d + n if d < 0 else d


@jit
def move_dim(q, to, source):
    """Overwrite dim ``to`` with dim ``source``."""
    q[SHAPE + to] = q[SHAPE + source]
    q[STRIDE + to] = q[STRIDE + source]
    q[GRAD_STRIDE + to] = q[GRAD_STRIDE + source]


@jit
def set_dim(q, d, size, stride, grad_stride):
    """Set dim ``d``."""
    q[SHAPE + d] = size
    q[STRIDE + d] = stride
    q[GRAD_STRIDE + d] = grad_stride


@jit
def swap(q, a, b):
    """Exchange two dims."""
    size, stride, grad_stride = q[SHAPE + a], q[STRIDE + a], q[GRAD_STRIDE + a]
    move_dim(q, a, b)
    set_dim(q, b, size, stride, grad_stride)


@jit
def insert_dim(q, d, size, stride, grad_stride):
    """Put a dim before dim ``d``."""
    for k in range(q[NDIM] - d):
        move_dim(q, q[NDIM] - k, q[NDIM] - k - 1)
    set_dim(q, d, size, stride, grad_stride)
    q[NDIM] += 1


@jit
def remove_dim(q, d):
    """Take dim ``d`` away."""
    for e in range(d, q[NDIM] - 1):
        move_dim(q, e, e + 1)
    q[NDIM] -= 1


@jit
def reshape_strides(p, q, ndim, shape):
    """Give ``q`` a new shape over the elements of ``p`` without a copy; False if strides forbid it.

    Runs of input dims that are laid out as one are matched with runs of output dims of the same size.
    """
    if p[NUMEL] == 0:
        stride = 1
        for k in range(ndim):
            d = ndim - 1 - k
            q[SHAPE + d] = shape[d]
            q[STRIDE + d] = stride
            stride *= max(shape[d], 1)
        q[NDIM] = ndim
        return True
    out = ndim - 1
    run = 1  # elements of the input run so far
    base = 1
    if p[NDIM] > 0:
        base = p[STRIDE + p[NDIM] - 1]
    filled = 1  # elements of the output dims set within this run
    for k in range(p[NDIM]):
        d = p[NDIM] - 1 - k
        run *= p[SHAPE + d]
        ends = d == 0
        if not ends and p[SHAPE + d - 1] != 1 and p[STRIDE + d - 1] != run * base:
            ends = True
        if ends:
            while out >= 0 and (filled < run or shape[out] == 1):
                q[SHAPE + out] = shape[out]
                q[STRIDE + out] = filled * base
                filled *= shape[out]
                out -= 1
            if filled != run:
                return False
            if d > 0:
                base = p[STRIDE + d - 1]
                run = 1
                filled = 1
    while out >= 0:
        q[SHAPE + out] = 1
        q[STRIDE + out] = 1
        out -= 1
    q[NDIM] = ndim
    return True


@jit
def make_view(H, op, r, args, n):
    """The view ``op`` of row ``r`` with ``n`` integer arguments at ``args``; NONE after a fault."""
    p = row_at(H, r)
    ndim = p[NDIM]
    name = op
    like = words(words(H)[H_OPS])[op * O_WORDS + O_BITS]
    if like != 0:
        op = like
    if op == OP_VIEW:
        return make_reshape(H, name, r, args, n)
    v = view_begin(H, r, name)
    if v == NONE:
        return NONE
    p = row_at(H, r)
    q = row_at(H, v)
    for k in range(min(n, VIEW_ARGS_MAX)):
        q[ATTR + VIEW_ARGS + k] = args[k]
    ok = True
    if op == OP_TRANSPOSE:
        a = wrapped(H, args[0], ndim)
        b = wrapped(H, args[1], ndim)
        ok = a != NONE and b != NONE
        if ok and ndim > 0:
            swap(q, a, b)
    elif op == OP_T:
        if ndim == 2:
            swap(q, 0, 1)
    elif op == OP_PERMUTE:
        seen = 0
        ok = n == ndim
        if not ok:
            fault(H, X_SHAPE, n, ndim, 0)
        for d in range(n):
            if ok:
                e = wrapped(H, args[d], ndim)
                if e == NONE:
                    ok = False
                elif seen & (1 << e):
                    fault(H, X_SHAPE, n, ndim, 0)
                    ok = False
                else:
                    seen |= 1 << e
                    grad_stride = 1
                    for f in range(e + 1, ndim):
                        grad_stride *= max(p[SHAPE + f], 1)
                    q[SHAPE + d] = p[SHAPE + e]
                    q[STRIDE + d] = p[STRIDE + e]
                    q[GRAD_STRIDE + d] = grad_stride
    elif op == OP_SELECT:
        if ndim == 0:
            fault(H, X_INDEX, args[0], args[1], NONE)
            ok = False
        else:
            d = wrapped(H, args[0], ndim)
            ok = d != NONE
            if ok:
                size = p[SHAPE + d]
                i = args[1]
                if i < -size or i >= size:
                    fault(H, X_INDEX, d, i, size)
                    ok = False
                else:
                    i = i + size if i < 0 else i
                    q[OFFSET] += i * q[STRIDE + d]
                    q[GRAD_OFFSET] += i * q[GRAD_STRIDE + d]
                    remove_dim(q, d)
    elif op == OP_SLICE:
        d = wrapped(H, args[0], ndim)
        ok = d != NONE
        if ok and ndim == 0:
            fault(H, X_DIM, args[0], 1, 0)
            ok = False
        if ok:
            size = p[SHAPE + d]
            start = args[1]
            stop = args[2]
            step = args[3]
            start = max(start + size, 0) if start < 0 else min(start, size)
            stop = max(stop + size, 0) if stop < 0 else min(stop, size)
            count = max((stop - start + step - 1) // step, 0)
            q[OFFSET] += start * q[STRIDE + d]
            q[GRAD_OFFSET] += start * q[GRAD_STRIDE + d]
            q[SHAPE + d] = count
            q[STRIDE + d] *= step
            q[GRAD_STRIDE + d] *= step
    elif op == OP_UNSQUEEZE:
        d = args[0]
        if d < -ndim - 1 or d > ndim:
            fault(H, X_DIM, d, ndim + 1, 0)
            ok = False
        elif ndim == MAX_DIMS:
            fault(H, X_DIMS, ndim + 1, 0, 0)
            ok = False
        else:
            d = d + ndim + 1 if d < 0 else d
            # The stride that PyTorch gives a dim of size 1: as if it were the outermost of what follows.
            stride = 1
            if d < ndim:
                stride = p[STRIDE + d] * p[SHAPE + d]
            insert_dim(q, d, 1, stride, stride)
            q[ATTR + VIEW_KIND] = VIEW_ALIAS
    elif op == OP_SQUEEZE:
        mask = 0
        for k in range(n):
            if ok:
                d = wrapped(H, args[k], ndim)
                if d == NONE:
                    ok = False
                else:
                    mask |= 1 << d
        if n == 0:
            mask = -1
        if ok:
            for k in range(ndim):
                d = ndim - 1 - k
                if mask & (1 << d) and q[SHAPE + d] == 1:
                    remove_dim(q, d)
            q[ATTR + VIEW_KIND] = VIEW_ALIAS
    elif op == OP_EXPAND:
        ok = expand_to(H, p, q, args, n)
        q[ATTR + VIEW_KIND] = VIEW_EXPAND
    elif op == OP_DIAGONAL:
        diagonal_of(q, args[0], args[1], args[2])
    elif op == OP_UNFOLD:
        ok = unfold(H, q, args[0], args[1], args[2])
    elif op == OP_AS_STRIDED:
        ok = restrided(H, r, v, args, n)
    else:
        q[ATTR + VIEW_KIND] = VIEW_ALIAS
    if not ok:
        drop(H, v)
        return NONE
    view_end(q)
    return v


@jit
def diagonal_of(q, offset, a, b):
    """The diagonal of dims ``a`` and ``b`` (in range, different), appended as the last dim."""
    rows = q[SHAPE + a]
    columns = q[SHAPE + b]
    if offset >= 0:
        count = max(min(rows, columns - offset), 0)
        if count > 0:
            q[OFFSET] += offset * q[STRIDE + b]
            q[GRAD_OFFSET] += offset * q[GRAD_STRIDE + b]
    else:
        count = max(min(rows + offset, columns), 0)
        if count > 0:
            q[OFFSET] -= offset * q[STRIDE + a]
            q[GRAD_OFFSET] -= offset * q[GRAD_STRIDE + a]
    stride = q[STRIDE + a] + q[STRIDE + b]
    grad_stride = q[GRAD_STRIDE + a] + q[GRAD_STRIDE + b]
    remove_dim(q, max(a, b))
    remove_dim(q, min(a, b))
    insert_dim(q, q[NDIM], count, stride, grad_stride)


@jit
def unfold(H, q, d, size, step):
    """Windows along dim ``d``, whose elements are appended as the last dim; False after a fault."""
    if q[NDIM] == MAX_DIMS:
        fault(H, X_DIMS, MAX_DIMS + 1, 0, 0)
        return False
    if q[NDIM] == 0:
        insert_dim(q, 0, size, 1, 1)
        return True
    stride = q[STRIDE + d]
    grad_stride = q[GRAD_STRIDE + d]
    count = (q[SHAPE + d] - size) // step + 1
    set_dim(q, d, count, stride * step, grad_stride * step)
    insert_dim(q, q[NDIM], size, stride, grad_stride)
    if may_overlap(q[NDIM], at(q, SHAPE), at(q, GRAD_STRIDE)):
        q[ATTR + VIEW_KIND] = VIEW_OVERLAP
    return True


@jit
def restrided(H, r, v, args, n):
    """Give view ``v`` of row ``r`` an offset, sizes and strides in the storage; False after a fault."""
    q = row_at(H, v)
    ndim = (n - 1) // 2
    if ndim > MAX_DIMS:
        fault(H, X_DIMS, ndim, 0, 0)
        return False
    q[OFFSET] = args[0]
    q[NDIM] = ndim
    # In floating point no product overflows.
    last = args[0] * 1.0
    for d in range(ndim):
        q[SHAPE + d] = args[1 + d]
        q[STRIDE + d] = args[1 + ndim + d]
        last += (args[1 + d] - 1.0) * args[1 + ndim + d]
    room = store(H, q[STORAGE])[S_BYTES]
    numel = 1.0
    for d in range(ndim):
        numel *= args[1 + d]
    if numel > 0 and (last + 1) * itemsize(q[DTYPE]) > room or numel > 1 << 46:
        fault(H, X_BOUNDS, room, itemsize(q[DTYPE]), 0)
        return False
    view_end(q)
    lay(H, r, v, q)
    if q[ATTR + VIEW_KIND] == VIEW_MEMORY:
        q[FLAGS] |= F_VIEW_MEMORY
    return True


@jit
def expand_to(H, p, q, sizes, n):
    """Broadcast ``q`` to ``n`` sizes, -1 keeping a dim's; False after a fault."""
    ndim = p[NDIM]
    if n < ndim:
        fault(H, X_SHAPE, n, ndim, 0)
        return False
    if n > MAX_DIMS:
        fault(H, X_DIMS, n, 0, 0)
        return False
    lead = n - ndim
    for k in range(n):
        d = n - 1 - k
        size = sizes[d]
        have = 1
        stride = 0
        if d >= lead:
            have = p[SHAPE + d - lead]
            stride = p[STRIDE + d - lead]
        if size == -1 and d >= lead:
            size = have
        if size < 0 or (size != have and have != 1):
            fault(H, X_SHAPE, d, size, have)
            return False
        q[SHAPE + d] = size
        q[STRIDE + d] = stride if size == have and d >= lead else 0
    q[NDIM] = n
    return True


@jit
def complete(numel, sizes, n):
    """Work out a size that is -1; False if ``n`` sizes do not hold so many elements."""
    unknown = NONE
    known = 1
    empty = False
    for d in range(n):
        size = sizes[d]
        if size == -1:
            if unknown != NONE or numel == 0:
                return False
            unknown = d
        elif size < 0:
            return False
        elif size == 0:
            empty = True
        elif numel != 0:
            # So that the product does not overflow.
            if known > numel // size:
                return False
            known *= size
    if empty or numel == 0:
        return empty and numel == 0
    if unknown != NONE:
        sizes[unknown] = numel // known
        known *= sizes[unknown]
    return known == numel


@jit
def make_reshape(H, op, r, sizes, n):
    """A view in ``n`` sizes, or NONE: a fault with detail 1 means that strides forbid a view."""
    if n > MAX_DIMS:
        return fault(H, X_DIMS, n, 0, 0)
    if not complete(row_at(H, r)[NUMEL], sizes, n):
        return fault(H, X_SHAPE, 0, 0, 0)
    v = view_begin(H, r, op)
    if v == NONE:
        return NONE
    q = row_at(H, v)
    if not reshape_strides(row_at(H, r), q, n, sizes):
        drop(H, v)
        return fault(H, X_SHAPE, 1, 0, 0)
    q[ATTR + VIEW_KIND] = VIEW_ALIAS
    view_end(q)
    return v
