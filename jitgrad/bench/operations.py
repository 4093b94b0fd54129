"""How every op of the op table is called, with tensors and with arrays: a line for each.

The operands' kinds are letters. Of the shape (side, side): ``x z u v`` normal, ``p`` positive, ``f``
and ``F`` between 0 and 1, ``g`` above 1, ``w`` small, ``b`` bools, ``n`` small positive integers, ``j``
indices of columns. ``r`` has one row's elements; ``c`` holds an index for each row; ``k`` is a permutation
of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from math import isqrt
from typing import Any

import numpy as np

from jitgrad.bench import by_hand
from jitgrad.bench.case import CannotDo, Case
from jitgrad.bench.programs import Array, Function, Program
from jitgrad.ops.table import OPS


@dataclass(frozen=True)
class Operation:
    """An op: its operands' kinds and the call, in torch's names and in NumPy's."""

    name: str
    kinds: str
    tensors: Function
    arrays: Function | None = None
    flops: Callable[[int], float] | None = None  # of the forward part, from the side
    compared: bool = True


OPERATIONS: dict[str, Operation] = {}

#: Rows of the table that nobody calls: why.
NOT_CALLED = {
    "leaf": "a tensor that the user made",
    "function": "a custom autograd.Function",
    "output": "an output of a custom autograd.Function",
    "copy": "part of an assignment in place",
    "alias": "part of other views",
    "extract": "the gradient of a view, recorded",
    "embed": "the gradient of a view, recorded",
    "combine_indices": "part of indexing with several tensors",
    "index_put_": "part of an assignment in place",
    **dict.fromkeys(("index_add_", "index_copy_", "index_fill_"), "that op in place"),
    "convolution_weight": "the gradient of a convolution, recorded: part of its double backward",
    "unmap": "the gradient of remap, recorded",
    "lstm_cell": "part of an LSTM with projections",
    "lstm_hidden": "part of an LSTM with projections",
    "gru_candidate": "part of a GRU's gradient, recorded",
    "gru_hidden": "part of a GRU's gradient, recorded",
    "as_strided_": "as_strided in place",
    "_unsafe_view": "part of matmul",
    "copy_slices": "what a change in place of a view is to its base",
    **dict.fromkeys(
        (
            "squeeze.dim",
            "squeeze.dims",
            "squeeze_",
            "squeeze_.dim",
            "squeeze_.dims",
            "unsqueeze_",
            "transpose_",
            "t_",
        ),
        "a view of another name",
    ),
}


def op(
    name: str,
    kinds: str,
    tensors: Function | None = None,
    arrays: Function | str | None = None,
    flops: Callable[[int], float] | None = None,
    compared: bool = True,
) -> None:
    """Add a line; without `tensors` the op is called by its name, a string names NumPy's function."""
    if isinstance(arrays, str):
        arrays = partial(_named, arrays)
    function = tensors or partial(_named, name)
    OPERATIONS[name] = Operation(name, kinds, function, arrays, flops, compared)


def _named(name: str, namespace: Any, *operands: Any) -> Any:
    return getattr(namespace, name)(*operands)


def _functional(name: str, T: Any, *operands: Any, **options: Any) -> Any:
    return getattr(T.nn.functional, name)(*operands, **options)


# ---------------------------------------------------------------- elementwise
for _names in (
    "abs exp exp2 expm1 sin cos tan sinh cosh tanh square sign ceil floor trunc isnan isinf isfinite"
    " reciprocal",
    "asin:arcsin acos:arccos atan:arctan neg:negative round:round clone:copy logical_not:logical_not",
):
    for _pair in _names.split():
        _name, _, _theirs = _pair.partition(":")
        op(_name, "f" if _name in ("asin", "acos") else "x", arrays=_theirs or _name)
for _name in "sqrt log log2 log10 log1p".split():
    op(_name, "p", arrays=_name)
