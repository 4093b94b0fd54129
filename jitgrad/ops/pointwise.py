"""Pointwise ops: each one's formula and its gradients, once, for every use.

``x z u v`` are the operands, ``y`` the result, ``g`` the cotangent (`jitgrad.kernels.formula` says what
a formula may hold).  What a gradient reads is what the graph keeps alive for it, so a formula in terms of
``y`` (exp, tanh) lets the input's memory go.
"""

from __future__ import annotations

from jitgrad.arena import columns as col
from jitgrad.kernels import formula
from jitgrad.ops.table import BY_NAME, OPERANDS, POINTWISE, Op, register

_BITS = {
    "no_bool": col.OB_NO_BOOL,
    "no_bool_operand": col.OB_NO_BOOL | col.OB_NO_BOOL_OPERAND,
    "no_float": col.OB_NO_FLOAT,
    "no_int": col.OB_NO_INT,
    "copies": col.OB_COPIES,
    "rounds": col.OB_ROUNDS,
}
#: Ops that PyTorch hands a number to as a tensor of the other operand's dtype.
_ROUNDING = frozenset(
    "add sub remainder fmod pow pow_tensor atan2 hypot maximum minimum eq ne lt le gt ge".split()
)


def pointwise(
    name: str,
    node: str,
    y: str,
    *vjps: str | None,
    rule: str = "common",
    masks: str = "",
    only: str = "",
    result: int = -1,
) -> Op:
    """Add a pointwise op: the formula of its result and, per operand, of its gradient (None: has none).

    Parameters
    ----------
    name, node : str
        Name in the namespace; PyTorch's name of the graph node, without "Backward0".
    y, *vjps : str
        Formulas.
    rule : str
        The result's dtype: "common", "float" (integers become float), "bool" or "first".
    masks : str
        Operands that are bool masks, e.g. "x" for ``where``.
    only : str
        "no_bool", "no_float", "no_int": dtypes for which it is not defined;
        "no_bool_operand": nor is it for a bool beside another dtype; "copies": it only moves elements.
    result : int
        Code of the result's dtype where no rule gives it (casts).
    """
    used = formula.names(y)
    for vjp in vjps:
        used |= formula.names(vjp) if vjp else set()
    nin = max((i + 1 for i, o in enumerate(OPERANDS) if o in used), default=1)
    nin = max(nin, len(vjps))
    if name in _ROUNDING:
        only += " rounds"
    bits = {o: 1 << i for i, o in enumerate(OPERANDS)} | {"y": col.SAVED_OUT}
    needs = tuple(
        sum(bit for o, bit in bits.items() if o in formula.names(vjp)) if vjp else 0 for vjp in vjps
    )
    return register(
        Op(
            name,
            node,
            POINTWISE,
            nin,
            y,
            vjps,
            needs,
            rule,
            masks=sum(bits[o] for o in masks),
            bits=sum(_BITS[b] for b in only.split())
            | (0 if "x" in formula.names(y) else col.OB_FILLS),
            aliases=sum(1 << i for i, vjp in enumerate(vjps) if vjp == "g"),
            result=result,
        )
    )


# ---------------------------------------------------------------- copies
pointwise("clone", "Clone", "x", "g", only="copies")
# In place only: the result is z in the dtype of x, whose old value gets no gradient.
pointwise("copy", "CopyBackwards", "z", "0", "g", rule="first", only="copies")

