"""Formulas in the Python that is compiled for the GPU: the same text as the CPU's kernels.

What `jitgrad.kernels.scalars` writes as functions for LLVM is here a formula itself, put in the place of
the call, because numba.cuda compiles a function of the device only when a GPU is there.  Every number is
cast to the kernel's dtype: a GPU computes float64 many times slower than float32.
"""

from __future__ import annotations

import ast
import copy
from typing import Any

from jitgrad import dtypes
from jitgrad.cuda import target
from jitgrad.kernels import formula

#: Functions as formulas of their arguments ``a`` and ``b``, for floats.  A NaN in either of two is their
#: larger and their smaller one.
_FLOAT = {
    "sign": "where(a > 0, 1, where(a < 0, -1, 0))",
    "sigmoid": "1 / (1 + exp(-a))",
    "isnan": "a != a",
    "isinf": "(a == a) & (a - a != 0)",
    "isfinite": "a - a == 0",
    "minimum": "where((a < b) | (a != a), a, b)",
    "maximum": "where((a > b) | (a != a), a, b)",
    "truncdiv": "trunc(a / b)",
    "remainder": "m = fmod(a, b); where((m != 0) & ((b < 0) != (m < 0)), m + b, m)",
    "floordiv": (
        "m = fmod(a, b); q = (a - m) / b; q = where((m != 0) & ((b < 0) != (m < 0)), q - 1, q);"
        " f = floor(q); f = where(q - f > 0.5, f + 1, f);"
        " where(b == 0, a / b, where(q != 0, f, copysign(0, a / b)))"
    ),
}
_INTEGER = {
    "sign": "where(a > 0, 1, where(a < 0, -1, 0))",
    "isnan": "False",
    "isinf": "False",
    "isfinite": "True",
    "minimum": "where(a < b, a, b)",
    "maximum": "where(a > b, a, b)",
    "floor": "a",
    "ceil": "a",
    "trunc": "a",
    "round": "a",
    # Division by zero gives anything, as PyTorch's does on a GPU.
    "floordiv": "d = where(b == 0, 1, b); where(d == -1, a * -1, a // d)",
    "remainder": "d = where((b == 0) | (b == -1), 1, b); a - (a // d) * d",
    "truncdiv": (
        "d = where(b == 0, 1, b); q = where(d == -1, a * -1, a // d);"
        " where((q < 0) & (q * d != a), q + 1, q)"
    ),
    "fmod": (
        "d = where((b == 0) | (b == -1), 1, b); q = a // d; q = where((q < 0) & (q * d != a), q + 1, q);"
        " a - q * d"
    ),
    # A shift that is negative or too far leaves nothing but the sign.
    "lshift": "where((b >= 0) & (b < width), (a * 1) << b, 0)",
    "rshift": "(a * 1) >> where((b >= 0) & (b < width), b, 63)",
}
#: The one function that is a loop: square and multiply; what is left of ``1 / a**-b`` is an integer too.
_POWER = """
r = a * 0 + 1
s = a * 1
e = b * 1
while e > 0:
    r = where(e & 1 != 0, r * s, r)
    s = s * s
    e = e >> 1
r = where(b >= 0, r, where(a == 1, 1, where(a != -1, 0, where(b & 1 == 0, 1, -1))))
"""
#: libdevice's and NumPy's names of the others.
_LIBRARY = {
    "abs": ("fabs", "abs"),
    "round": ("rint", "rint"),
    "asin": ("asin", "arcsin"),
    "acos": ("acos", "arccos"),
    "atan": ("atan", "arctan"),
    "pow": ("pow", "power"),
}
_PLAIN = (
    "sqrt exp expm1 exp2 log log1p log2 log10 sin cos tan sinh cosh tanh floor ceil trunc copysign fmod"
).split()


