"""Calls that mean the same in jitgrad and in PyTorch: a function of the module and its operands.

`test_parity` runs each in both and compares values, dtypes and gradients.  A new op is covered by a line.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Operand:
    """Random data of a shape: floats between bounds (made in the dtype of the test), ints or bools."""

    shape: tuple[int, ...]
    low: float
    high: float
    kind: str = "float"
    grad: bool = True

    def make(self, rng: np.random.Generator, dtype: str) -> np.ndarray[Any, Any]:
        """Random elements: floats in ``dtype``, ints in int64."""
        if self.kind == "bool":
            return rng.random(self.shape) < 0.5
        if self.kind == "int":
            return np.asarray(rng.integers(int(self.low), int(self.high), self.shape), np.int64)
        return np.asarray(rng.uniform(self.low, self.high, self.shape)).astype(dtype)


def f(*shape: int, low: float = -2.0, high: float = 2.0, grad: bool = True) -> Operand:
    """Floats, with gradients."""
    return Operand(shape, low, high, "float", grad)


def pos(*shape: int) -> Operand:
    """Floats well above zero."""
    return Operand(shape, 0.2, 3.0)


def i(*shape: int, low: int = -5, high: int = 6) -> Operand:
    """Integers."""
    return Operand(shape, low, high, "int", False)


def b(*shape: int) -> Operand:
    """Bools."""
    return Operand(shape, 0, 1, "bool", False)


@dataclass(frozen=True)
class Call:
    """A function of (module, *tensors) and what to call it with."""

    name: str
    function: Callable[..., Any]
    operands: tuple[Operand, ...]

    def data(self, dtype: str) -> list[np.ndarray[Any, Any]]:
        """The operands' data: the same for the same name in every run."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        return [o.make(rng, dtype) for o in self.operands]


CALLS: list[Call] = []


def add(name: str, function: Callable[..., Any], *operands: Operand) -> None:
    """A call, under a name of its own."""
    if any(call.name == name for call in CALLS):
        raise ValueError(f"two calls are named {name!r}")
    CALLS.append(Call(name, function, operands))


# ---------------------------------------------------------------- pointwise, one operand
for _name in (
    "neg square abs sign exp expm1 sin cos tan sinh cosh tanh sigmoid relu erf erfc exp2 atan"
    " ceil floor round trunc isnan isinf isfinite logical_not clone reciprocal"
).split():
    add(_name, lambda t, x, n=_name: getattr(t, n)(x), f(3, 4))
    add(f"{_name} of no dims", lambda t, x, n=_name: getattr(t, n)(x), f())
for _name in "sqrt rsqrt log log2 log10 log1p".split():
    add(_name, lambda t, x, n=_name: getattr(t, n)(x), pos(3, 4))
    add(f"{_name} of negatives", lambda t, x, n=_name: getattr(t, n)(x), f(5, low=-3, high=-1.5))
for _name in "asin acos".split():
    add(_name, lambda t, x, n=_name: getattr(t, n)(x), f(3, 4, low=-0.9, high=0.9))
for _name in "abs exp sqrt relu tanh sigmoid neg".split():
    add(f"method {_name}", lambda t, x, n=_name: getattr(x, n)(), pos(3))
add("absolute", lambda t, x: t.absolute(x), f(3))
add("negative", lambda t, x: t.negative(x), f(3))
add(
    "special_expit",
    lambda t, x: t.special.expit(x) if hasattr(t, "special") else t.special_expit(x),
    f(3),
)
add("transposed exp", lambda t, x: x.T.exp(), f(3, 4))
add("nothing exp", lambda t, x: x.exp(), f(0, 3))
add("expanded exp", lambda t, x: x.expand(5, 3).exp(), f(1, 3))
add("round decimals", lambda t, x: t.round(x, decimals=2), f(5))
add("round negative decimals", lambda t, x: t.round(x, decimals=-1), f(5, low=-100, high=100))

