"""More calls: ops that find elements by order, and the special functions (see `tests.calls`)."""

from __future__ import annotations

from tests.calls import Operand, add, b, f, i, pos

# ---------------------------------------------------------------- order
for _dim in (0, 1, -1):
    for _down in (False, True):
        add(
            f"sort dim={_dim} descending={_down}",
            lambda t, x, d=_dim, o=_down: t.sort(x, d, o),
            f(3, 4, 5),
        )
    add(f"argsort dim={_dim}", lambda t, x, d=_dim: t.argsort(x, d), f(3, 4, 5))
    for _largest in (False, True):
        add(
            f"topk dim={_dim} largest={_largest}",
            lambda t, x, d=_dim, o=_largest: t.topk(x, 2, d, o),
            f(3, 4, 5),
        )
    for _name in ("median", "nanmedian", "mode", "cummax", "cummin"):
        add(f"{_name} dim={_dim}", lambda t, x, n=_name, d=_dim: getattr(t, n)(x, d), f(3, 4, 5))
    add(f"kthvalue dim={_dim}", lambda t, x, d=_dim: t.kthvalue(x, 3, d), f(3, 4, 5))
    add(f"aminmax dim={_dim}", lambda t, x, d=_dim: t.aminmax(x, dim=d), f(3, 4, 5))
    add(f"quantile dim={_dim}", lambda t, x, d=_dim: t.quantile(x, 0.3, d), f(3, 4, 5))
    add(
        f"quantile keepdim dim={_dim}",
        lambda t, x, d=_dim: t.quantile(x, t.tensor([0.25, 0.6]).to(x.dtype), d, keepdim=True),
        f(3, 4, 5),
    )
for _name in ("median", "kthvalue", "mode", "nanmedian"):
    _more = (2,) if _name == "kthvalue" else ()
    add(
        f"{_name} keepdim",
        lambda t, x, n=_name, m=_more: getattr(t, n)(x, *m, dim=1, keepdim=True),
        f(3, 4),
    )
add("sort transposed", lambda t, x: t.sort(x.mT, 1), f(2, 3, 4))
add("sort ties", lambda t, x: t.sort(x.round(), stable=True), f(20))
add("sort ties descending", lambda t, x: t.sort(x.round(), descending=True, stable=True), f(20))
add("sort of ints", lambda t, x: t.sort(x, stable=True), i(9))
add("sort of bools", lambda t, x: t.sort(x, stable=True, descending=True), b(9))
add("sort of a number", lambda t, x: t.sort(x, 0), f())
add("sort of nothing", lambda t, x: t.sort(x, 0), f(0, 3))
add("msort", lambda t, x: t.msort(x), f(4, 3))
add("topk few of many", lambda t, x: t.topk(x, 3), f(2, 100))
add("topk few of many, smallest", lambda t, x: x.topk(3, largest=False), f(2, 100))
add("topk none", lambda t, x: t.topk(x, 0), f(4))
add("topk of a number", lambda t, x: t.topk(x, 1), f())
add("median of all", lambda t, x: t.median(x), f(3, 4))
add("median of equals", lambda t, x: t.median(x * 0 + 1), f(5))
add("median of ints", lambda t, x: t.median(x), i(8))
add("nanmedian of all", lambda t, x: t.nanmedian(x.log()), f(3, 5, low=-1))
add("nanmedian beside NaN", lambda t, x: t.nanmedian(x.detach().log(), 1), f(3, 5, low=-1))
add("kthvalue of a number", lambda t, x: t.kthvalue(x, 1), f())
add("mode of ints", lambda t, x: t.mode(x, 0).values, i(20, 3, low=0, high=3))
add("cummax ties", lambda t, x: t.cummax(x.round(), 0), f(20))
add("cummin of ints", lambda t, x: t.cummin(x, 0), i(20))
add("cummax of nothing", lambda t, x: t.cummax(x, 0), f(0, 3))
add("aminmax of all", lambda t, x: t.aminmax(x), f(3, 4))
for _way in ("linear", "lower", "higher", "midpoint", "nearest"):
    add(f"quantile {_way}", lambda t, x, w=_way: t.quantile(x, 0.37, interpolation=w), f(3, 5))