op("rsqrt", "p", None, lambda xp, x: 1 / xp.sqrt(x))
op("sigmoid", "x", None, lambda xp, x: 1 / (1 + xp.exp(-x)))
op("relu", "x", None, lambda xp, x: xp.maximum(x, 0))
for _name in "erf erfc asinh deg2rad rad2deg frac sgn signbit sinc nan_to_num".split():
    op(_name, "x")
op("acosh", "g", arrays="arccosh")
op("atanh", "f", arrays="arctanh")
op("logit", "f")
for _name in "copysign fmax fmin heaviside hypot logaddexp logaddexp2".split():
    op(_name, "xz", arrays=_name)
op("atan2", "xz", arrays="arctan2")
op("xlogy", "pp", None, lambda xp, x, z: x * xp.log(z))
for _name, _theirs in {
    "add": "add", "sub": "subtract", "mul": "multiply", "maximum": "maximum", "minimum": "minimum",
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal",
}.items():  # fmt: skip
    op(_name, "xz", arrays=_theirs)
op("div", "xp", arrays="divide")
op("remainder", "xp", arrays="remainder")
op("fmod", "xp", arrays="fmod")
op("add_scaled", "xz", lambda T, x, z: T.add(x, z, alpha=2.5), lambda xp, x, z: x + 2.5 * z)
op("sub_scaled", "xz", lambda T, x, z: T.sub(x, z, alpha=2.5), lambda xp, x, z: x - 2.5 * z)
op("div_floor", "xp", lambda T, x, z: T.div(x, z, rounding_mode="floor"), "floor_divide")
op("div_trunc", "xp", lambda T, x, z: T.div(x, z, rounding_mode="trunc"))
op("cube", "x", lambda T, x: x**3, lambda xp, x: x**3)
op("pow", "p", lambda T, x: x**1.7, lambda xp, x: x**1.7)
op("pow_int", "n", lambda T, x: x**3, lambda xp, x: x**3)
op("pow_tensor", "pf", lambda T, x, z: T.pow(x, z), lambda xp, x, z: x**z)
op("pow_half", "p", lambda T, x: x**0.5, lambda xp, x: x**0.5)
op("pow_inverse", "p", lambda T, x: x**-1, lambda xp, x: 1 / x)
op("lerp", "xzf", None, lambda xp, x, z, w: x + w * (z - x))
op("addcmul", "xzu", None, lambda xp, x, z, u: x + z * u)
op("addcdiv", "xzp", None, lambda xp, x, z, u: x + z / u)
op("clamp", "x", lambda T, x: T.clamp(x, -1.0, 1.0), lambda xp, x: xp.clip(x, -1.0, 1.0))
op("clamp_min", "x", lambda T, x: T.clamp_min(x, 0.5), lambda xp, x: xp.maximum(x, 0.5))
op("clamp_max", "x", lambda T, x: T.clamp_max(x, 0.5), lambda xp, x: xp.minimum(x, 0.5))
op("clamp_low", "xr", lambda T, x, r: T.clamp(x, min=r), lambda xp, x, r: xp.maximum(x, r))
op("clamp_high", "xr", lambda T, x, r: T.clamp(x, max=r), lambda xp, x, r: xp.minimum(x, r))
op("clamp_tensor", "xfp", lambda T, x, low, high: T.clamp(x, low, high), "clip")
op("where", "bxz", arrays="where")
op(
    "masked_fill",
    "xb",
    lambda T, x, m: x.masked_fill(m, -1.5),
    lambda xp, x, m: xp.where(m, -1.5, x),
)
op("dropout", "x", lambda T, x: T.nn.functional.dropout(x, 0.5), compared=False)
for _name in "logical_and logical_or logical_xor".split():
    op(_name, "bb", arrays=_name)
for _name in "bitwise_and bitwise_or bitwise_xor".split():
    op(_name, "nn", arrays=_name)
