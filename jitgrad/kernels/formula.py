"""Formulas of pointwise ops: what they read, and how they become the body of a loop.

A formula is an expression in plain Python arithmetic over the operands ``x z u v``, the result ``y`` and
the cotangent ``g``, with the functions of `FUNCTIONS`, for instance ``"g * (1 - y * y)"``.  Statements may
stand before it, separated by semicolons: ``"t = tanh(x); x * (1 - t * t)"``.  The same text is the CPU
kernel, later the CUDA kernel, and the recipe for higher-order gradients.

In a kernel every number of the formula is of the kernel's dtype: in Numba ``1 - x`` with a float32 ``x``
would be computed in float64, at half the speed and with other roundings than PyTorch's.
"""

from __future__ import annotations

import ast

#: What a formula may call.  `jitgrad.kernels.scalars` has a jitted twin of each, for each dtype.
FUNCTIONS = frozenset(
    "where abs sqrt exp expm1 exp2 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh sigmoid"
    " erf erfc pow floor ceil trunc round isnan isinf isfinite copysign minimum maximum fmod floordiv"
    " remainder sign truncdiv ipow lshift rshift".split()
)


class FormulaError(ValueError):
    """A formula that cannot be used, with the reason."""


def parse(text: str) -> tuple[list[ast.stmt], ast.expr]:
    """The statements of a formula and its final expression.

    Raises
    ------
    FormulaError
        If the text is no Python, or the last part is no expression.

    Examples
    --------
    >>> statements, value = parse("t = x * x; t + 1")
    >>> len(statements), ast.unparse(value)
    (1, 't + 1')
    """
    try:
        body = ast.parse("; ".join(part.strip() for part in text.split(";"))).body
    except SyntaxError as error:
        raise FormulaError(f"the formula {text!r} is not Python: {error}") from None
    if not body or not isinstance(body[-1], ast.Expr):
        raise FormulaError(f"the formula {text!r} does not end with an expression")
    return body[:-1], body[-1].value


def names(text: str) -> set[str]:
    """The names that a formula reads but does not assign itself.

    Examples
    --------
    >>> sorted(names("t = tanh(x); g * t"))
    ['g', 'tanh', 'x']
    """
    statements, value = parse(text)
    found: set[str] = set()
    assigned: set[str] = set()
    for node in [*statements, value]:
        for leaf in ast.walk(node):
            if isinstance(leaf, ast.Name):
                (assigned if isinstance(leaf.ctx, ast.Store) else found).add(leaf.id)
    return found - assigned


class _TypedNumbers(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            return node
        cast = ast.Call(func=ast.Name(id="_T", ctx=ast.Load()), args=[node], keywords=[])
        return ast.copy_location(cast, node)


def names_of(text: str) -> tuple[set[str], set[str]]:
    """The names that a list of statements reads, and those that it assigns.

    Examples
    --------
    >>> read, assigned = names_of("t = x * y; x = x + t")
    >>> sorted(read), sorted(assigned)
    (['t', 'x', 'y'], ['t', 'x'])
    """
    read: set[str] = set()
    assigned: set[str] = set()
    for leaf in ast.walk(ast.parse("; ".join(part.strip() for part in text.split(";")))):
        if isinstance(leaf, ast.Name):
            (assigned if isinstance(leaf.ctx, ast.Store) else read).add(leaf.id)
    return read, assigned


def typed_statements(text: str) -> list[str]:
    """A list of statements as source lines, with every number cast by ``_T``."""
    body = ast.parse("; ".join(part.strip() for part in text.split(";"))).body
    return [ast.unparse(ast.fix_missing_locations(_TypedNumbers().visit(s))) for s in body]


def typed(text: str) -> tuple[list[str], str]:
    """A formula's statements and expression as source, with every number cast by ``_T``."""
    statements, value = parse(text)
    change = _TypedNumbers()
    lines = [ast.unparse(ast.fix_missing_locations(change.visit(s))) for s in statements]
    return lines, ast.unparse(ast.fix_missing_locations(change.visit(value)))