# ---------------------------------------------------------------- pointwise, two operands
_TWO = {
    "add": (f(3, 4), f(3, 4)),
    "sub": (f(3, 4), f(3, 4)),
    "mul": (f(3, 4), f(3, 4)),
    "div": (f(3, 4), pos(3, 4)),
    "true_divide": (f(3), pos(3)),
    "floor_divide": (f(6, grad=False), f(6, grad=False)),  # has no gradient in PyTorch; zeros here
    "remainder": (f(6), pos(6)),
    "fmod": (f(6), pos(6)),
    "pow": (pos(3, 4), f(3, 4)),
    "maximum": (f(3, 4), f(3, 4)),
    "minimum": (f(3, 4), f(3, 4)),
    "eq": (i(9), i(9)),
    "ne": (i(9), i(9)),
    "lt": (f(9), f(9)),
    "le": (f(9), f(9)),
    "gt": (f(9), f(9)),
    "ge": (f(9), f(9)),
    "logical_and": (b(9), i(9)),
    "logical_or": (b(9), i(9)),
    "logical_xor": (b(9), f(9)),
    "bitwise_and": (i(9), i(9)),
    "bitwise_or": (i(9), i(9)),
    "bitwise_xor": (b(9), b(9)),
    "bitwise_left_shift": (i(9), i(9, low=0)),
    "bitwise_right_shift": (i(9), i(9, low=0)),
}
for _name, _operands in _TWO.items():
    add(_name, lambda t, x, z, n=_name: getattr(t, n)(x, z), *_operands)
for _name in "add sub mul div pow maximum minimum".split():
    _x, _z = _TWO[_name]
    for _words, _a, _b in (
        ("column and row", (3, 1), (4,)),
        ("no dims", (), (2, 3)),
        ("lead", (2, 1, 3), (4, 1)),
        ("nothing", (0, 3), (1, 3)),
    ):
        add(
            f"{_name} {_words}",
            lambda t, x, z, n=_name: getattr(t, n)(x, z),
            Operand(_a, _x.low, _x.high),
            Operand(_b, _z.low, _z.high),
        )
for _mode in (None, "floor", "trunc"):
    add(f"div {_mode}", lambda t, x, z, m=_mode: t.div(x, z, rounding_mode=m), f(8), pos(8))
    add(
        f"div {_mode} of ints",
        lambda t, x, z, m=_mode: t.div(x, z, rounding_mode=m),
        i(8),
        i(8, low=1),
    )
add("add alpha", lambda t, x, z: t.add(x, z, alpha=2.5), f(3), f(3))
add("sub alpha", lambda t, x, z: t.sub(x, z, alpha=-2), f(3), f(3))
add("rsub", lambda t, x, z: t.rsub(x, z), f(3), f(3))
add("rsub alpha", lambda t, x: t.rsub(x, 3, alpha=2), f(3))
for _symbol, _op in {
    "+": lambda a, c: a + c,
    "-": lambda a, c: a - c,
    "*": lambda a, c: a * c,
    "/": lambda a, c: a / c,
    "//": lambda a, c: a // c,
    "%": lambda a, c: a % c,
    "**": lambda a, c: a**c,
}.items():
    for _number in (2, 1.5, True):
        if _number is True and _symbol in ("-", "**"):
            # PyTorch refuses to subtract bools, and fails internally in the gradient of True ** x.
            continue
        _x = f(4, low=0.2, grad=_symbol not in ("//", "%"))
        add(f"x {_symbol} {_number}", lambda t, x, o=_op, n=_number: o(x, n), _x)
        add(f"{_number} {_symbol} x", lambda t, x, o=_op, n=_number: o(n, x), _x)
        add(f"ints {_symbol} {_number}", lambda t, x, o=_op, n=_number: o(x, n), i(4, low=1))
        add(f"{_number} {_symbol} ints", lambda t, x, o=_op, n=_number: o(n, x), i(4, low=1))
for _exponent in (0, 1, 2, 3, 4, -1, -2, 0.5, -0.5, 2.0, 1.7):
    add(f"power {_exponent}", lambda t, x, n=_exponent: x**n, pos(5))
    if isinstance(_exponent, int):
        add(f"power {_exponent} of negatives", lambda t, x, n=_exponent: x**n, f(5))
