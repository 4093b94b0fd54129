"""A user's scalar function in plain Python, read as a formula of the op table."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable
from typing import Any

from jitgrad.kernels import formula
from jitgrad.kernels.formula import FormulaError
from jitgrad.ops.table import OPERANDS

#: Python's and NumPy's names for what a formula calls otherwise.
_OTHER_NAMES = {
    "absolute": "abs",
    "fabs": "abs",
    "max": "maximum",
    "min": "minimum",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "power": "pow",
}
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


class _Translate(ast.NodeTransformer):
    """Expressions of Python to those of a formula."""

    def __init__(self, names: dict[str, str], constants: dict[str, Any]) -> None:
        self.names, self.constants = names, constants

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.names:
            return ast.copy_location(ast.Name(self.names[node.id], node.ctx), node)
        return self._constant(node, self.constants.get(node.id), node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        value: Any = None
        if isinstance(node.value, ast.Name):
            value = getattr(self.constants.get(node.value.id), node.attr, None)
        return self._constant(node, value, ast.unparse(node))

    def _constant(self, node: ast.expr, value: Any, text: str) -> ast.AST:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise FormulaError(f"{text!r} is neither an argument, a local name nor a number")
        if not math.isfinite(value):
            raise FormulaError(f"{text!r} is {value}; a formula holds finite numbers only")
        return ast.copy_location(ast.Constant(value), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if node.keywords:
            raise FormulaError(f"{ast.unparse(node)}: named arguments can't be used in a formula")
        args = [self.visit(a) for a in node.args]
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        called: Any = self.constants.get(name) if isinstance(node.func, ast.Name) else None
        if hasattr(called, "inlined"):
            return called.inlined(args)
        name = _OTHER_NAMES.get(name, name)
        if name not in formula.FUNCTIONS:
            raise FormulaError(
                f"{ast.unparse(node.func)!r} can't be called in a formula; these can: "
                + ", ".join(sorted(formula.FUNCTIONS))
            )
        return ast.copy_location(ast.Call(ast.Name(name, ast.Load()), args, []), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, ast.Pow):
            return self._power(left, right)
        swaps: dict[type[ast.operator], str] = {ast.FloorDiv: "floordiv", ast.Mod: "remainder"}
        if type(node.op) in swaps:
            return ast.Call(ast.Name(swaps[type(node.op)], ast.Load()), [left, right], [])
        return ast.BinOp(left, node.op, right)

    @staticmethod
    def _power(base: ast.expr, exponent: ast.expr) -> ast.expr:
        """Small whole powers as products, which are exact and quick."""
        whole = {2: 2, 3: 3, 4: 4}
        if isinstance(exponent, ast.Constant) and exponent.value in whole:
            product = base
            for _ in range(whole[int(exponent.value.real)] - 1):
                product = ast.BinOp(product, ast.Mult(), base)
            return product
        if isinstance(exponent, ast.Constant) and exponent.value == 0.5:
            return ast.Call(ast.Name("sqrt", ast.Load()), [base], [])
        return ast.Call(ast.Name("pow", ast.Load()), [base, exponent], [])

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        parts = [self.visit(part) for part in (node.test, node.body, node.orelse)]
        return ast.Call(ast.Name("where", ast.Load()), parts, [])

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if not all(isinstance(op, _COMPARISONS) for op in node.ops):
            raise FormulaError(f"{ast.unparse(node)!r}: formulas compare numbers only")
        values = [self.visit(v) for v in (node.left, *node.comparators)]
        pairs = [
            ast.Compare(a, [op], [b])
            for a, op, b in zip(values[:-1], node.ops, values[1:], strict=True)
        ]
        return _joined(ast.BitAnd(), pairs)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        op = ast.BitAnd() if isinstance(node.op, ast.And) else ast.BitOr()
        return _joined(op, [self.visit(v) for v in node.values])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        value = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return ast.Compare(value, [ast.Eq()], [ast.Constant(0)])
        return ast.UnaryOp(node.op, value)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        allowed = (ast.Constant, ast.operator, ast.unaryop, ast.cmpop, ast.expr_context)
        if not isinstance(node, allowed):
            raise FormulaError(f"{ast.unparse(node)!r} can't stand in a formula")
        if isinstance(node, ast.Constant) and type(node.value) not in (int, float):
            raise FormulaError(f"{node.value!r} is no number")
        return node


def _joined(op: ast.operator, values: list[Any]) -> ast.expr:
    made = values[0]
    for value in values[1:]:
        made = ast.BinOp(made, op, value)
    return made


class Formula:
    """Statements and an expression in the names of the op table: ``x z u v``, locals and numbers."""

    def __init__(self, statements: list[tuple[str, ast.expr]], value: ast.expr) -> None:
        self.statements, self.value = statements, value

    def text(self) -> str:
        """As the op table holds it."""
        parts = [f"{name} = {ast.unparse(value)}" for name, value in self.statements]
        return "; ".join([*parts, ast.unparse(self.value)])


class _Body:
    """The statements of a function as a formula."""

    def __init__(self, names: dict[str, str], constants: dict[str, Any]) -> None:
        self._names, self._constants = names, constants
        self.statements: list[tuple[str, ast.expr]] = []

    def expression(self, node: ast.expr) -> ast.expr:
        made = _Translate(self._names, self._constants).visit(node)
        return ast.fix_missing_locations(made)

    def assign(self, name: str, value: ast.expr) -> None:
        """A new local for each assignment, so that a name may be used again."""
        new = f"t{len(self.statements)}"
        self.statements.append((new, self.expression(value)))
        self._names[name] = new

    def returned(self, body: list[ast.stmt]) -> ast.expr:
        """The value of a block that ends in a return."""
        for i, node in enumerate(body):
            if isinstance(node, ast.Return) and node.value is not None:
                return self.expression(node.value)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.assign(node.targets[0].id, node.value)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                old = ast.Name(node.target.id, ast.Load())
                self.assign(node.target.id, ast.BinOp(old, node.op, node.value))
            elif isinstance(node, ast.If):
                test = self.expression(node.test)
                before = dict(self._names)
                yes = self.returned(node.body)
                self._names = dict(before)
                no = self.returned([*node.orelse, *body[i + 1 :]])
                return ast.Call(ast.Name("where", ast.Load()), [test, yes, no], [])
            elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                raise FormulaError(
                    f"{ast.unparse(node)!r}: a formula has assignments, if with a return in it, and a return"
                )
        raise FormulaError("a formula ends with a return of its value")


def parameters(function: Callable[..., Any]) -> list[str]:
    """The names of a function's arguments."""
    return list(inspect.signature(function).parameters)


