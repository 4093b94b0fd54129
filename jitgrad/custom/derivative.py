"""The derivative of a formula, as a formula: forward-mode dual numbers, carried out on the text.

Each local gets a companion that holds its derivative.  A function's derivative is its own gradient formula in
the op table with the argument's derivative in the place of the cotangent: it is linear in that.
"""

from __future__ import annotations

import ast
import copy

from jitgrad.custom.source import Formula
from jitgrad.kernels import formula
from jitgrad.kernels.formula import FormulaError
from jitgrad.ops.table import BY_NAME, OPERANDS

#: Functions whose rows have another name; those without a slope.
_ROWS = {"floordiv": "div_floor", "truncdiv": "div_trunc"}
_FLAT = frozenset("sign floor ceil trunc round isnan isinf isfinite floordiv truncdiv".split())

Dual = tuple[ast.expr, ast.expr | None]


class _Substitute(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return copy.deepcopy(self.values[node.id]) if node.id in self.values else node


def substituted(node: ast.expr, values: dict[str, ast.expr]) -> ast.expr:
    """An expression with others in the place of names."""
    return _Substitute(values).visit(copy.deepcopy(node))


def _name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def _times(a: ast.expr, b: ast.expr) -> ast.expr:
    if isinstance(a, ast.Constant) and a.value == 1:
        return b
    if isinstance(b, ast.Constant) and b.value == 1:
        return a
    return ast.BinOp(a, ast.Mult(), b)


def _plus(
    a: ast.expr | None, b: ast.expr | None, op: ast.operator | None = None
) -> ast.expr | None:
    if b is None:
        return a
    if a is None:
        return ast.UnaryOp(ast.USub(), b) if isinstance(op, ast.Sub) else b
    return ast.BinOp(a, op or ast.Add(), b)


class _Differentiate:
    """Derivatives with respect to one operand; what is used twice becomes a local."""

    def __init__(self, operand: str) -> None:
        self.statements: list[tuple[str, ast.expr]] = []
        self.slopes: dict[str, ast.expr | None] = dict.fromkeys(OPERANDS)
        self.slopes[operand] = ast.Constant(1)

    def local(self, value: ast.expr) -> ast.expr:
        """A local that holds a value; names and numbers stay as they are."""
        if isinstance(value, (ast.Name, ast.Constant)):
            return value
        name = f"d{len(self.statements)}"
        self.statements.append((name, value))
        return _name(name)

    def dual(self, node: ast.expr) -> Dual:
        """An expression's value, as a local where it is no name, and its derivative (None: zero)."""
        if isinstance(node, ast.Constant):
            return node, None
        if isinstance(node, ast.Name):
            return node, self.slopes.get(node.id)
        if isinstance(node, ast.UnaryOp):
            value, slope = self.dual(node.operand)
            if isinstance(node.op, ast.USub):
                return ast.UnaryOp(node.op, value), slope and ast.UnaryOp(node.op, slope)
            return ast.UnaryOp(node.op, value), None
        if isinstance(node, ast.Compare):
            left, right = self.dual(node.left)[0], self.dual(node.comparators[0])[0]
            return ast.Compare(left, node.ops, [right]), None
        if isinstance(node, ast.BinOp):
            return self._arithmetic(node)
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Name)
        return self._call(node.func.id, node.args)

    def _arithmetic(self, node: ast.BinOp) -> Dual:
        (a, da), (b, db) = self.dual(node.left), self.dual(node.right)
        value = ast.BinOp(a, node.op, b)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            return value, _plus(da, db, node.op)
        if isinstance(node.op, ast.Mult):
            a, b = self.local(a), self.local(b)
            left = da and _times(da, b)
            right = db and _times(a, db)
            return ast.BinOp(a, node.op, b), _plus(left, right)
        if isinstance(node.op, ast.Div):
            b = self.local(b)
            quotient = self.local(ast.BinOp(a, ast.Div(), b))
            left = da and ast.BinOp(da, ast.Div(), b)
            right = db and ast.BinOp(_times(quotient, db), ast.Div(), b)
            return quotient, _plus(left, right, ast.Sub())
        if da is not None or db is not None:
            raise FormulaError(f"{ast.unparse(node)!r} has no derivative")
        return value, None

    def _call(self, name: str, args: list[ast.expr]) -> Dual:
        duals = [self.dual(a) for a in args]
        if name == "where":
            (test, _), (yes, dyes), (no, dno) = duals
            test = self.local(test)
            value: ast.expr = ast.Call(_name("where"), [test, yes, no], [])
            if dyes is None and dno is None:
                return value, None
            zero: ast.expr = ast.Constant(0)
            return value, ast.Call(_name("where"), [test, dyes or zero, dno or zero], [])
        values = [self.local(v) for v, _ in duals]
        result = self.local(ast.Call(_name(name), values, []))
        if name in _FLAT or all(slope is None for _, slope in duals):
            return result, None
        op = BY_NAME.get(_ROWS.get(name, name))
        slope: ast.expr | None = None
        for i, (_, inner) in enumerate(duals):
            if inner is None:
                continue
            text = op.vjps[i] if op is not None and i < len(op.vjps) else None
            if text is None:
                raise FormulaError(f"{name}() has no derivative in argument {i}")
            statements, slope_formula = formula.parse(text)
            if statements:
                raise FormulaError(f"{name}() can't be differentiated in a formula")
            space: dict[str, ast.expr] = dict(zip(OPERANDS, values, strict=False))
            space |= {"y": result, "g": self.local(inner)}
            slope = _plus(slope, substituted(slope_formula, space))
        return result, slope


def gradient(forward: Formula, operand: str) -> str | None:
    """The gradient of a formula in one of its operands, times the cotangent ``g``; None if it is zero.

    Raises
    ------
    FormulaError
        If something in it has no derivative.

    Examples
    --------
    >>> import ast
    >>> x_squared = Formula([], ast.parse("x * x", mode="eval").body)
    >>> gradient(x_squared, "x")
    'g * (x + x)'
    """
    work = _Differentiate(operand)
    for name, expression in forward.statements:
        value, slope = work.dual(expression)
        work.statements.append((name, value))
        work.slopes[name] = None if slope is None else work.local(slope)
    _, slope = work.dual(forward.value)
    if slope is None:
        return None
    made = Formula(work.statements, _times(_name("g"), slope))
    return _needed(made).text()


def _needed(made: Formula) -> Formula:
    """Without the locals that nothing reads."""
    kept: list[tuple[str, ast.expr]] = []
    read = _names(made.value)
    for name, value in reversed(made.statements):
        if name in read:
            kept.append((name, value))
            read |= _names(value)
    return Formula(kept[::-1], made.value)


def _names(node: ast.expr) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