add("2 to the x", lambda t, x: t.pow(2, x), f(5))
add("0 to the x", lambda t, x: t.pow(0, x), pos(5))
add("pow of ints", lambda t, x, z: t.pow(x, z), i(9), i(9, low=0))
add("bitwise_not", lambda t, x: t.bitwise_not(x), i(5))
add("invert bools", lambda t, x: ~x, b(5))
add("invert ints", lambda t, x: ~x, i(5))
add("& | ^", lambda t, x, z: ((x & z) | x) ^ z, i(9), i(9))
add("<< >>", lambda t, x: (x << 3) >> 1, i(9))
add("3 & x", lambda t, x: (3 & x) | (4 ^ x), i(9))
add("square of ints", lambda t, x: t.square(x), i(5))
add("abs of ints", lambda t, x: abs(x), i(5))
add("sign of ints", lambda t, x: t.sign(x), i(5))
add("relu of ints", lambda t, x: t.relu(x), i(5))
add("exp of ints", lambda t, x: t.exp(x), i(5))
add("sigmoid of bools", lambda t, x: t.sigmoid(x), b(5))
add("floor of ints", lambda t, x: t.floor(x), i(5))
add("isnan of ints", lambda t, x: t.isnan(x), i(5))

# ---------------------------------------------------------------- pointwise, more operands
add("clamp", lambda t, x: t.clamp(x, -0.5, 1), f(9))
add("clamp min", lambda t, x: x.clamp(min=-0.5), f(9))
add("clamp max", lambda t, x: x.clamp(max=0.5), f(9))
add("clamp none", lambda t, x: x.clamp(None, 0.5), f(9))
add("clamp tensors", lambda t, x, a, c: t.clamp(x, a, c), f(3, 4), f(4), f(3, 1))
add("clamp crossed", lambda t, x: t.clamp(x, 1.0, -1.0), f(9))
add("clamp_min", lambda t, x: t.clamp_min(x, 0.5), f(9))
add("clamp_max", lambda t, x, z: t.clamp_max(x, z), f(9), f(9))
add("clip", lambda t, x: t.clip(x, -1, 1), f(9))
add("clamp of ints", lambda t, x: t.clamp(x, -2, 2), i(9))
add("clamp of ints by floats", lambda t, x: t.clamp(x, -2.5, 2.5), i(9))
add("where", lambda t, c, x, z: t.where(c, x, z), b(3, 4), f(3, 4), f(4))
add("where numbers", lambda t, c: t.where(c, 1.0, 2.0), b(5))
add("where ints", lambda t, c: t.where(c, 1, 2), b(5))
add("where number", lambda t, c, x: t.where(c, x, 0.0), b(5), f(5))
add("method where", lambda t, c, x: x.where(c, x * 2), b(5), f(5))
add("masked_fill", lambda t, x, m: x.masked_fill(m, -1.5), f(3, 4), b(4))
add("masked_fill tensor", lambda t, x, m, v: x.masked_fill(m, v), f(3, 4), b(3, 4), f())
add("masked_fill ints", lambda t, x, m: x.masked_fill(m, 7), i(4), b(4))
add("lerp", lambda t, x, z, w: t.lerp(x, z, w), f(3, 4), f(3, 4), f(3, 4, low=0, high=1))
add("lerp number", lambda t, x, z: t.lerp(x, z, 0.3), f(3, 4), f(3, 4))
add("lerp beyond", lambda t, x, z: t.lerp(x, z, 1.7), f(3, 4), f(3, 4))
add("addcmul", lambda t, x, z, u: t.addcmul(x, z, u, value=0.5), f(3, 4), f(4), f(3, 1))
add("addcmul 1", lambda t, x, z, u: t.addcmul(x, z, u), f(3), f(3), f(3))
add("addcdiv", lambda t, x, z, u: t.addcdiv(x, z, u, value=2), f(3, 4), f(4), pos(3, 1))

# ---------------------------------------------------------------- along dims
_DIMS: tuple[Any, ...] = (None, 0, 1, -1, (0, 2), (0, 1, 2))
for _name in "sum mean amax amin var std".split():
    for _dim in _DIMS:
        for _keep in (False, True):
            if _dim is None and (_keep or _name in ("amax", "amin")):
                continue
            add(
                f"{_name} dim={_dim} keepdim={_keep}",
                lambda t, x, n=_name, d=_dim, k=_keep: (
                    getattr(t, n)(x) if d is None else getattr(t, n)(x, d, keepdim=k)
                ),
                f(2, 3, 4),
            )
    if _name not in ("var", "std"):  # whose gradient is infinite in PyTorch: it counts no elements
        add(
            f"{_name} of no dims, keepdim",
            lambda t, x, n=_name: getattr(t, n)(x, dim=(), keepdim=True),
            f(2, 3),
        )