def read(function: Callable[..., Any], names: dict[str, str]) -> list[Formula]:
    """What a function returns (one value, or a tuple of them; None is left out) as formulas.

    Parameters
    ----------
    function : callable
        Written in Python; its source is read.
    names : dict
        What its arguments are called in the op table.

    Raises
    ------
    FormulaError
        If the source is not there or holds what no formula can.
    """
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise FormulaError(
            f"the source of {function.__name__} can't be read; write the function in a file or a notebook"
        ) from None
    node = _definition(source, function)
    bound = inspect.getclosurevars(function)
    constants = {**bound.builtins, **bound.globals, **bound.nonlocals}
    if isinstance(node, ast.Lambda):
        body: list[ast.stmt] = [ast.Return(node.body)]
    else:
        body = node.body
    last = body[-1]
    if isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple):
        found = []
        for part in last.value.elts:
            if isinstance(part, ast.Constant) and part.value is None:
                found.append(Formula([], ast.Constant(None)))
                continue
            reader = _Body(dict(names), constants)
            value = reader.returned([*body[:-1], ast.Return(part)])
            found.append(Formula(reader.statements, value))
        return found
    reader = _Body(dict(names), constants)
    value = reader.returned(body)
    return [Formula(reader.statements, value)]


def _definition(source: str, function: Callable[..., Any]) -> ast.FunctionDef | ast.Lambda:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        # A lambda in the middle of an expression: its line alone need not be Python.
        tree = ast.parse("(" + source[source.index("lambda") :].rstrip().rstrip(",)") + ")")
    found = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Lambda))]
    wanted = [
        n
        for n in found
        if (getattr(n, "name", "<lambda>") == function.__name__)
        and [a.arg for a in n.args.args] == parameters(function)
    ]
    if len(wanted) > 1:
        wanted = [n for n in wanted if _same_code(n, function)]
    if len(wanted) != 1:
        raise FormulaError(
            f"the source of {function.__name__} can't be told from others on its line"
        )
    return wanted[0]


def _same_code(node: ast.FunctionDef | ast.Lambda, function: Callable[..., Any]) -> bool:
    """Whether a lambda of the source, of several on a line, is the function."""
    if not isinstance(node, ast.Lambda):
        return False
    made = eval(compile(ast.Expression(node), "<lambda>", "eval"), {}).__code__
    code = function.__code__
    return (made.co_code, made.co_consts, made.co_names) == (
        code.co_code,
        code.co_consts,
        code.co_names,
    )


def operand_names(function: Callable[..., Any]) -> dict[str, str]:
    """What the arguments of a forward function are called in the op table.

    Raises
    ------
    FormulaError
        If there are none, or more than the table has names for.
    """
    given = parameters(function)
    if not 1 <= len(given) <= len(OPERANDS):
        raise FormulaError(
            f"{function.__name__} has {len(given)} arguments; a pointwise op has 1 to {len(OPERANDS)}"
        )
    return dict(zip(given, OPERANDS, strict=False))
