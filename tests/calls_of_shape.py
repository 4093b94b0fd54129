"""More calls: products, arrangements, parts replaced, running results (see `tests.calls`)."""

from __future__ import annotations

import warnings
from typing import Any

from tests.calls import add, b, f, i, pos


def _index_reduce(x: Any, index: Any, source: Any, how: str, include_self: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's is "in beta"
        return x.index_reduce(1, index, source, how, include_self=include_self)


# ---------------------------------------------------------------- products
for _equation, *_shapes in (
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iji->j", (3, 2, 3)),
    ("i,j", (3,), (2,)),
    ("ij,ij->i", (2, 3), (2, 3)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
    ("...ij,...jk", (5, 2, 3), (1, 3, 2)),
    ("...i,...i->...", (2, 3), (3,)),
    ("i...->...", (2, 3, 4)),
    ("bn,anm,bm->ba", (2, 3), (4, 3, 5), (2, 5)),
    ("ij,kl->", (2, 2), (3, 2)),
    ("ba,c->cab", (2, 3), (2,)),
    ("ij,jk->ik", (2, 1), (3, 4)),
    (" i j , j -> i ", (2, 3), (3,)),
    ("ab,bc,cd,de->ae", (2, 3), (3, 2), (2, 4), (4, 2)),
):
    add(
        f"einsum {_equation} {_shapes}",
        lambda t, *x, e=_equation: t.einsum(e, *x),
        *(f(*s) for s in _shapes),
    )
add("einsum of lists", lambda t, x, z: t.einsum(x, [0, 1], z, [1, 2], [2, 0]), f(2, 3), f(3, 4))
add("einsum of dots", lambda t, x: t.einsum(x, [..., 0], [0, ...]), f(2, 3, 4))
add("tensordot", lambda t, x, z: t.tensordot(x, z, 2), f(2, 3, 4), f(3, 4, 2))
add("tensordot dims", lambda t, x, z: t.tensordot(x, z, ([2, 0], [0, 1])), f(2, 3, 4), f(4, 2, 5))
add("tensordot 0", lambda t, x, z: t.tensordot(x, z, 0), f(2), f(3))
add("kron", lambda t, x, z: t.kron(x, z), f(2, 3), f(3, 2))
add("kron of other dims", lambda t, x, z: t.kron(x, z), f(2), f(2, 3))
add("cross", lambda t, x, z: t.cross(x, z, dim=1), f(2, 3, 4), f(2, 3, 4))
add("inner", lambda t, x, z: t.inner(x, z), f(2, 3), f(4, 3))
add("inner number", lambda t, x, z: t.inner(x, z), f(2, 3), f())
add("ger", lambda t, x, z: t.ger(x, z), f(2), f(3))
add("vdot", lambda t, x, z: t.vdot(x, z), f(3), f(3))
add("addmv", lambda t, c, x, z: t.addmv(c, x, z, beta=0.5, alpha=2), f(2), f(2, 3), f(3))
add("addr", lambda t, c, x, z: t.addr(c, x, z, alpha=2), f(3), f(2), f(3))
add("baddbmm", lambda t, c, x, z: t.baddbmm(c, x, z, beta=2), f(3, 2), f(4, 3, 2), f(4, 2, 2))
add("addbmm", lambda t, c, x, z: t.addbmm(c, x, z), f(3, 2), f(4, 3, 2), f(4, 2, 2))
add("dist", lambda t, x, z: t.dist(x, z, 3), f(2, 3), f(3))

# ---------------------------------------------------------------- arrangements
for _name in "ravel fliplr flipud rot90 atleast_3d trace".split():
    add(_name, lambda t, x, n=_name: getattr(t, n)(x), f(3, 4))
for _k in (-1, 2, 3, 4):
    add(f"rot90 {_k}", lambda t, x, k=_k: t.rot90(x, k, (0, 2)), f(2, 3, 4))
for _name in "hstack vstack dstack column_stack".split():
    add(f"{_name} of vectors", lambda t, x, z, n=_name: getattr(t, n)([x, z]), f(3), f(3))
    add(f"{_name} of matrices", lambda t, x, z, n=_name: getattr(t, n)((x, z)), f(3, 2), f(3, 2))
for _name in "hsplit vsplit dsplit".split():
    add(f"{_name}", lambda t, x, n=_name: getattr(t, n)(x, 2), f(2, 4, 6))
    add(f"{_name} at", lambda t, x, n=_name: getattr(x, n)([1, 2]), f(2, 4, 6))
add("atleast_2d", lambda t, x, z: t.atleast_2d(x, z), f(), f(3))
add("block_diag", lambda t, x, z, u: t.block_diag(x, z, u), f(2, 3), f(2), f())
for _way in ("ij", "xy"):
    add(f"meshgrid {_way}", lambda t, x, z, w=_way: t.meshgrid(x, z, indexing=w), f(2), f(3))
add("meshgrid of three", lambda t, x: t.meshgrid(x, x, x, indexing="xy"), f(2))
add("cartesian_prod", lambda t, x, z: t.cartesian_prod(x, z), f(2), f(3))
add("combinations", lambda t, x: t.combinations(x, 2), f(4))
add("combinations repeated", lambda t, x: t.combinations(x, 3, True), f(3))
add("method unfold", lambda t, x: x.unfold(1, 3, 2), f(2, 8, 3))
add("method unfold of a number", lambda t, x: x.unfold(0, 1, 1), f())
add("sum_to_size", lambda t, x: x.sum_to_size(3, 1), f(2, 3, 4))

# ---------------------------------------------------------------- diagonals and parts
add("diag of a vector", lambda t, x: t.diag(x, -1), f(3))
add("diag of a matrix", lambda t, x: t.diag(x, 1), f(3, 4))
add("diagflat", lambda t, x: t.diagflat(x, 1), f(2, 2))
add("diag_embed", lambda t, x: t.diag_embed(x, 1, 0, 2), f(2, 3))
add("diagonal_scatter", lambda t, x, z: t.diagonal_scatter(x, z, 1), f(3, 4), f(3))
add("select_scatter", lambda t, x, z: t.select_scatter(x, z, 1, -1), f(3, 4), f(3))
add("slice_scatter", lambda t, x, z: t.slice_scatter(x, z, 1, 0, 4, 2), f(3, 4), f(3, 2))
add("masked_scatter", lambda t, x, m, z: x.masked_scatter(m, z), f(3, 4), b(4), f(20))
for _name in "tril_indices triu_indices".split():
    for _offset in (-1, 0, 2):
        add(f"{_name} {_offset}", lambda t, n=_name, o=_offset: getattr(t, n)(3, 4, o))

# ---------------------------------------------------------------- combined where indices meet
for _how in "sum prod mean amax amin".split():
    for _self in (True, False):
        add(
            f"scatter_reduce {_how} include_self={_self}",
            lambda t, x, j, z, r=_how, s=_self: x.scatter_reduce(1, j, z, r, include_self=s),
            f(3, 4),
            i(3, 5, low=0, high=4),
            f(3, 5),
        )
        if _how != "sum":
            add(
                f"index_reduce {_how} include_self={_self}",
                lambda t, x, j, z, r=_how, s=_self: _index_reduce(x, j, z, r, s),
                f(3, 4, 2),
                i(5, low=0, high=4),
                f(3, 5, 2),
            )
    add(
        f"scatter_reduce {_how} of ints",
        lambda t, x, j, z, r=_how: x.scatter_reduce(0, j, z, r, include_self=False),
        i(4),
        i(9, low=0, high=4),
        i(9, low=1),
    )

# ---------------------------------------------------------------- running results
for _dim in (0, 1, -1):
    add(f"cumprod dim={_dim}", lambda t, x, d=_dim: t.cumprod(x, d), f(2, 3, 5))
    add(f"logcumsumexp dim={_dim}", lambda t, x, d=_dim: t.logcumsumexp(x, d), f(2, 3, 5))
    add(f"diff dim={_dim}", lambda t, x, d=_dim: t.diff(x, dim=d), f(2, 3, 5))
add("cumprod zeros", lambda t, x: t.cumprod(x * t.tensor([1.0, 0.0, 1.0, 0.0, 1.0]).to(x), 0), f(5))
add("cumprod of ints", lambda t, x: t.cumprod(x, 0), i(5))
add("cumprod of bools", lambda t, x: t.cumprod(x, 0), b(5))
add("cumprod dtype", lambda t, x: t.cumprod(x, 0, dtype=t.float64), i(5))
add("cumprod of a number", lambda t, x: t.cumprod(x, 0), f())
add("diff twice", lambda t, x, z: t.diff(x, 2, prepend=z, append=z), f(2, 3), f(2, 1))
add("diff of bools", lambda t, x: t.diff(x), b(6))
for _name in "nansum nanmean".split():
    add(_name, lambda t, x, n=_name: getattr(t, n)(x.log()), pos(3, 4))
    add(f"{_name} dim", lambda t, x, n=_name: getattr(t, n)(x.detach().log(), 1, True), f(3, 4))
for _name in "var_mean std_mean".split():
    add(_name, lambda t, x, n=_name: getattr(t, n)(x), f(3, 4))
    add(f"{_name} dim", lambda t, x, n=_name: getattr(t, n)(x, 1, keepdim=True), f(3, 4))
    add(f"{_name} biased", lambda t, x, n=_name: getattr(t, n)(x, False), f(3, 4))
    add(f"{_name} correction", lambda t, x, n=_name: getattr(t, n)(x, dim=0, correction=2), f(5, 4))
add("count_nonzero", lambda t, x: t.count_nonzero(x), i(20))
add("count_nonzero dims", lambda t, x: t.count_nonzero(x, (0, 2)), i(2, 3, 4))
add("renorm", lambda t, x: t.renorm(x, 2, 0, 1.5), f(3, 4))