for _name in "sum mean amax amin".split():
    add(f"{_name} of a number", lambda t, x, n=_name: getattr(t, n)(x, dim=-1), f())
    add(
        f"{_name} transposed",
        lambda t, x, n=_name: getattr(t, n)(x.transpose(0, 1), dim=(0,)),
        f(3, 4, 2),
    )
    add(f"{_name} expanded", lambda t, x, n=_name: getattr(t, n)(x.expand(3, 4), dim=0), f(4))
for _name in "prod max min argmax argmin cumsum softmax log_softmax logsumexp".split():
    for _dim in (0, 1, -1):
        add(f"{_name} dim={_dim}", lambda t, x, n=_name, d=_dim: getattr(t, n)(x, d), f(2, 3, 4))
        add(
            f"{_name} flipped dim={_dim}",
            lambda t, x, n=_name, d=_dim: getattr(t, n)(x.mT, d),
            f(2, 3, 4),
        )
    if _name not in ("cumsum", "softmax", "log_softmax", "logsumexp"):
        add(f"{_name} of all", lambda t, x, n=_name: getattr(t, n)(x), f(2, 3))
    if _name not in ("cumsum", "softmax", "log_softmax"):
        add(f"{_name} keepdim", lambda t, x, n=_name: getattr(t, n)(x, 1, keepdim=True), f(2, 3))
    add(f"{_name} of a number", lambda t, x, n=_name: getattr(t, n)(x, 0), f())
add("logsumexp dims", lambda t, x: t.logsumexp(x, (0, 2)), f(2, 3, 4))
add("logsumexp large", lambda t, x: t.logsumexp(x, 0), f(9, low=500, high=900))
add("logsumexp of ints", lambda t, x: t.logsumexp(x, 0), i(5))
add("max elementwise", lambda t, x, z: t.max(x, z), f(5), f(5))
add("min elementwise", lambda t, x, z: t.min(x, z), f(5), f(5))
add("argmax keepdim of all", lambda t, x: t.argmax(x, keepdim=True), f(2, 3))
add("sum of nothing", lambda t, x: t.sum(x), f(0, 3))
add("sum of nothing dim", lambda t, x: t.sum(x, 0), f(0, 3))
add("prod of nothing", lambda t, x: t.prod(x), f(0))
add("mean of nothing", lambda t, x: t.mean(x, 0), f(0, 3))
add("logsumexp of nothing", lambda t, x: t.logsumexp(x, 0), f(0, 3))
add("amax beside nothing", lambda t, x: t.amax(x, 0), f(3, 0))
add("softmax of nothing", lambda t, x: t.softmax(x, 0), f(0, 3))
add("cumsum of nothing", lambda t, x: t.cumsum(x, 1), f(0, 3))
for _name in "sum prod cumsum max min argmax argmin any all amax amin".split():
    _more = (0,) if _name == "cumsum" else ()
    add(f"{_name} of ints", lambda t, x, n=_name, m=_more: getattr(t, n)(x, *m), i(7))
    if _name not in ("argmax", "argmin"):
        add(f"{_name} of bools", lambda t, x, n=_name, m=_more: getattr(t, n)(x, *m), b(7))
    add(
        f"{_name} of int32 dim",
        lambda t, x, n=_name: getattr(t, n)(x.to(t.int32), 1),
        i(3, 4),
    )
for _name in ("all", "any"):
    for _dim in (0, (0, 1)):
        add(f"{_name} dim={_dim}", lambda t, x, n=_name, d=_dim: getattr(t, n)(x, d), b(3, 4))
    add(f"{_name} of bytes", lambda t, x, n=_name: getattr(t, n)(x.to(t.uint8)), b(3, 4))
    add(
        f"{_name} of floats keepdim",
        lambda t, x, n=_name: getattr(t, n)(x, 1, keepdim=True),
        f(3, 4),
    )
    add(f"{_name} of nothing", lambda t, x, n=_name: getattr(t, n)(x), f(0))
