"""A user's own op from a pair of Numba functions on arrays, which backward runs without Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jitgrad.arena import columns as col
from jitgrad.arena import engine
from jitgrad.arena.engine import entry
from jitgrad.arena.header import Fault
from jitgrad.custom.scalar import unused_name
from jitgrad.dtypes import FIRST_HALF
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.operands import is_tensor
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Shape = int | Callable[..., Sequence[int]]


class ArrayOp:
    """An op made by `arrays`; call it with Tensors, then numbers."""

    def __init__(
        self,
        forward: Any,
        backward: Any,
        shape: Shape,
        reads: Sequence[str] | None,
        name: str | None,
    ) -> None:
        self.__name__ = name or forward.__name__
        self.__doc__ = forward.__doc__
        self._functions = (forward, *(backward if isinstance(backward, tuple) else (backward,)))
        for function in self._functions:
            if function is not None and not hasattr(function, "py_func"):
                raise TypeError(
                    f"{self.__name__}: expected functions compiled by numba.njit, got"
                    f" {type(function).__name__}"
                )
        self._shape = shape
        self._reads = reads
        # One row of the op table for each combination of dtypes, dims and numbers that is used.
        self._ops: dict[tuple[Any, ...], Op] = {}
        # The usual call: so many Tensors, for which that op was last used; the arena sees whether it fits.
        self._usual, self._op, self._layout = 0, col.NONE, 0

    def __call__(self, *operands: Any) -> Tensor:
        """The op on Tensors, followed by numbers.

        Raises
        ------
        TypeError
            If there is no Tensor, a number stands before one, or the gradients are not one for each.
        RuntimeError
            If a function raises.
        """
        if len(operands) == self._usual:
            try:
                return entry.alike(self._op, self._layout, *operands)
            except Fault:
                pass
        tensors = [x for x in operands if is_tensor(x)]
        numbers = operands[len(tensors) :]
        if not tensors or any(is_tensor(x) for x in numbers):
            raise TypeError(f"{self.__name__}() takes Tensors, then numbers")
        if len(tensors) > col.MAX_INPUTS:
            raise TypeError(f"{self.__name__}() takes at most {col.MAX_INPUTS} Tensors")
        values = [float(v) for v in numbers]
        shape = self._result_shape(tensors, values)
        key = (*((x.dtype.code, x.ndim) for x in tensors), len(values), len(shape))
        op = self._ops.get(key)
        if op is None:
            op = self._ops[key] = self._row(tensors, len(values), len(shape))
        if self._shape == 0 and not values:
            layouts = [x.dtype.code << 4 | x.ndim for x in tensors]
            if all(x.dtype.code < FIRST_HALF for x in tensors):
                self._usual, self._op = len(tensors), op.number
                self._layout = sum(layout << 8 * i for i, layout in enumerate(layouts))
        return record.explicit(op, tensors, shape, values)

    def _result_shape(self, tensors: list[Tensor], values: list[float]) -> tuple[int, ...]:
        if isinstance(self._shape, int):
            return tuple(entry.shape(tensors[self._shape]))
        found = self._shape(*(tuple(x.shape) for x in tensors), *values)
        shape = tuple(int(n) for n in found)
        if len(shape) > col.MAX_DIMS or any(n < 0 for n in shape):
            raise RuntimeError(f"{self.__name__}(): no tensor has the shape {sizes(shape)}")
        return shape

    def _row(self, tensors: list[Tensor], numbers: int, ndim: int) -> Op:
        forward, *backward = self._functions
        if backward == [None]:
            backward = [None] * len(tensors)
        if len(backward) != len(tensors):
            raise TypeError(
                f"{self.__name__}: {len(backward)} gradients for {len(tensors)} Tensors; give a tuple with a"
                " function (or None) for each"
            )
        layouts = [(x.dtype.code, x.ndim) for x in tensors]
        output = (tensors[0].dtype.code, ndim)
        needs = self._needs(len(tensors))
        name = unused_name(self.__name__)
        vjps = tuple(None if f is None else f"custom:{name}" for f in backward)
        node = "".join(part.capitalize() for part in self.__name__.split("_"))
        op = register(
            Op(name, node, KERNEL, len(tensors), f"custom:{name}", vjps, (needs,) * len(tensors))
        )
        engine.add_op(op)

        def load(which: int) -> int:
            from jitgrad.custom.compiled import kernel

            function = forward if which == 0 else backward[which - 1]
            kept, address = kernel(
                function,
                op.number,
                layouts,
                numbers,
                output,
                None if which == 0 else which - 1,
                needs,
            )
            self._kept.append(kept)
            return address

        engine.own_kernels[op.number] = load
        return op

    #: Compiled kernels; the table holds their addresses for as long as the process lives.
    _kept: list[Any] = []

    def _needs(self, count: int) -> int:
        if self._reads is None:
            return ((1 << count) - 1) | col.SAVED_OUT
        names = [*(f"x{i}" for i in range(count)), "y"]
        bits = [*(1 << i for i in range(count)), col.SAVED_OUT]
        unknown = [r for r in self._reads if r not in names]
        if unknown:
            raise ValueError(f"reads={unknown}: a gradient reads {', '.join(names)}")
        return sum(bit for name, bit in zip(names, bits, strict=True) if name in self._reads)

    def __repr__(self) -> str:
        return f"<op {self.__name__} on arrays>"


def arrays(
    forward: Any,
    backward: Any = None,
    *,
    shape: Shape = 0,
    reads: Sequence[str] | None = None,
    name: str | None = None,
) -> ArrayOp:
    """Make Numba functions on arrays an op, forward and backward.

    Parameters
    ----------
    forward : function compiled by numba.njit
        ``forward(x0, x1, ..., numbers..., y)`` writes every element of ``y``; it changes nothing else.
    backward : such a function, or a tuple with one (or None) for each Tensor
        ``backward(g, x0, x1, ..., numbers..., y, dx)`` writes the gradient of its Tensor to ``dx``.
        Without it the op has no gradient.
    shape : int or callable
        The Tensor whose shape the result has, or a function of the Tensors' shapes and the numbers.
    reads : sequence of str, optional
        Which of ``"x0"``, ``"x1"``, ... and ``"y"`` the gradients read, all by default.  The others need
        not be kept, and ``backward`` has no arguments for them.
    name : str, optional
        What the op is called; by default as ``forward``.

    Returns
    -------
    ArrayOp
        Takes Tensors (contiguous copies are made where needed; without dims as arrays of one element), then
        numbers (float64).  The result has the dtype of the first.

    Raises
    ------
    TypeError
        If something is no such function.

    Notes
    -----
    Kernels are compiled in each process, for each combination of dtypes and numbers of dims.  They have no
    gradient of second order: ``create_graph=True`` raises.

    Examples
    --------
    >>> import jitgrad, numba
    >>> @numba.njit
    ... def running(x, y):
    ...     total = 0.0
    ...     for i in range(x.size):
    ...         total += x[i]
    ...         y[i] = total
    >>> @numba.njit
    ... def running_dx(g, x, y, dx):
    ...     total = 0.0
    ...     for i in range(x.size - 1, -1, -1):
    ...         total += g[i]
    ...         dx[i] = total
    >>> op = jitgrad.custom.arrays(running, running_dx)
    >>> x = jitgrad.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> op(x).sum().backward()
    >>> x.grad
    tensor([3., 2., 1.])
    """
    return ArrayOp(forward, backward, shape, reads, name)