# ---------------------------------------------------------------- arithmetic
pointwise("add", "Add", "x + z", "g", "g")
pointwise("add_scaled", "Add", "x + u * z", "g", "g * u")
pointwise("sub", "Sub", "x - z", "g", "-g", only="no_bool_operand")
pointwise("sub_scaled", "Sub", "x - u * z", "g", "-g * u", only="no_bool_operand")
pointwise("mul", "Mul", "x * z", "g * z", "g * x")
pointwise("div", "Div", "x / z", "g / z", "-g * ((x / z) / z)", rule="float")
pointwise("div_floor", "Div", "floordiv(x, z)", "0", "0", only="no_bool")
pointwise("div_trunc", "Div", "truncdiv(x, z)", "0", "0", only="no_bool")
pointwise("remainder", "Remainder", "remainder(x, z)", "g", "-g * floordiv(x, z)", only="no_bool")
pointwise("fmod", "Fmod", "fmod(x, z)", "g", "-g * truncdiv(x, z)", only="no_bool")
pointwise("neg", "Neg", "-x", "-g", only="no_bool")
pointwise("reciprocal", "Reciprocal", "1 / x", "-g * y * y", rule="float")
pointwise("square", "Pow", "x * x", "g * (2 * x)")
pointwise("cube", "Pow", "x * x * x", "g * (3 * (x * x))")
pointwise(
    "pow",
    "Pow",
    "pow(x, z)",
    # Exponent 0 has slope 0 everywhere, also at base 0; base 0 has slope 0 in z for z >= 0.
    "where(z == 0, 0, g * (z * pow(x, z - 1)))",
    "g * where((x == 0) & (z >= 0), 0, y * log(x))",
    only="no_int",
)
pointwise("pow_int", "Pow", "ipow(x, z)", only="no_float no_bool")
# The same with a tensor as exponent, which PyTorch counts as another node.
pointwise("pow_tensor", "Pow1", BY_NAME["pow"].forward, *BY_NAME["pow"].vjps, only="no_int")
pointwise("pow_half", "Pow", "sqrt(x)", "g * (0.5 / y)")
pointwise("pow_inverse", "Pow", "1 / x", "-g * (1 / (x * x))")
pointwise("sqrt", "Sqrt", "sqrt(x)", "g / (2 * y)", rule="float")
pointwise("rsqrt", "Rsqrt", "1 / sqrt(x)", "-0.5 * g * (y * y * y)", rule="float")
pointwise("abs", "Abs", "abs(x)", "g * sign(x)", only="no_bool")
pointwise("sign", "Sign", "sign(x)", "0")
pointwise(
    "lerp",
    "Lerp",
    "where(abs(u) < 0.5, x + u * (z - x), z - (z - x) * (1 - u))",
    "g * (1 - u)",
    "g * u",
    "g * (z - x)",
    only="no_int",
)
pointwise("addcmul", "Addcmul", "x + v * z * u", "g", "g * u * v", "g * z * v")
pointwise(
    "addcdiv",
    "Addcdiv",
    "x + v * (z / u)",
    "g",
    "g * v / u",
    "-g * v * (z / (u * u))",
    only="no_int",
)

# ---------------------------------------------------------------- exponentials and logarithms
pointwise("exp", "Exp", "exp(x)", "g * y", rule="float")
pointwise("exp2", "Exp2", "exp2(x)", "g * y * 0.6931471805599453", rule="float")
pointwise("expm1", "Expm1", "expm1(x)", "g * (y + 1)", rule="float")
pointwise("log", "Log", "log(x)", "g / x", rule="float")
pointwise("log2", "Log2", "log2(x)", "g / (x * 0.6931471805599453)", rule="float")
pointwise("log10", "Log10", "log10(x)", "g / (x * 2.302585092994046)", rule="float")
pointwise("log1p", "Log1P", "log1p(x)", "g / (x + 1)", rule="float")

pointwise(
    "logaddexp",
    "Logaddexp",
    "where(x == z, x + 0.6931471805599453, maximum(x, z) + log1p(exp(-abs(x - z))))",
    "g / (1 + exp(z - x))",
    "g / (1 + exp(x - z))",
    only="no_int",
)
pointwise(
    "logaddexp2",
    "Logaddexp2",
    "where(x == z, x + 1, maximum(x, z) + 1.4426950408889634 * log1p(exp2(-abs(x - z))))",
    "g / (1 + exp2(z - x))",
    "g / (1 + exp2(x - z))",
    only="no_int",
)
pointwise(
    "xlogy",
    "Xlogy",
    "where((x == 0) & (z == z), 0, x * log(z))",
    "where(((x == 0) & (z <= 0)) | ((g == 0) & (z == z)), 0, g * log(z))",
    "g * x / z",
    rule="float",
)
# z is how far x is held from 0 and 1, or negative if it is not.
pointwise(
    "logit",
    "Logit",
    "t = where(z < 0, x, minimum(maximum(x, z), 1 - z)); log(t / (1 - t))",
    "s = g / (x * (1 - x)); where(z < 0, where((x < 0) | (x > 1), log(-abs(x)), s),"
    " where((x < z) | (x > 1 - z), 0, s))",
    None,
    rule="float",
)