add("sum dtype", lambda t, x: t.sum(x, dtype=t.float64), f(5))
add("mean dtype", lambda t, x: t.mean(x, dtype=t.float64), i(5))
add("prod dtype", lambda t, x: t.prod(x, 0, dtype=t.float64), f(5))
add("cumsum dtype", lambda t, x: t.cumsum(x, 0, dtype=t.float64), i(5))
add("softmax dtype", lambda t, x: t.softmax(x, 0, dtype=t.float64), i(5))
add("var biased", lambda t, x: t.var(x, unbiased=False), f(5))
add("var old signature", lambda t, x: t.var(x, False), f(5))
add("var dim biased", lambda t, x: t.var(x, 1, False), f(3, 5))
add("var correction", lambda t, x: t.var(x, dim=(0, 1), correction=2), f(3, 5))
add("std correction 0", lambda t, x: t.std(x, dim=0, correction=0, keepdim=True), f(3, 5))
for _p in (0, 1, 2, 3, 0.5, -1, float("inf"), float("-inf"), "fro"):
    # The number of nonzeros has no gradient in PyTorch, and zeros here.
    add(f"norm {_p}", lambda t, x, p=_p: t.norm(x, p), f(3, 4, grad=_p != 0))
    add(f"norm {_p} dim", lambda t, x, p=_p: x.norm(p, dim=1, keepdim=True), f(3, 4, grad=_p != 0))
add("norm of columns", lambda t, x: x.norm(dim=0), f(3, 4))
add("prod with a zero", lambda t, x: t.prod(x * t.tensor([1.0, 0.0, 1.0], dtype=x.dtype)), f(3))
add("prod with zeros", lambda t, x: t.prod(x * t.tensor([1.0, 0.0, 0.0], dtype=x.dtype)), f(3))

# ---------------------------------------------------------------- products
add("mm", lambda t, x, z: t.mm(x, z), f(3, 4), f(4, 5))
add("mm transposed", lambda t, x, z: t.mm(x.T, z.T), f(4, 3), f(5, 4))
add("mm sliced", lambda t, x, z: t.mm(x[::2, 1::2], z[1:3]), f(5, 5), f(4, 3))
add("mm expanded", lambda t, x, z: t.mm(x.expand(3, 4), z), f(1, 4), f(4, 2))
add("mm of nothing", lambda t, x, z: t.mm(x, z), f(3, 0), f(0, 2))
add("mm no rows", lambda t, x, z: t.mm(x, z), f(0, 3), f(3, 2))
add("mm of ints", lambda t, x, z: t.mm(x, z), i(3, 4), i(4, 2))
add("bmm", lambda t, x, z: t.bmm(x, z), f(2, 3, 4), f(2, 4, 5))
add("bmm transposed", lambda t, x, z: t.bmm(x.mT, z.transpose(0, 1)), f(2, 4, 3), f(4, 2, 5))
add("mv", lambda t, x, z: t.mv(x, z), f(3, 4), f(4))
add("dot", lambda t, x, z: t.dot(x, z), f(4), f(4))
add("dot with itself", lambda t, x: t.dot(x, x), f(4))
add("dot strided", lambda t, x, z: t.dot(x[::2], z), f(8), f(4))
add("outer", lambda t, x, z: t.outer(x, z), f(4), f(3))
add("addmm", lambda t, c, x, z: t.addmm(c, x, z), f(3, 5), f(3, 4), f(4, 5))
add("addmm row", lambda t, c, x, z: t.addmm(c, x, z, beta=0.5, alpha=2), f(5), f(3, 4), f(4, 5))
add("addmm column", lambda t, c, x, z: t.addmm(c, x, z, alpha=-1), f(3, 1), f(3, 4), f(4, 5))
add("addmm number", lambda t, c, x, z: t.addmm(c, x, z), f(), f(3, 4), f(4, 5))
for _a, _b in (
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 2)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 2, 3), (1, 3, 4)),
    ((2, 1, 2, 3), (5, 3, 4)),
    ((2, 0, 3), (3, 4)),
    ((0, 2, 3), (0, 3, 4)),
):
    add(f"matmul {_a} {_b}", lambda t, x, z: x @ z, f(*_a), f(*_b))
