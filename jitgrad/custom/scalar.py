"""A user's own pointwise op: a scalar formula in Python becomes a row of the op table."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from typing import Any

from jitgrad.arena import engine
from jitgrad.arena.header import Fault
from jitgrad.custom import derivative, source
from jitgrad.kernels.formula import FormulaError
from jitgrad.ops import elementwise
from jitgrad.ops.operands import tensor_class
from jitgrad.ops.pointwise import pointwise as add_row
from jitgrad.ops.table import BY_NAME, OPERANDS


class PointwiseOp:
    """An op made by `pointwise`; call it with Tensors and numbers.

    Attributes
    ----------
    formula : str
        What is computed for each element, in the names of the op table.
    gradients : tuple of str or None
        For each operand the formula of its gradient, ``g`` being the cotangent.
    """

    def __init__(self, function: Callable[..., Any], gradient: Callable[..., Any] | None) -> None:
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self._names = source.operand_names(function)
        found = source.read(function, self._names)
        if len(found) != 1:
            raise FormulaError(f"{self.__name__} returns several values; a pointwise op has one")
        self._forward = found[0]
        self.formula = self._forward.text()
        self.gradients: tuple[str | None, ...] = (
            self._derived() if gradient is None else self._given(gradient)
        )
        self._op = add_row(
            unused_name(self.__name__),
            "".join(part.capitalize() for part in self.__name__.split("_")),
            self.formula,
            *self.gradients,
            rule="float",
        )
        engine.add_op(self._op)
        self._count, self._number = len(self._names), self._op.number
        self._tensor = tensor_class()

    def _derived(self) -> tuple[str | None, ...]:
        return tuple(derivative.gradient(self._forward, o) for o in self._names.values())

    def _given(self, gradient: Callable[..., Any]) -> tuple[str | None, ...]:
        """The user's gradient: a function of the cotangent ``g``, the operands and, if it wants, ``y``."""
        known = {**self._names, "g": "g", "y": "y"}
        names = source.parameters(gradient)
        if names[:1] != ["g"] or any(n not in known for n in names):
            raise FormulaError(
                f"the gradient of {self.__name__} takes g, then what it reads of"
                f" {', '.join(self._names)} and the result y; this one takes {', '.join(names)}"
            )
        found = source.read(gradient, {n: known[n] for n in names})
        if len(found) != len(self._names):
            raise FormulaError(
                f"the gradient of {self.__name__} returns {len(found)} values for"
                f" {len(self._names)} operands"
            )
        return tuple(
            None if isinstance(f.value, ast.Constant) and f.value.value is None else f.text()
            for f in found
        )

    def inlined(self, args: list[ast.expr]) -> ast.expr:
        """The op's formula on expressions, for another formula that calls it."""
        if len(args) != len(self._names):
            raise FormulaError(f"{self.__name__} takes {len(self._names)} arguments")
        space: dict[str, ast.expr] = dict(zip(OPERANDS, args, strict=False))
        for name, value in self._forward.statements:
            space[name] = derivative.substituted(value, space)
        return derivative.substituted(self._forward.value, space)

    def __call__(self, *operands: Any) -> Any:
        """The op on Tensors and numbers, broadcast as any other; on numbers alone, the function itself.

        Raises
        ------
        TypeError
            If the number of operands is wrong, or one is neither Tensor nor number.
        RuntimeError
            If shapes do not broadcast.
        """
        if len(operands) == self._count and type(operands[0]) is self._tensor:
            # The usual case, without a look at the others: the entry looks at them all.
            try:
                return engine.entry.pointwise(self._number, *operands)
            except Fault:
                return elementwise.record(self._op, *operands)
        if len(operands) != len(self._names):
            raise TypeError(
                f"{self.__name__}() takes {len(self._names)} operands ({', '.join(self._names)}),"
                f" got {len(operands)}"
            )
        if all(type(x) in (int, float) for x in operands):
            return self.__wrapped__(*operands)
        return elementwise.record(self._op, *operands)

    def __repr__(self) -> str:
        return f"<pointwise op {self.__name__}({', '.join(self._names)}) = {self.formula}>"


def unused_name(name: str) -> str:
    """A name for the table: ops of one name, from a notebook's cell run twice, are told apart."""
    wanted = "custom_" + "".join(c if c.isalnum() else "_" for c in name)
    tries = (wanted if i == 1 else f"{wanted}_{i}" for i in itertools.count(1))
    return next(t for t in tries if t not in BY_NAME)


def pointwise(
    function: Callable[..., Any] | None = None, *, gradient: Callable[..., Any] | None = None
) -> Any:
    """Make a scalar function an op: vectorised, broadcasting, differentiable to any order.

    The function is not called: its source becomes the loop.  It may hold arithmetic, comparisons, ``and or
    not``, conditional expressions, ``if`` with a return, assignments, numbers from around it, other
    ops made this way, and the functions of `jitgrad.kernels.formula.FUNCTIONS` under the names that
    Python's ``math``, NumPy or jitgrad give them.

    Parameters
    ----------
    function : callable
        Of 1 to 4 numbers.
    gradient : callable, optional
        ``gradient(g, ...)`` of the cotangent, then any of the operands and the result ``y`` by name; returns
        one value for each operand (None: has none).  Without it the gradient is derived.

    Returns
    -------
    PointwiseOp
        Or, without ``function``, the decorator.

    Raises
    ------
    jitgrad.kernels.formula.FormulaError
        If the source is not there, or holds what no formula can; a ValueError.

    Examples
    --------
    >>> import jitgrad
    >>> from math import tanh
    >>> op = jitgrad.custom.pointwise(lambda x, limit: limit * tanh(x / limit))
    >>> x = jitgrad.tensor([0.0, 10.0], requires_grad=True)
    >>> op(x, 2.0).sum().backward()
    >>> x.grad[0].item()
    1.0
    """
    if function is None:
        return lambda f: PointwiseOp(f, gradient)
    return PointwiseOp(function, gradient)