# ---------------------------------------------------------------- trigonometric and hyperbolic
pointwise("sin", "Sin", "sin(x)", "g * cos(x)", rule="float")
pointwise("cos", "Cos", "cos(x)", "-g * sin(x)", rule="float")
pointwise("tan", "Tan", "tan(x)", "g * (1 + y * y)", rule="float")
pointwise("asin", "Asin", "asin(x)", "g / sqrt(1 - x * x)", rule="float")
pointwise("acos", "Acos", "acos(x)", "-g / sqrt(1 - x * x)", rule="float")
pointwise("atan", "Atan", "atan(x)", "g / (x * x + 1)", rule="float")
pointwise("sinh", "Sinh", "sinh(x)", "g * cosh(x)", rule="float")
pointwise("cosh", "Cosh", "cosh(x)", "g * sinh(x)", rule="float")
pointwise("tanh", "Tanh", "tanh(x)", "g * (1 - y * y)", rule="float")

pointwise(
    "asinh",
    "Asinh",
    "a = abs(x); copysign(where(a > 1e9, log(a) + 0.6931471805599453,"
    " log1p(a + a * a / (1 + sqrt(a * a + 1)))), x)",
    "g / sqrt(x * x + 1)",
    rule="float",
)
pointwise(
    "acosh",
    "Acosh",
    "t = x - 1; where(x > 1e9, log(x) + 0.6931471805599453, log1p(t + sqrt(t) * sqrt(t + 2)))",
    "g / sqrt(x * x - 1)",
    rule="float",
)
pointwise(
    "atanh",
    "Atanh",
    "a = abs(x); copysign(0.5 * log1p(2 * a / (1 - a)), x)",
    "g / (1 - x * x)",
    rule="float",
)
# The angle is that of the octant where the quotient is at most 1, turned and mirrored.
pointwise(
    "atan2",
    "Atan2",
    "a = abs(x); b = abs(z); p = maximum(a, b); q = minimum(a, b);"
    " t = atan(where(p == 0, 0, where(p == q, 1, q / p)));"
    " t = where(a > b, 1.5707963267948966 - t, t);"
    " copysign(where(copysign(1, z) < 0, 3.141592653589793 - t, t), x)",
    "where((x == 0) & (z == 0), 0, g * z * (1 / (x * x + z * z)))",
    "where((x == 0) & (z == 0), 0, -g * x * (1 / (x * x + z * z)))",
    rule="float",
)
pointwise(
    "hypot",
    "Hypot",
    "a = abs(x); b = abs(z); p = maximum(a, b); q = where(p == 0, 0, minimum(a, b) / p);"
    " where(isinf(x), a, where(isinf(z), b, p * sqrt(1 + q * q)))",
    "g * (x / y)",
    "g * (z / y)",
    only="no_int",
)
pointwise(
    "sinc",
    "Sinc",
    "t = 3.141592653589793 * x; where(x == 0, 1, sin(t) / t)",
    "t = 3.141592653589793 * x;"
    " where(x * x == 0, 0, g * ((t * cos(t) - sin(t)) / (3.141592653589793 * (x * x))))",
    rule="float",
)
pointwise(
    "deg2rad", "Deg2Rad", "x * 0.017453292519943295", "g * 0.017453292519943295", rule="float"
)
pointwise("rad2deg", "Rad2Deg", "x * 57.29577951308232", "g * 57.29577951308232", rule="float")

# ---------------------------------------------------------------- activations
pointwise("sigmoid", "Sigmoid", "sigmoid(x)", "g * (1 - y) * y", rule="float")
# y <= 0 is False for a NaN: its gradient passes, as PyTorch's threshold_backward lets it.
pointwise("relu", "Relu", "where(x <= 0, 0, x)", "where(y <= 0, 0, g)", only="no_bool")
pointwise("erf", "Erf", "erf(x)", "g * 1.1283791670955126 * exp(-x * x)", rule="float")
pointwise("erfc", "Erfc", "erfc(x)", "-g * 1.1283791670955126 * exp(-x * x)", rule="float")

# ---------------------------------------------------------------- rounding: flat almost everywhere
pointwise("ceil", "Ceil", "ceil(x)", "0", only="no_bool")
pointwise("floor", "Floor", "floor(x)", "0", only="no_bool")
pointwise("round", "Round", "round(x)", "0", only="no_bool")
pointwise("trunc", "Trunc", "trunc(x)", "0", only="no_bool")

pointwise("frac", "Frac", "x - trunc(x)", "g", only="no_int")