for _a in ((4,), (3, 4), (2, 3, 4), (0, 4)):
    add(f"linear {_a}", lambda t, x, w, c: t.nn.functional.linear(x, w, c), f(*_a), f(5, 4), f(5))
    add(f"linear {_a} without bias", lambda t, x, w: t.nn.functional.linear(x, w), f(*_a), f(5, 4))
add("linear transposed", lambda t, x, w: t.nn.functional.linear(x.T, w.T), f(4, 3), f(4, 5))

# ---------------------------------------------------------------- views
for _name, _view in {
    "view": lambda t, x: x.view(4, 6),
    "view -1": lambda t, x: x.view(-1, 2),
    "view of a tuple": lambda t, x: x.view((24,)),
    "reshape": lambda t, x: t.reshape(x, (6, 4)),
    "reshape transposed": lambda t, x: x.transpose(0, 2).reshape(-1),
    "flatten": lambda t, x: t.flatten(x, 1),
    "flatten middle": lambda t, x: x.flatten(0, 1),
    "unflatten": lambda t, x: x.unflatten(2, (2, -1)),
    "permute": lambda t, x: x.permute(2, 0, 1),
    "permute tuple": lambda t, x: t.permute(x, (-1, 0, 1)),
    "transpose": lambda t, x: t.transpose(x, 0, -1),
    "swapaxes": lambda t, x: x.swapaxes(1, 2),
    "movedim": lambda t, x: t.movedim(x, 0, 2),
    "movedims": lambda t, x: t.movedim(x, (0, 1), (2, 0)),
    "mT": lambda t, x: x.mT,
    "unsqueeze": lambda t, x: t.unsqueeze(x, 1),
    "unsqueeze end": lambda t, x: x.unsqueeze(-1),
    "squeeze": lambda t, x: x.unsqueeze(0).unsqueeze(-1).squeeze(),
    "squeeze dim": lambda t, x: x.unsqueeze(0).squeeze(0),
    "squeeze not one": lambda t, x: x.squeeze(1),
    "squeeze dims": lambda t, x: x.unsqueeze(0).unsqueeze(-1).squeeze((0, -1, 1)),
    "expand": lambda t, x: x.unsqueeze(1).expand(2, 5, 3, 4),
    "expand -1": lambda t, x: x.expand(7, -1, -1, -1),
    "expand_as": lambda t, x: x[:, :1].expand_as(x),
    "broadcast_to": lambda t, x: t.broadcast_to(x, (2, 2, 3, 4)),
    "select": lambda t, x: t.select(x, 1, -1),
    "narrow": lambda t, x: t.narrow(x, 2, 1, 2),
    "unbind": lambda t, x: t.unbind(x, 1),
    "split": lambda t, x: t.split(x, 3, dim=2),
    "split sections": lambda t, x: t.split(x, [1, 0, 2], dim=1),
    "chunk": lambda t, x: t.chunk(x, 3, dim=2),
    "tensor_split": lambda t, x: t.tensor_split(x, 3, dim=2),
    "tensor_split at": lambda t, x: t.tensor_split(x, (1, 3), dim=2),
    "diagonal": lambda t, x: t.diagonal(x, 1, 1, 2),
    "contiguous": lambda t, x: x.permute(1, 2, 0).contiguous(),
    "view_as": lambda t, x: x.view_as(x.reshape(6, 4)),
    "reshape_as": lambda t, x: x.mT.reshape_as(x),
}.items():
    add(_name, _view, f(2, 3, 4))
add("T", lambda t, x: x.T, f(3, 4))
add("t", lambda t, x: t.t(x), f(3, 4))
add("t of a vector", lambda t, x: x.t(), f(3))
add("flatten a number", lambda t, x: x.flatten(), f())
add("view of nothing", lambda t, x: x.view(3, 0, 2), f(0, 3))
add("expand a number", lambda t, x: x.expand(2, 3), f())

