"""From a formula to a kernel: one loop over contiguous memory.

The kernel is a C function ``int64 kernel(int64 n, int64 args)``; ``args`` points at the addresses of the
result and the operands, all contiguous, none overlapping the result (the driver sees to both).  Imported
by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.dtypes import ALL, FIRST_FLOAT, FIRST_HALF, float32
from jitgrad.kernels import formula
from jitgrad.kernels.halves import NARROWED, WIDENED
from jitgrad.kernels.lowlevel import POINTERS, TYPES, words
from jitgrad.kernels.scalars import environment, far_functions

_DIVISIONS = {"floordiv", "truncdiv", "remainder", "fmod"}


def _load(j: int, code: int, dtype: int) -> str:
    if code >= FIRST_HALF and code != dtype:
        return f"_widened{code}(_p{j}[_i])"
    return f"_p{j}[_i]" if ALL[code].name != "bool" else f"_p{j}[_i] != 0"


def kernel(
    text: str, operands: list[tuple[str, int]], dtype: int, result: int, name: str
) -> Callable[[Any, Any], Any]:
    """The loop of a formula, as a plain Python function ready to be compiled.

    Parameters
    ----------
    text : str
        The formula.
    operands : list of (str, int)
        Name and dtype code of each operand, in the order of ``args``.
    dtype : int
        Code of the dtype that the formula computes in.  A 16-bit float is only moved, as the bits it is.
    result : int
        Code of the result's dtype.
    name : str
        Shown in tracebacks and symbol names.
    """
    statements, value = formula.typed(text)
    used = formula.names(text)
    lines = [f"def {name}(_n, _args):", " _a = _words(_args)", " _out = _result(_a[0])"]
    space: dict[str, Any] = environment(dtype, used)
    space |= {"_words": words, "_result": POINTERS[result], "_R": TYPES[result]}
    for j, (_, code) in enumerate(operands):
        space[f"_pointer{j}"] = POINTERS[code]
        lines.append(f" _p{j} = _pointer{j}(_a[{j + 1}])")
    # The one way a kernel can fail: dividing an integer by zero.  Floats give inf or nan.
    checked = dtype < FIRST_FLOAT and bool(used & _DIVISIONS)
    if checked:
        lines.append(" _bad = 0")
    limit, far = far_functions(dtype, used)
    if far:
        space["_LIMIT"] = limit
        lines.append(" _far = 0")
    body = [f"{operand} = {_load(j, code, dtype)}" for j, (operand, code) in enumerate(operands)]
    space |= {f"_widened{code}": function for code, function in WIDENED.items()}
    if checked:
        body.append("_bad |= z == 0")
    body += statements
    if ALL[result].name == "bool":
        store = f"_out[_i] = _R(({value}) != 0)"
    elif result >= FIRST_HALF and result != dtype:
        space |= {"_narrowed": NARROWED[result], "_single": TYPES[float32.code]}
        store = f"_out[_i] = _narrowed(_single({value}))"
    elif dtype >= FIRST_FLOAT > result:
        # Through int64, as a C cast of an out-of-range value is undefined for the narrow types.
        space["_wide"] = TYPES[5]
        store = f"_out[_i] = _R(_wide({value}))"
    else:
        store = f"_out[_i] = _R({value})"
    lines.append(" for _i in range(_n):")
    lines += [f"  {line}" for line in body]
    if far:
        lines.append("  _far |= abs(x) > _LIMIT")
    lines.append(f"  {store}")
    if far:
        # sin and its like of huge arguments: seldom, so in a second pass, by libm.
        lines += [" if _far:", "  for _i in range(_n):"]
        lines += [f"   {line}" for line in body]
        lines.append("   if abs(x) > _LIMIT:")
        for function in far:
            store = store.replace(f"{function}(", f"_far_{function}(")
        lines.append(f"    {store}")
        space |= {f"_far_{function}": code for function, code in far.items()}
    lines.append(" return 1 if _bad else 0" if checked else " return 0")
    exec(compile("\n".join(lines), f"<formula {name}>", "exec"), space)
    made: Callable[[Any, Any], Any] = space[name]
    return made