# ---------------------------------------------------------------- selection
# PyTorch counts a clamp by numbers, one by tensors, and clamp_min, clamp_max as different nodes.
for _name, _node in {"clamp": "Clamp1", "clamp_tensor": "Clamp"}.items():
    pointwise(
        _name,
        _node,
        "minimum(maximum(x, z), u)",
        "where((x >= z) & (x <= u), g, 0)",
        "where((x < z) & (z < u), g, 0)",
        "where((x > u) | (u < z), g, 0)",
        only="no_bool",
    )
for _name, _node in {"clamp_low": "Clamp1", "clamp_min": "ClampMin"}.items():
    pointwise(
        _name,
        _node,
        "maximum(x, z)",
        "where(x >= z, g, 0)",
        "where(x < z, g, 0)",
        only="no_bool",
    )
for _name, _node in {"clamp_high": "Clamp1", "clamp_max": "ClampMax"}.items():
    pointwise(
        _name,
        _node,
        "minimum(x, z)",
        "where(x <= z, g, 0)",
        "where(x > z, g, 0)",
        only="no_bool",
    )
# A tie gives half to each; beside a NaN both get all of it, as in PyTorch.
pointwise(
    "maximum",
    "Maximum",
    "maximum(x, z)",
    "where(x == z, g / 2, where(x < z, 0, g))",
    "where(x == z, g / 2, where(x > z, 0, g))",
)
pointwise(
    "minimum",
    "Minimum",
    "minimum(x, z)",
    "where(x == z, g / 2, where(x > z, 0, g))",
    "where(x == z, g / 2, where(x < z, 0, g))",
)
pointwise("where", "Where", "where(x, z, u)", None, "where(x, g, 0)", "where(x, 0, g)", masks="x")
pointwise(
    "masked_fill",
    "MaskedFill",
    "where(z, u, x)",
    "where(z, 0, g)",
    None,
    "where(z, g, 0)",
    rule="first",
    masks="z",
)

pointwise(
    "fmax",
    "Fmax",
    "where((x >= z) | isnan(z), x, z)",
    "where((x >= z) | isnan(z), g, 0)",
    "where((x >= z) | isnan(z), 0, g)",
)
pointwise(
    "fmin",
    "Fmin",
    "where((x <= z) | isnan(z), x, z)",
    "where((x <= z) | isnan(z), g, 0)",
    "where((x <= z) | isnan(z), 0, g)",
)
pointwise(
    "nan_to_num",
    "NanToNum",
    "where(isnan(x), z, where(isinf(x), where(x > 0, u, v), x))",
    "where(isnan(x) | isinf(x), 0, g)",
    None,
    None,
    None,
    only="no_int",
)
pointwise(
    "copysign", "Copysign", "copysign(x, z)", "where(x == 0, 0, g * (y / x))", "0", rule="float"
)
pointwise("sgn", "Sgn", "sign(x)", "0")
pointwise("heaviside", "Heaviside", "where(x == 0, z, where(x > 0, 1, 0))", only="no_bool")
pointwise("signbit", "signbit", "copysign(1, x) < 0", rule="bool", only="no_int")

# z is uniform in [0, 1), u the probability to keep an element; what is dropped is still NaN if x is.
DROPOUT = pointwise(
    "dropout",
    "Mul",
    "x * where(z < u, 1 / u, 0)",
    "g * where(z < u, 1 / u, 0)",
    only="no_int",
)

# ---------------------------------------------------------------- comparisons and logic
for _name, _formula in {
    "eq": "x == z",
    "ne": "x != z",
    "lt": "x < z",
    "le": "x <= z",
    "gt": "x > z",
    "ge": "x >= z",
    "logical_and": "(x != 0) & (z != 0)",
    "logical_or": "(x != 0) | (z != 0)",
    "logical_xor": "(x != 0) ^ (z != 0)",
    "logical_not": "x == 0",
    "isnan": "isnan(x)",
    "isinf": "isinf(x)",
    "isfinite": "isfinite(x)",
}.items():
    pointwise(_name, _name, _formula, rule="bool")
for _name, _formula in {
    "bitwise_and": "x & z",
    "bitwise_or": "x | z",
    "bitwise_xor": "x ^ z",
}.items():
    pointwise(_name, _name, _formula, only="no_float")
pointwise("bitwise_not", "bitwise_not", "~x", only="no_float no_bool")
pointwise("bitwise_left_shift", "bitwise_left_shift", "lshift(x, z)", only="no_float no_bool")
pointwise("bitwise_right_shift", "bitwise_right_shift", "rshift(x, z)", only="no_float no_bool")