# ---------------------------------------------------------------- joining
add("cat", lambda t, x, z: t.cat([x, z], 0), f(2, 3), f(1, 3))
add("cat dim", lambda t, x, z: t.cat((x, z), dim=-1), f(2, 3), f(2, 2))
add("cat of five", lambda t, x, z: t.cat([x, z, x, z, x]), f(2), f(3))
add("cat with nothing", lambda t, x, z: t.cat([x, z]), f(0), f(2, 3))
add("cat of mixed dtypes", lambda t, x, z: t.cat([x, z]), f(2), i(3))
add("stack", lambda t, x, z: t.stack([x, z, x], 1), f(2, 3), f(2, 3))
add("flip", lambda t, x: t.flip(x, (0, 2)), f(2, 3, 4))
add("roll", lambda t, x: t.roll(x, 2, 1), f(2, 3, 4))
add("repeat", lambda t, x: x.repeat(2, 1, 3), f(2, 3))
add("tril", lambda t, x: t.tril(x), f(3, 4))
add("triu", lambda t, x: t.triu(x, 1), f(2, 4, 3))

# ---------------------------------------------------------------- a tensor more than once, and chains
add("x * x", lambda t, x: x * x, f(3))
add("x + x", lambda t, x: x + x, f(3))
add("x - x", lambda t, x: x - x, f(3))
add("x * x.T", lambda t, x: x * x.T, f(3, 3))
add("x / x.sum()", lambda t, x: x / x.sum(), pos(3))
add("x ** x", lambda t, x: x**x, pos(3))
add("softmax by hand", lambda t, x: t.exp(x) / t.exp(x).sum(1, keepdim=True), f(3, 4))
add("variance by hand", lambda t, x: ((x - x.mean(0)) ** 2).mean(0).sqrt(), f(3, 4))
add("gelu by hand", lambda t, x: 0.5 * x * (1 + t.erf(x / 2**0.5)), f(3, 4))
add("through a cast", lambda t, x: x.double().exp().float() * 2, f(3))
add("mixed dtypes", lambda t, x: x * t.ones(3, dtype=t.float64) + t.ones(3, dtype=t.int32), f(3))
add("in place", lambda t, x: (x * 2).mul_(3).add_(x).exp_(), f(3))
add("in place by broadcast", lambda t, x, z: (x * 1).mul_(z), f(3, 4), f(4))
add("contraction", lambda t, x, z: (x.unsqueeze(2) * z).sum(1), f(3, 4), f(4, 5))

# ---------------------------------------------------------------- functions of neural networks
add(
    "conv1d",
    lambda t, x, w, b: t.nn.functional.conv1d(x, w, b, stride=2, padding=1),
    f(2, 2, 5),
    f(3, 2, 3),
    f(3),
)
add(
    "conv2d",
    lambda t, x, w, b: t.conv2d(x, w, b, padding=1, groups=2),
    f(1, 2, 3, 3),
    f(2, 1, 3, 2),
    f(2),
)
add(
    "conv_transpose2d",
    lambda t, x, w: t.conv_transpose2d(x, w, stride=2, output_padding=1),
    f(2, 2, 2),
    f(2, 1, 2, 2),
)
for _causal in (False, True):
    add(
        f"attention, causal: {_causal}",
        lambda t, q, k, v, c=_causal: t.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=c
        ),
        f(2, 3, 4),
        f(2, 5, 4),
        f(2, 5, 2),
    )
_LINES = {
    "layer_norm": lambda t, x, w, b: t.layer_norm(x, (4,), w, b),
    "layer_norm of two dims": lambda t, x, w, b: t.layer_norm(x, (3, 4), x[0] * w, x[1] * b),
    "rms_norm": lambda t, x, w, b: t.rms_norm(x, (4,), w * b, 1e-3),
}
for _name, _function in _LINES.items():
    add(_name, _function, f(2, 3, 4), f(4), f(4))
_CHANNELS = {
    "batch_norm": lambda nf, x, w, b: nf.batch_norm(x, None, None, w, b, training=True),
    "batch_norm in evaluation": lambda nf, x, w, b: nf.batch_norm(
        x, w.detach(), b.detach() ** 2, w, b
    ),
    "group_norm": lambda nf, x, w, b: nf.group_norm(x, 2, w, b),
    "instance_norm": lambda nf, x, w, b: nf.instance_norm(x, weight=w, bias=b),
}
for _name, _function in _CHANNELS.items():
    add(_name, lambda t, x, w, b, h=_function: h(t.nn.functional, x, w, b), f(3, 4, 3), f(4), f(4))

