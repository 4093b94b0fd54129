"""More calls: linear algebra (see `tests.calls`).  Factors are tried where their signs do not matter."""

from __future__ import annotations

from typing import Any

from tests.calls import add, f, i


def _regular(t: Any, x: Any) -> Any:
    """A symmetric positive definite matrix with well separated eigenvalues."""
    n = x.shape[-1]
    return x @ x.mT + t.diag(t.arange(1, n + 1, device=x.device).to(x.dtype) * 3)


for _batch in ((), (2,), (2, 1)):
    _shape = (*_batch, 3, 3)
    for _name in "inv det pinv".split():
        add(
            f"linalg.{_name} {_shape}",
            lambda t, x, n=_name: getattr(t.linalg, n)(_regular(t, x)),
            f(*_shape),
        )
    add(f"slogdet {_shape}", lambda t, x: t.linalg.slogdet(_regular(t, x)).logabsdet, f(*_shape))
    add(f"cholesky {_shape}", lambda t, x: t.linalg.cholesky(_regular(t, x)), f(*_shape))
    if len(_batch) < 2:  # float32's rounding differs between libraries
        add(f"eigvalsh {_shape}", lambda t, x: t.linalg.eigvalsh(_regular(t, x)), f(*_shape))
    add(f"svdvals {_shape}", lambda t, x: t.linalg.svdvals(_regular(t, x)), f(*_shape))
    add(f"solve {_shape}", lambda t, x, z: t.linalg.solve(_regular(t, x), z), f(*_shape), f(3, 2))
    add(
        f"qr {_shape}",
        lambda t, x: t.linalg.qr(_regular(t, x)).Q.abs() + t.linalg.qr(_regular(t, x)).R.abs(),
        f(*_shape),
    )
    add(f"matrix_power {_shape}", lambda t, x: t.matrix_power(x, 5), f(*_shape))
add("solve vector", lambda t, x, z: t.linalg.solve(_regular(t, x), z), f(3, 3), f(3))
add("solve right", lambda t, x, z: t.linalg.solve(_regular(t, x), z, left=False), f(3, 3), f(2, 3))
add("det of no inverse", lambda t, x: t.linalg.det(x.detach()), f(3, 3))
add("matrix_power -2", lambda t, x: t.matrix_power(_regular(t, x), -2), f(3, 3))
add("matrix_power 0", lambda t, x: t.matrix_power(x.detach(), 0), f(3, 3))
add("eigh", lambda t, x: t.linalg.eigh(_regular(t, x)).eigenvectors.square(), f(3, 3))
for _rows, _columns in ((4, 3), (3, 4), (3, 3)):
    add(
        f"svd {_rows} {_columns}",
        lambda t, x: (lambda u, s, v: (u.square(), s, v.square()))(*t.linalg.svd(x, False)),
        f(_rows, _columns),
    )
    add(f"pinv {_rows} {_columns}", lambda t, x: t.linalg.pinv(x), f(_rows, _columns))
    for _ord in ("fro", "nuc", 2, -2, 1, -1, float("inf"), float("-inf")):
        add(
            f"matrix_norm {_ord} {_rows} {_columns}",
            lambda t, x, o=_ord: t.linalg.matrix_norm(x, o, keepdim=True),
            f(_rows, _columns),
        )
add("matrix_norm dims", lambda t, x: t.linalg.matrix_norm(x, "nuc", (0, 2)), f(3, 2, 4))
add("linalg.norm", lambda t, x: t.linalg.norm(x), f(2, 3, 4))
add("linalg.norm 2", lambda t, x: t.linalg.norm(x, 2), f(3, 4))
add("linalg.norm of a vector", lambda t, x: t.linalg.norm(x, 3), f(4))
add("linalg.norm dim", lambda t, x: t.linalg.norm(x, 1, 1), f(3, 4))
add("vector_norm", lambda t, x: t.linalg.vector_norm(x, 3, (0, 2), True), f(2, 3, 4))
add("linalg.cross", lambda t, x, z: t.linalg.cross(x, z), f(2, 3), f(2, 3))
add("multi_dot", lambda t, x, z, u: t.linalg.multi_dot([x, z, u]), f(4, 5), f(5, 2), f(2, 6))
add("multi_dot of vectors", lambda t, x, z, u: t.linalg.multi_dot([x, z, u]), f(4), f(4, 2), f(2))
add("matrix_rank", lambda t, x: t.linalg.matrix_rank(x.to(t.float64) @ x.to(t.float64).mT), i(4, 2))
add("lstsq", lambda t, x, z: t.linalg.lstsq(x, z).solution, f(5, 3), f(5, 2))
for _name in "det inverse pinverse".split():
    add(f"method {_name}", lambda t, x, n=_name: getattr(_regular(t, x), n)(), f(3, 3))
