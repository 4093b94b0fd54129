"""Random programs: every result against NumPy in float64, every gradient against finite differences.

A program is a list of steps on a growing pool of tensors: ops, views, in-place changes, deletions in any
order.  The same steps run on NumPy arrays, whose views share memory as ours do, so a wrong alias shows.
``JITGRAD_FUZZ`` sets the number of programs; the debug tests run some of them with every invariant checked.
"""

import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import jitgrad

PROGRAMS = int(os.environ.get("JITGRAD_FUZZ", "150"))
SHAPES = [(), (1,), (3,), (0,), (2, 3), (3, 1), (1, 3), (2, 0), (2, 1, 3), (4, 3, 2)]


def _softmax(x, d):
    if x.size == 0:
        return x.copy()
    e = np.exp(x - x.max(d, keepdims=True))
    return e / e.sum(d, keepdims=True)


#: name -> (on Tensors, on arrays); each gets the operand and a small integer.
UNARY = {
    "neg": (lambda x, k: -x, lambda x, k: -x),
    "tanh": (lambda x, k: x.tanh(), lambda x, k: np.tanh(x)),
    "sin": (lambda x, k: x.sin(), lambda x, k: np.sin(x)),
    "sigmoid": (lambda x, k: x.sigmoid(), lambda x, k: 1 / (1 + np.exp(-x))),
    "exp": (lambda x, k: (x * 0.1).exp(), lambda x, k: np.exp(x * 0.1)),
    "square": (lambda x, k: x**2, lambda x, k: x**2),
    "scale": (lambda x, k: 0.5 * x + k, lambda x, k: 0.5 * x + k),
    "rsub": (lambda x, k: k - x, lambda x, k: k - x),
    "clone": (lambda x, k: x.clone(), lambda x, k: x.copy()),
    "cast": (lambda x, k: x.float().double() * 0 + x, lambda x, k: x + 0.0),
    "sum": (lambda x, k: x.sum(), lambda x, k: np.asarray(x.sum())),
}
#: the same with a dim, for operands that have one
ALONG = {
    "sum_dim": (lambda x, d: x.sum(d), lambda x, d: x.sum(d)),
    "mean_keep": (
        lambda x, d: x.mean(d, keepdim=True) if x.shape[d] else x.sum(d, keepdim=True),
        lambda x, d: x.mean(d, keepdims=True) if x.shape[d] else x.sum(d, keepdims=True),
    ),
    "softmax": (lambda x, d: x.softmax(d), _softmax),
    "cumsum": (lambda x, d: x.cumsum(d), lambda x, d: x.cumsum(d)),
    "logsumexp": (
        lambda x, d: x.logsumexp(d) if x.shape[d] else x.sum(d),
        lambda x, d: (
            (
                np.log(np.exp(x - x.max(d, keepdims=True)).sum(d)) + x.max(d)
                if x.shape[d]
                else x.sum(d)
            )
            if x.size
            else x.sum(d)
        ),
    ),
    "flip": (lambda x, d: x.flip(d), lambda x, d: np.flip(x, d).copy()),
    "cat": (lambda x, d: jitgrad.cat([x, x * 2], d), lambda x, d: np.concatenate([x, x * 2], d)),
}
VIEWS = {
    "transpose": (lambda x, d: x.transpose(0, d), lambda x, d: np.swapaxes(x, 0, d)),
    "unsqueeze": (lambda x, d: x.unsqueeze(d), lambda x, d: np.expand_dims(x, d)),
    "slice": (lambda x, d: x.narrow(d, 0, (x.shape[d] + 1) // 2), lambda x, d: _half(x, d)),
    "step": (
        lambda x, d: x[(slice(None),) * d + (slice(None, None, 2),)],
        lambda x, d: _step(x, d),
    ),
    "select": (
        lambda x, d: x.select(d, -1) if x.shape[d] else x,
        lambda x, d: x[(slice(None),) * d + (-1,)] if x.shape[d] else x,
    ),
    "flatten": (lambda x, d: x.reshape(-1), lambda x, d: x.reshape(-1)),
    "expand": (
        lambda x, d: x.unsqueeze(0).expand(2, *x.shape),
        lambda x, d: np.broadcast_to(x[None], (2, *x.shape)),
    ),
}


def _half(x, d):
    return x[(slice(None),) * d + (slice(0, (x.shape[d] + 1) // 2),)]


def _step(x, d):
    return x[(slice(None),) * d + (slice(None, None, 2),)]


BINARY = {
    "add": (lambda x, z: x + z, lambda x, z: x + z),
    "sub": (lambda x, z: x - z, lambda x, z: x - z),
    "mul": (lambda x, z: x * z, lambda x, z: x * z),
    "div": (lambda x, z: x / (z * z + 1), lambda x, z: x / (z * z + 1)),
    "where": (
        lambda x, z: jitgrad.where(jitgrad.tensor(True), x, z),
        lambda x, z: np.where(np.asarray(True), x, z),
    ),
}

steps = st.lists(
    st.tuples(
        st.sampled_from(["unary", "along", "view", "binary", "matmul", "inplace", "drop"]),
        st.integers(0, 1 << 16),
        st.integers(0, 1 << 16),
        st.integers(0, 1 << 16),
    ),
    min_size=1,
    max_size=14,
)


def _pick(table, number):
    names = sorted(table)
    return table[names[number % len(names)]]


def _broadcastable(a, b):
    try:
        return len(np.broadcast_shapes(a, b)) <= 4
    except ValueError:
        return False


def execute(program, leaves, ours):
    """Run the steps on Tensors (``ours``) or arrays; the final pool."""
    side = 0 if ours else 1
    pool = list(leaves)
    fresh = [False] * len(pool)  # may be changed in place: no leaf, no view, has no views
    for kind, a, b, c in program:
        i = a % len(pool)
        x = pool[i]
        if x.ndim > 4:
            continue
        made, is_fresh = None, False
        if kind == "unary":
            made, is_fresh = _pick(UNARY, b)[side](x, c % 3), True
        elif kind == "along" and x.ndim:
            made, is_fresh = _pick(ALONG, b)[side](x, c % x.ndim), True
        elif kind == "view" and x.ndim:
            made = _pick(VIEWS, b)[side](x, c % x.ndim)
            fresh[i] = False
        elif kind == "binary":
            z = pool[b % len(pool)]
            if _broadcastable(tuple(x.shape), tuple(z.shape)):
                made, is_fresh = _pick(BINARY, c)[side](x, z), True
        elif kind == "matmul" and x.ndim in (1, 2):
            z = pool[b % len(pool)]
            if z.ndim in (1, 2) and x.shape[-1] == z.shape[0]:
                made, is_fresh = x @ z, True
        elif kind == "inplace" and fresh[i]:
            z = pool[b % len(pool)]
            if z is not x and tuple(z.shape) in (tuple(x.shape), ()):
                x += z
        elif kind == "drop" and len(pool) > len(leaves):
            k = len(leaves) + b % (len(pool) - len(leaves))
            del pool[k], fresh[k]
        if made is not None:
            # NumPy gives numbers for 0-dim results, which cannot be changed in place.
            pool.append(made if ours else np.asarray(made))
            fresh.append(is_fresh)
    return pool


def loss(pool):
    """One number from the whole pool, with another weight for every tensor."""
    total = 0.0
    for k, x in enumerate(pool):
        total = total + (x * (0.3 + 0.1 * k)).sum()
    return total


@settings(max_examples=PROGRAMS, deadline=None)
@given(steps, st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3), st.integers(0, 1 << 16))
def test_random_programs(program, shapes, seed):
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(rng.uniform(-1, 1, shape)) for shape in shapes]
    tensors = [jitgrad.tensor(a, requires_grad=True) for a in arrays]
    try:
        ours = execute(program, tensors, True)
    except RuntimeError as error:
        # A value that a later step needs was changed in place: that is what has to be said.
        if "in-place" not in str(error) and "inplace" not in str(error):
            raise
        return
    theirs = execute(program, [a.copy() for a in arrays], False)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert tuple(mine.shape) == other.shape
        np.testing.assert_allclose(mine.detach().numpy(), other, rtol=1e-9, atol=1e-9)
    try:
        loss(ours).backward()
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        return
    direction = [np.asarray(rng.uniform(-1, 1, a.shape)) for a in arrays]
    step = 1e-6
    ahead, behind = (
        loss(
            execute(
                program, [a + s * step * d for a, d in zip(arrays, direction, strict=True)], False
            )
        )
        for s in (1, -1)
    )
    numeric = (ahead - behind) / (2 * step)
    exact = sum(float((t.grad.numpy() * d).sum()) for t, d in zip(tensors, direction, strict=True))
    scale = max(1.0, abs(exact))
    if np.isfinite(numeric) and abs(exact) < 1e6:
        assert abs(exact - numeric) < 2e-4 * scale, (exact, numeric)