# ---------------------------------------------------------------- activations
for _name in (
    "celu elu gelu hardshrink hardswish leaky_relu logsigmoid mish relu6 rrelu selu silu softplus"
    " softshrink softsign tanhshrink hardtanh"
).split():
    add(f"F.{_name}", lambda t, x, n=_name: getattr(t.nn.functional, n)(x), f(3, 4))
add("F.gelu tanh", lambda t, x: t.nn.functional.gelu(x, approximate="tanh"), f(3, 4))
add("F.threshold", lambda t, x: t.nn.functional.threshold(x, 0.3, 5.0), f(3, 4))
add("F.prelu", lambda t, x, w: t.nn.functional.prelu(x, w), f(2, 3, 4), f(3))
add("F.glu", lambda t, x: t.nn.functional.glu(x), f(3, 4))
add("F.softmin", lambda t, x: t.nn.functional.softmin(x, 1), f(3, 4))
add("torch.selu", lambda t, x: t.selu(x) + t.celu(x) + t.hardshrink(x), f(3, 4))
add("x.prelu", lambda t, x, w: x.prelu(w) + x.hardshrink(), f(2, 3), f(1))
add(
    "F.bilinear",
    lambda t, x, z, w, c: t.nn.functional.bilinear(x, z, w, c),
    f(4, 2),
    f(4, 3),
    f(5, 2, 3),
    f(5),
)

# ---------------------------------------------------------------- pooling, padding, resampling
for _name, _space in {
    "max_pool1d": lambda nf, x: nf.max_pool1d(x[0], 2),
    "max_pool2d": lambda nf, x: nf.max_pool2d(x, 2, 1, 1),
    "max_pool3d": lambda nf, x: nf.max_pool3d(x.unsqueeze(0), (1, 2, 2)),
    "avg_pool2d": lambda nf, x: nf.avg_pool2d(x, 2, 1, 1, count_include_pad=False),
    "adaptive_avg_pool2d": lambda nf, x: nf.adaptive_avg_pool2d(x, (2, 3)),
    "pad": lambda nf, x: nf.pad(x, (1, -1, 2, 0), value=1.5),
    "pad reflect": lambda nf, x: nf.pad(x, (1, 2, 0, 1), "reflect"),
    "interpolate bilinear": lambda nf, x: nf.interpolate(x, (2, 5), mode="bilinear"),
    "interpolate nearest": lambda nf, x: nf.interpolate(x, scale_factor=1.5),
    "unfold": lambda nf, x: nf.unfold(x, 2, padding=1),
    "local_response_norm": lambda nf, x: nf.local_response_norm(x, 2, 0.5),
}.items():
    add(f"F.{_name}", lambda t, x, h=_space: h(t.nn.functional, x), f(1, 2, 3, 4))

# ---------------------------------------------------------------- recurrent layers


def _recurrent(
    t: Any, kind: str, x: Any, weights: tuple[Any, ...], states: tuple[Any, ...], **options: Any
) -> Any:
    layer = getattr(t.nn, kind)(2, 3, **options)
    names = [name for name, _ in layer.named_parameters()]
    state = states if kind == "LSTM" else states[0]
    y, last = t.func.functional_call(
        layer, dict(zip(names, weights, strict=True)), (x, state), strict=True
    )
    return (y, *last) if kind == "LSTM" else (y, last)


for _name, _gates in {"RNN": 1, "GRU": 3, "LSTM": 4}.items():
    add(
        f"nn.{_name}",
        lambda t, x, h, c, *w, n=_name: _recurrent(t, n, x, w, (h, c)[: 1 + (n == "LSTM")]),
        f(5, 2, 2),
        f(1, 2, 3),
        f(1, 2, 3, grad=_gates == 4),
        f(3 * _gates, 2, low=-0.7, high=0.7),
        f(3 * _gates, 3, low=-0.7, high=0.7),
        f(3 * _gates),
        f(3 * _gates),
    )
add(
    "nn.RNN relu",
    lambda t, x, h, *w: _recurrent(t, "RNN", x, w, (h,), nonlinearity="relu", bias=False),
    f(2, 3, 2),
    f(1, 3, 3),
    f(3, 2, low=-0.7, high=0.7),
    f(3, 3, low=-0.7, high=0.7),
)

import tests.calls_of_matrices  # noqa: E402
import tests.calls_of_order  # noqa: E402 - adds its calls
import tests.calls_of_shape  # noqa: E402, F401