op("bitwise_not", "n", arrays="invert")
op("bitwise_left_shift", "nn", arrays="left_shift")
op("bitwise_right_shift", "nn", arrays="right_shift")
for _name in "bool uint8 int8 int16 int32 int64 float16 float32 float64".split():
    op(
        f"to_{_name}",
        # A cast to the type that a tensor has is no work: floats are cast from integers.
        "n" if _name.startswith("float") else "p",
        lambda T, x, n=_name: x.to(getattr(T, n)),
        lambda xp, x, n=_name: x.astype(n),
    )

op(
    "to_bfloat16", "p", lambda T, x: x.to(T.bfloat16).to(x.dtype)
)  # NumPy has no such dtype: and back

# ---------------------------------------------------------------- activations
for _name in (
    "elu selu celu gelu silu mish hardtanh hardswish hardsigmoid leaky_relu softplus softshrink"
    " hardshrink logsigmoid"
).split():
    op(_name, "x", partial(_functional, _name))
op("gelu_tanh", "x", partial(_functional, "gelu", approximate="tanh"))
op("rrelu", "x", partial(_functional, "rrelu", training=True), compared=False)
op("threshold", "x", lambda T, x: T.nn.functional.threshold(x, 0.1, 20.0))
op("prelu", "xr", partial(_functional, "prelu"), lambda xp, x, w: xp.where(x > 0, x, w * x))
op("glu", "x", lambda T, x: T.nn.functional.glu(T.stack((x, x)), 0))