class _Expansion(ast.NodeTransformer):
    """Replaces calls by formulas and ``where`` by a conditional; hoists what is used more than once."""

    def __init__(self, table: dict[str, str], first: list[int]) -> None:
        self.table = table
        self.first = first
        self.before: list[ast.stmt] = []

    def _temporary(self, value: ast.expr) -> ast.Name:
        if isinstance(value, ast.Name):
            return value
        self.first[0] += 1
        name = f"_t{self.first[0]}"
        self.before.append(ast.Assign([ast.Name(name, ast.Store())], value))
        return ast.Name(name, ast.Load())

    def visit_Call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        args = [self.visit(a) for a in node.args]
        name = node.func.id
        if name == "where":
            return ast.IfExp(args[0], args[1], args[2])
        if name == "ipow":
            return self._power(args)
        if name not in self.table:
            return ast.Call(node.func, args, [])
        statements, value = formula.parse(self.table[name])
        bound: dict[str, ast.Name] = dict(
            zip("ab", (self._temporary(a) for a in args), strict=False)
        )
        for statement in statements:
            assert isinstance(statement, ast.Assign)
            found = self.visit(_renamed(statement.value, bound))
            assert isinstance(statement.targets[0], ast.Name)
            # A new name each time, also for what is assigned twice.
            self.first[0] += 1
            fresh = f"_t{self.first[0]}"
            self.before.append(ast.Assign([ast.Name(fresh, ast.Store())], found))
            bound[statement.targets[0].id] = ast.Name(fresh, ast.Load())
        return self.visit(_renamed(value, bound))

    def _power(self, args: list[ast.expr]) -> ast.expr:
        names = dict(zip("ab", (self._temporary(a) for a in args), strict=True))
        for name in "rse":
            self.first[0] += 1
            names[name] = ast.Name(f"_t{self.first[0]}", ast.Load())
        for statement in ast.parse(_POWER).body:
            renamed = _Renaming(names).visit(statement)
            self.before.append(self.visit(renamed))
        return names["r"]


class _Renaming(ast.NodeTransformer):
    def __init__(self, names: dict[str, ast.Name]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        found = self.names.get(node.id)
        return node if found is None else ast.Name(found.id, node.ctx)


def _renamed(tree: ast.expr, names: dict[str, ast.Name]) -> ast.expr:
    found = _Renaming(names).visit(copy.deepcopy(tree))
    assert isinstance(found, ast.expr)
    return found


class _TypedNumbers(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            return node
        return ast.Call(ast.Name("_T", ast.Load()), [node], [])


def _lines(statements: list[ast.stmt], dtype: int) -> list[str]:
    table = _FLOAT
    if dtype < dtypes.FIRST_FLOAT:
        width = str(8 * dtypes.ALL[dtype].itemsize)
        table = {name: text.replace("width", width) for name, text in _INTEGER.items()}
    counter = [0]
    done: list[str] = []
    for statement in statements:
        expansion = _Expansion(table, counter)
        found = expansion.visit(statement)
        for line in [*expansion.before, found]:
            tree = ast.fix_missing_locations(_TypedNumbers().visit(line))
            done.append(ast.unparse(tree))
    return done


def lines(text: str, dtype: int) -> list[str]:
    """A formula as statements, of which the last assigns ``_value``."""
    statements, value = formula.parse(text)
    return _lines([*statements, ast.Assign([ast.Name("_value", ast.Store())], value)], dtype)


def rule_lines(text: str, dtype: int) -> list[str]:
    """A list of statements without a value, as an optimiser's rule has."""
    return _lines(ast.parse("; ".join(part.strip() for part in text.split(";"))).body, dtype)


def environment(dtype: int) -> dict[str, Any]:
    """The functions that such statements may call, and ``_T``, the dtype itself as a cast."""
    space: dict[str, Any] = {"_T": target.CASTS[dtype]}
    if dtype < dtypes.FIRST_FLOAT:
        return space
    if target.SIMULATED:
        return space | _numpy_functions()
    from numba.cuda import libdevice

    suffix = "f" if dtype == target.FLOAT32 else ""
    names = {name: name for name in [*_PLAIN, "erf", "erfc"]}
    names |= {name: found for name, (found, _) in _LIBRARY.items()}
    return space | {name: getattr(libdevice, found + suffix) for name, found in names.items()}


def _numpy_functions() -> dict[str, Any]:
    import numpy as np
    from scipy import special

    names = {name: name for name in _PLAIN} | {name: found for name, (_, found) in _LIBRARY.items()}
    space: dict[str, Any] = {name: getattr(np, found) for name, found in names.items()}
    return space | {"erf": special.erf, "erfc": special.erfc}