add("quantile of all keepdim", lambda t, x: t.quantile(x, 0.5, keepdim=True), f(3, 5))
add("nanquantile", lambda t, x: t.nanquantile(x.detach().log(), 0.3, 1), f(3, 5, low=-1))
add("quantile beside NaN", lambda t, x: t.quantile(x.detach().log(), 0.3, 1), f(3, 5, low=-1))

# ---------------------------------------------------------------- counting
add("unique", lambda t, x: t.unique(x, return_inverse=True, return_counts=True), i(4, 5))
add("unique rows", lambda t, x: t.unique(x, True, True, True, dim=0), i(9, 2, low=0, high=2))
add(
    "unique_consecutive",
    lambda t, x: t.unique_consecutive(x, return_inverse=True, return_counts=True),
    i(20, low=0, high=2),
)
add(
    "unique_consecutive dim",
    lambda t, x: x.unique_consecutive(True, True, dim=1),
    i(1, 20, low=0, high=2),
)
add("searchsorted", lambda t, x, v: t.searchsorted(x.sort().values, v), i(3, 5), i(3, 4))
add(
    "searchsorted right",
    lambda t, x, v: t.searchsorted(x.sort().values, v, right=True),
    i(5),
    i(3, 4),
)
add("bucketize", lambda t, x: t.bucketize(x, t.tensor([-1.0, 0.0, 1.0])), f(3, 4, grad=False))
add("bincount", lambda t, x: t.bincount(x), i(20, low=0))
add("bincount weights", lambda t, x, w: t.bincount(x, w, 9), i(20, low=0), f(20, grad=False))
add("histc", lambda t, x: t.histc(x, 5), f(50, grad=False))
add("histc range", lambda t, x: t.histc(x, 4, -1, 1), f(50, grad=False))
add("isin", lambda t, x, z: t.isin(x, z), i(3, 4), i(4))
add("isin invert", lambda t, x: t.isin(x, 2, invert=True), i(20))

# ---------------------------------------------------------------- special functions
for _name in "asinh sinc deg2rad rad2deg frac nan_to_num positive lgamma".split():
    _x = pos(3, 4) if "gamma" in _name else f(3, 4)
    add(_name, lambda t, x, n=_name: getattr(t, n)(x), _x)
for _name in "atanh erfinv".split():
    add(_name, lambda t, x, n=_name: getattr(t, n)(x), f(3, 4, low=-0.9, high=0.9))
add("acosh", lambda t, x: t.acosh(x), f(3, 4, low=1.1, high=4))
add("polygamma", lambda t, x: t.polygamma(2, x), pos(5))
add("logit", lambda t, x: t.logit(x), f(9, low=0.05, high=0.95))
add("logit eps", lambda t, x: x.logit(0.2), f(9, low=0.05, high=0.95))
for _name in "atan2 hypot logaddexp logaddexp2 fmax fmin copysign".split():
    add(_name, lambda t, x, z, n=_name: getattr(t, n)(x, z), f(3, 4), f(4))
add("xlogy", lambda t, x, z: t.xlogy(x, z), f(3, 4), pos(4))
add("xlogy number", lambda t, z: t.xlogy(2, z), pos(4))
add("copysign number", lambda t, x: x.copysign(-1), f(4))
add("heaviside", lambda t, x, z: t.heaviside(x.round(), z), f(9, grad=False), f(9, grad=False))
add("float_power", lambda t, x: t.float_power(x, 3), f(5))
add("ldexp", lambda t, x, z: t.ldexp(x, z), f(5), i(5, low=0))  # 0 for negative ints in PyTorch
for _name in "isposinf isneginf isreal signbit".split():
    add(_name, lambda t, x, n=_name: getattr(t, n)(x / 0 * x), Operand((9,), -2, 2, grad=False))
    add(f"{_name} of ints", lambda t, x, n=_name: getattr(t, n)(x), i(9))
for _name in "gcd lcm".split():
    add(_name, lambda t, x, z, n=_name: getattr(t, n)(x, z), i(3, 4), i(4))
for _name in "asinh atan2 deg2rad lgamma".split():
    _two = (i(4),) if _name == "atan2" else ()
    add(f"{_name} of ints", lambda t, x, *z, n=_name: getattr(t, n)(x, *z), i(4, low=1), *_two)