# ---------------------------------------------------------------- views
# A shape that can be viewed in every layout.
op("view", "x", lambda T, x: x.view(len(x), 1, -1), lambda xp, x: x.reshape(len(x), 1, -1))
op("transpose", "x", lambda T, x: x.transpose(0, 1), lambda xp, x: x.T)
op("t", "x", lambda T, x: x.t(), lambda xp, x: x.T)
op("permute", "x", lambda T, x: x.permute(1, 0), lambda xp, x: xp.transpose(x, (1, 0)))
op("select", "x", lambda T, x: x.select(0, 0), lambda xp, x: x[0])
op("slice", "x", lambda T, x: x[:, ::2], lambda xp, x: x[:, ::2])
op("unsqueeze", "x", lambda T, x: x.unsqueeze(0), lambda xp, x: xp.expand_dims(x, 0))
op("squeeze", "x", lambda T, x: x.squeeze())
op("expand", "x", lambda T, x: x.expand(2, *x.shape))
op("detach", "x", lambda T, x: x.detach())
op("diagonal", "x", None, "diagonal")
op("unbind", "x", lambda T, x: x.unbind(1)[0], lambda xp, x: x[:, 0])
op("split", "x", lambda T, x: x.split(2)[0], lambda xp, x: x[:2])
op("split_with_sizes", "x", lambda T, x: x.split([1, x.shape[0] - 1])[0], lambda xp, x: x[:1])
op("unfold", "x", lambda T, x: x.unfold(1, 2, 1))
# Pairs of a row: in layout "broadcast" the memory holds no more.
op("as_strided", "x", lambda T, x: T.as_strided(x, (max(len(x) // 2, 1), min(len(x), 2)), (2, 1)))

# ---------------------------------------------------------------- products
op("mm", "xz", None, "matmul", flops=lambda s: 2.0 * s**3)
op(
    "bmm",
    "xz",
    lambda T, x, z: T.bmm(x.unsqueeze(0), z.unsqueeze(0)),
    lambda xp, x, z: xp.matmul(x[None], z[None]),
    flops=lambda s: 2.0 * s**3,
)
op("mv", "xr", None, "matmul", flops=lambda s: 2.0 * s**2)
op(
    "dot",
    "xz",
    lambda T, x, z: T.dot(x.reshape(-1), z.reshape(-1)),
    lambda xp, x, z: xp.dot(x.reshape(-1), z.reshape(-1)),
    flops=lambda s: 2.0 * s**2,
)
op("addmm", "rxz", None, lambda xp, r, x, z: r + xp.matmul(x, z), flops=lambda s: 2.0 * s**3)
op(
    "linear",
    "xzr",
    partial(_functional, "linear"),
    lambda xp, x, w, r: xp.matmul(x, w.T) + r,
    flops=lambda s: 2.0 * s**3,
)


def _convolution(T: Any, x: Any, weight: Any) -> Any:
    # As many channels as there are weights for: four filters of 3x3 from a side of six on.
    size = 3 if weight.shape[0] > 2 else 1
    filters = min(weight.numel() // size**2, 4)
    kernel = weight.reshape(-1)[: filters * size**2].reshape(filters, 1, size, size)
    return T.nn.functional.conv2d(x[None, None], kernel, padding=size // 2)


op(
    "convolution",
    "xz",
    _convolution,
    flops=lambda s: 4 * 9 * 2.0 * s**2,
)

for _dims in (1, 2, 3):
    op(
        f"max_pool{_dims}d",
        "x",
        # The windows are two wide; more dims are of size one.
        lambda T, x, d=_dims: getattr(T.nn.functional, f"max_pool{d}d")(
            x[None] if d == 1 else x[None, None] if d == 2 else x[None, None, None],
            (1, 2, 2) if d == 3 else 2,
        ),
    )

op(
    "attention",
    "xzu",
    lambda T, q, k, v: T.nn.functional.scaled_dot_product_attention(
        *(x[None, None] for x in (q, k, v))
    ),
    flops=lambda s: 4.0 * s**3,
)

# ---------------------------------------------------------------- along dims
op("sum", "x", None, "sum")
for _name in "mean prod amax amin argmax argmin var std".split():
    op(
        _name,
        "p" if _name == "prod" else "x",
        lambda T, x, n=_name: getattr(T, n)(x, -1),
        lambda xp, x, n=_name: getattr(xp, n)(
            x, -1, **({"ddof": 1} if n in ("var", "std") else {})
        ),
    )
op("max", "x", None, "max")
op("min", "x", None, "min")
op("max_dim", "x", lambda T, x: T.max(x, 1)[0], lambda xp, x: xp.max(x, 1))
op("min_dim", "x", lambda T, x: T.min(x, 1)[0], lambda xp, x: xp.min(x, 1))
op("all", "b", lambda T, x: T.all(x, 1), lambda xp, x: xp.all(x, 1))
op("any", "b", lambda T, x: T.any(x, 1), lambda xp, x: xp.any(x, 1))
op("norm", "x", lambda T, x: x.norm(dim=-1), lambda xp, x: xp.sqrt(xp.sum(x * x, -1)))
op("cumsum", "x", lambda T, x: T.cumsum(x, -1), lambda xp, x: xp.cumsum(x, -1))

for _name in "cummax cummin median nanmedian mode sort".split():
    op(_name, "x", lambda T, x, n=_name: getattr(T, n)(x, -1)[0])
op("kthvalue", "x", lambda T, x: T.kthvalue(x, x.shape[-1] // 2 + 1, -1)[0])
op("topk", "x", lambda T, x: T.topk(x, x.shape[-1] // 2 + 1, -1)[0])


def _shifted(xp: Any, x: Any) -> Any:
    return x - xp.max(x, -1, keepdims=True)


def _softmax(xp: Any, x: Any) -> Any:
    e = xp.exp(_shifted(xp, x))
    return e / xp.sum(e, -1, keepdims=True)


def _log_softmax(xp: Any, x: Any) -> Any:
    d = _shifted(xp, x)
    return d - xp.log(xp.sum(xp.exp(d), -1, keepdims=True))


def logsumexp(xp: Any, x: Any, dim: int = -1) -> Any:
    """The logarithm of sums of exponentials, in either kind of namespace."""
    if hasattr(xp, "logsumexp"):
        return xp.logsumexp(x, dim)
    greatest = xp.max(x, dim, keepdims=True)
    return xp.log(xp.sum(xp.exp(x - greatest), dim)) + xp.squeeze(greatest, dim)


op("logsumexp", "x", logsumexp, logsumexp)
op("softmax", "x", lambda T, x: T.softmax(x, -1), _softmax)
op("log_softmax", "x", lambda T, x: T.log_softmax(x, -1), _log_softmax)

# ---------------------------------------------------------------- joining, ordering, picking
op("cat", "xz", lambda T, x, z: T.cat((x, z)), lambda xp, x, z: xp.concatenate((x, z)))
op("stack", "xz", lambda T, x, z: T.stack((x, z)), lambda xp, x, z: xp.stack((x, z)))
op("flip", "x", lambda T, x: T.flip(x, (0,)), lambda xp, x: xp.flip(x, 0))
op("roll", "x", lambda T, x: T.roll(x, 1, 0), lambda xp, x: xp.roll(x, 1, 0))
op("repeat", "x", lambda T, x: x.repeat(2, 1), lambda xp, x: xp.tile(x, (2, 1)))
op("tril", "x", None, "tril")
op("triu", "x", None, "triu")
op("nonzero", "n")
op("count_nonzero", "n", arrays="count_nonzero")
op("gather", "xj", lambda T, x, i: T.gather(x, 1, i))
op("scatter", "xjz", lambda T, x, i, z: T.scatter(x, 1, i, z))
op("scatter_value", "xj", lambda T, x, i: T.scatter(x, 1, i, 1.5))
op("scatter_add", "xjz", lambda T, x, i, z: T.scatter_add(x, 1, i, z))
op("index_select", "xk", lambda T, x, k: T.index_select(x, 0, k), lambda xp, x, k: x[k])
op("take", "xk", None, lambda xp, x, k: x.reshape(-1)[k])
op("masked_select", "xb")
op("embedding", "kx", lambda T, k, x: T.embedding(x, k), lambda xp, k, x: x[k])
op("index_add", "xkz", lambda T, x, k, z: T.index_add(x, 0, k, z))
op("index_fill", "xk", lambda T, x, k: T.index_fill(x, 0, k, 1.5))
op("index_copy", "xkz", lambda T, x, k, z: T.index_copy(x, 0, k, z))
op("index", "xk", lambda T, x, k: x[k], lambda xp, x, k: x[k])
op("index_put", "xkz", lambda T, x, k, z: T.index_put(x, (k,), z))


# ---------------------------------------------------------------- losses and normalization
def _ctc_loss(T: Any, x: Any) -> Any:
    """One sequence, a class a column, whose labels are every other step's."""
    steps, classes = x.shape
    labels = T.tensor(np.arange(max(steps // 2, 1)) % max(classes - 1, 1) + min(classes - 1, 1))
    logs = T.log_softmax(x, -1)[:, None]
    lengths = (T.tensor([steps]), T.tensor([len(labels)]))
    return T.nn.functional.ctc_loss(logs, labels[None], *lengths, zero_infinity=True)


op("nll_loss", "xc", partial(_functional, "nll_loss"))
op("nll_loss_nd", "xc", lambda T, x, c: T.nn.functional.nll_loss(x[:, :, None], c[:, None]))
op("ctc_loss", "x", _ctc_loss)
op(
    "mse_loss",
    "xz",
    partial(_functional, "mse_loss"),
    lambda xp, x, z: xp.mean((x - z) ** 2),
)
op("l1_loss", "xz", partial(_functional, "l1_loss"), lambda xp, x, z: xp.mean(xp.abs(x - z)))
for _name in "smooth_l1_loss huber_loss".split():
    op(_name, "xz", partial(_functional, _name))
op("binary_cross_entropy", "fF", partial(_functional, "binary_cross_entropy"))
op(
    "binary_cross_entropy_with_logits",
    "xF",
    partial(_functional, "binary_cross_entropy_with_logits"),
)
op("native_layer_norm", "xrr", lambda T, x, w, b: T.nn.functional.layer_norm(x, w.shape, w, b))
op("fused_rms_norm", "xr", lambda T, x, w: T.nn.functional.rms_norm(x, w.shape, w))
op(
    "native_batch_norm",
    "xrr",
    lambda T, x, w, b: T.nn.functional.batch_norm(x, None, None, w, b, training=True),
)
op("native_group_norm", "x", lambda T, x: T.nn.functional.group_norm(x[None], 1))


# ---------------------------------------------------------------- windows, recurrent layers
op("band", "x", lambda T, x: T.nn.functional.avg_pool2d(x[None, None], 2, ceil_mode=True))
op("remap", "x", lambda T, x: T.nn.functional.pad(x[None], (1, 1), mode="replicate"))


def _recurrent(name: str, gates: int, T: Any, x: Any, w: Any, v: Any) -> Any:
    """A layer over the rows, which are one sequence; as many units as an LSTM has weights for."""
    side = x.shape[1]
    units = side // 4
    if not units:
        units, w, v = 1, w[:1].expand(gates, side), v[:1, :1].expand(gates, 1)
    weights = {"weight_ih_l0": w[: gates * units], "weight_hh_l0": v[: gates * units, :units]}
    layer = _layer(T, name, side, units, x.dtype)
    return T.func.functional_call(layer, weights, (x[:, None],))[0]


@cache
def _layer(T: Any, name: str, inputs: int, units: int, dtype: Any) -> Any:
    kind, _, nonlinearity = name.partition("_")
    options = {"nonlinearity": nonlinearity} if nonlinearity else {}
    return getattr(T.nn, kind.upper())(inputs, units, bias=False, dtype=dtype, **options)


for _name, _gates in {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}.items():
    op(_name, "xww", partial(_recurrent, _name, _gates))


for _op in OPS:
    # An op without a line is listed, not forgotten.
    if _op.name not in OPERATIONS:
        NOT_CALLED.setdefault(_op.name, "has no line in jitgrad/bench/operations.py")


# ---------------------------------------------------------------- from a line to cases
FLOATS = "xzuvpfFgrw"


def operand(kind: str, side: int, dtype: str, seed: int) -> Array:
    """The data of an operand; floating kinds are small positive integers in an integer dtype."""
    rng = np.random.default_rng(seed)
    shape = (side,) if kind in "rck" else (side, side)
    if kind == "b":
        return rng.random(shape) < 0.5
    if kind in "jc":
        return rng.integers(0, side, shape)
    if kind == "k":
        return rng.permutation(side)
    if kind == "n" or np.dtype(dtype).kind not in "f":
        return rng.integers(1, 6, shape).astype("int64" if kind == "n" else dtype)
    if kind == "p":
        return np.asarray(rng.uniform(0.5, 2.0, shape), dtype)
    if kind == "g":
        return np.asarray(rng.uniform(1.1, 3.0, shape), dtype)
    if kind in "fF":
        return np.asarray(rng.uniform(0.05, 0.95, shape), dtype)
    return np.asarray(rng.normal(scale=1 / side if kind == "w" else 1.0, size=shape), dtype)


def operands(line: Operation, side: int, dtype: str) -> list[Array]:
    """All operands of a line."""
    return [operand(kind, side, dtype, seed) for seed, kind in enumerate(line.kinds)]


#: Ops that refuse integers with other errors than that of an op that is not implemented for a dtype.
_FLOATS_ONLY = frozenset(
    "lstm gru rnn_tanh rnn_relu norm std var mean attention pow_inverse add_scaled sub_scaled".split()
)


def _refused(*_: Any) -> Any:
    raise CannotDo("it takes floating point only")


def case(name: str, part: str, elements: int, dtype: str, layout: str) -> Case:
    """An op's case; its operands have about so many elements, in a square."""
    line = OPERATIONS[name]
    side = max(isqrt(elements), 1)
    floating = np.dtype(dtype).kind == "f"
    square = tuple(i for i, kind in enumerate(line.kinds) if kind not in "rck")
    # F is a target between 0 and 1.
    wanted = tuple(i for i, k in enumerate(line.kinds) if k in FLOATS and k != "F" and floating)

    def data() -> list[Array]:
        found = operands(line, side, dtype)
        if layout == "broadcast":
            for i in square:
                found[i] = np.repeat(found[i][:1], side, axis=0)
        return found

    refused = name in _FLOATS_ONLY and not floating
    program = Program(
        _refused if refused else line.tensors,
        _refused if refused else line.arrays,
        data,
        wanted,
        part,
        layout,
        square,
        compared=line.compared,
        by_hand=by_hand.OPS.get(name) if floating else None,
    )
    group = f"{name}:{part}:{dtype}:{layout}"
    return Case(
        f"{group}:{elements}",
        f"{name}, {part}, {dtype}, {layout}, {side}x{side}",
        program.eager,
        program=program,
        # Half a unit in the last place, some hundred times; integers agree.
        atol={"float16": 5e-3, "float64": 1e-12}.get(dtype, 2e-6),
        rtol={"float16": 1e-2, "float64": 1e-9}.get(dtype, 1e-4),
        nbytes=_traffic(line, part, side, dtype, len(wanted)),
        flops=None if line.flops is None else line.flops(side) * _PART_FLOPS[part],
        size=elements,
        line=group,
        dtype=dtype,
    )


#: A product's gradients are two products.
_PART_FLOPS = {"forward": 1.0, "backward": 2.0, "both": 3.0}


#: Ops whose result is a number, or a number a row.
_REDUCTIONS = frozenset(
    "sum mean prod amax amin argmax argmin var std max min max_dim min_dim all any norm logsumexp median"
    " nanmedian mode kthvalue dot mv mse_loss l1_loss smooth_l1_loss huber_loss nll_loss nll_loss_nd"
    " ctc_loss binary_cross_entropy binary_cross_entropy_with_logits select count_nonzero unbind"
    " split_with_sizes".split()
)


def is_reduction(name: str) -> bool:
    """Whether an op's result is a number, or a number a row."""
    return name in _REDUCTIONS


def _traffic(line: Operation, part: str, side: int, dtype: str, wanted: int) -> float:
    """The least bytes: operands read, the result written; its cotangent read, the gradients written."""
    each = float(side * side * np.dtype(dtype).itemsize)
    full = sum(kind not in "rck" for kind in line.kinds)
    result = 0 if is_reduction(line.name) else 1
    forward = each * (full + result)
    backward = each * (result + min(wanted, full))
    return {"forward": forward, "backward": backward, "both": forward + backward}[part]


#: Ops whose results have no gradient whatever the operands are.
_NO_GRADIENT = frozenset(
    "isnan isinf isfinite logical_not signbit eq ne lt le gt ge argmax argmin all any nonzero count_nonzero"
    " logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift"
    " bitwise_right_shift to_bool to_uint8 to_int8 to_int16 to_int32 to_int64 detach pow_int".split()
)


def differentiable(name: str, dtype: str) -> bool:
    """Whether there is a backward part to be measured."""
    floating = np.dtype(dtype).kind == "f" and any(k in FLOATS for k in OPERATIONS[name].kinds)
    return floating and name not in _NO_GRADIENT


def cases(
    names: list[str],
    parts: list[str] | None,
    sizes: list[int],
    dtypes: list[str],
    layouts: list[str],
) -> Iterator[Case]:
    """Every combination, sizes last; without `parts` it is both, or forward where there is no gradient."""
    for name in names:
        for dtype in dtypes:
            usual = ["both" if differentiable(name, dtype) else "forward"]
            for part in parts or usual:
                for layout in layouts:
                    for elements in sizes:
                        yield case(name, part, elements, dtype, layout)
