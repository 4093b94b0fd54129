"""Gradients as operations on Tensors: what makes a backward pass differentiable itself.

A backward pass with ``create_graph=True`` does not run the ops' backward kernels but their *recipes*: from
the gradient of the result, as a Tensor, those of the inputs, computed by recorded ops.  Pointwise ops
and reductions with a formula need none of their own, nor do views: the formula, or the view's geometry, is
the recipe.  An op with kernels has a function that is marked with `recipe`.
"""

from __future__ import annotations

import ast
import functools
import math
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry
from jitgrad.dtypes import ALL
from jitgrad.dtypes import dtype as DType  # noqa: N812 - "dtype" is a property's name here
from jitgrad.kernels import formula
from jitgrad.ops import record
from jitgrad.ops.table import BY_NAME, KERNEL, OPERANDS, OPS, POINTWISE, VIEW, Op, register
from jitgrad.ops.views import COPY_SLICES

if TYPE_CHECKING:
    from jitgrad.autograd.hooks import Packed
    from jitgrad.tensor import Tensor

Gradients = Sequence["Tensor | None"]
Recipe = Callable[["Step", "Tensor"], Gradients]

_recipes: dict[int, Recipe] = {}


class Step:
    """A row of the graph whose turn it is: what its recipe may read.

    Saved values are read through `saved` and `result`, which raise RuntimeError if a backward pass has let
    go of them or one was changed in place.
    """

    __slots__ = ("_unpacked", "node", "op")

    def __init__(self, node: Any, unpacked: Packed | None = None) -> None:
        self.node = node
        self.op = OPS[entry.node_word(node, col.OP)]
        self._unpacked = unpacked

    def wants(self, i: int) -> bool:
        """Whether a gradient flows to input ``i``."""
        return entry.node_input(self.node, i) is not None

    def saved(self, i: int) -> Tensor:
        """Input ``i``, which the op's ``needs`` name for the gradient that is computed."""
        if self._unpacked is not None:
            return self._unpacked[i]
        return call(entry.node_saved, self.node, i)

    @property
    def result(self) -> Tensor:
        """The op's result, if ``needs`` name it."""
        return self.saved(col.SAVED_OUT)

    @property
    def inputs(self) -> int:
        """How many inputs the op had."""
        return entry.node_word(self.node, col.NIN)

    def integer(self, k: int) -> int:
        """Attribute ``k``, an integer."""
        return entry.node_word(self.node, col.ATTR + k)

    def real(self, k: int) -> float:
        """Attribute ``k``, a floating-point number."""
        return struct.unpack("d", struct.pack("q", self.integer(k)))[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return shape_of(self.node)

    @property
    def dtype(self) -> DType:
        """dtype of the result."""
        return ALL[entry.node_word(self.node, col.DTYPE)]

    def input_shape(self, i: int) -> tuple[int, ...]:
        """Shape of input ``i``."""
        return shape_of(entry.node_below(self.node, i))

    def input_dtype(self, i: int) -> DType:
        """dtype of input ``i``."""
        return ALL[entry.node_word(entry.node_below(self.node, i), col.DTYPE)]


def shape_of(node: Any) -> tuple[int, ...]:
    """The shape of a node's row."""
    ndim = entry.node_word(node, col.NDIM)
    return tuple(entry.node_word(node, col.SHAPE + d) for d in range(ndim))


def recipe(*ops: Op) -> Callable[[Recipe], Recipe]:
    """Mark a function as the recipe of ops: ``f(step, g)`` returns a gradient (or None) for each input."""

    def mark(function: Recipe) -> Recipe:
        for op in ops:
            _recipes[op.number] = function
        return function

    return mark


def has_recipe(op: Op) -> bool:
    """Whether a backward pass through the op can be recorded."""
    return op.number in _recipes or op.family in (POINTWISE, VIEW) or bool(op.bits & col.OB_FORMULA)


def run(step: Step, g: Tensor) -> Gradients:
    """The gradients of a row's inputs by its recipe.

    Raises
    ------
    RuntimeError
        If the op has none, or what it saved is gone or was changed.
    """
    from jitgrad import creation

    if not creation.is_on_gpu(g):
        return _run(step, g)
    with creation.on_device("cuda"):
        return _run(step, g)


def _run(step: Step, g: Tensor) -> Gradients:
    op = step.op
    own = _recipes.get(op.number)
    if own is not None:
        return own(step, g)
    if op.family == POINTWISE:
        return _pointwise(step, g)
    if op.family == VIEW:
        return (_view(step, g),)
    if op.bits & col.OB_FORMULA:
        return (_lanes(step, g),)
    raise RuntimeError(
        f"derivative for {op.name!r} is not implemented to second order: it has no recipe"
    )


# ---------------------------------------------------------------- shapes
def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A gradient summed over what was broadcast from ``shape``."""
    have = entry.shape(g)
    if have == shape:
        return g
    lead = len(have) - len(shape)
    dims = [*range(lead)]
    dims += [lead + d for d, n in enumerate(shape) if n == 1 and have[lead + d] != 1]
    if dims:
        g = g.sum(dims)
    return g if entry.shape(g) == shape else g.reshape(shape)


def fitted(g: Tensor, step: Step, i: int) -> Tensor:
    """A gradient in the shape and dtype of input ``i``."""
    g = sum_to(g, step.input_shape(i))
    dtype = step.input_dtype(i)
    return g if g.dtype is dtype else g.to(dtype)


def zeros(shape: Sequence[int], dtype: DType, device: Any = None) -> Tensor:
    """Zeros without history; in a recipe on the device of the pass."""
    from jitgrad import creation

    return creation.zeros(tuple(shape), dtype=dtype, device=device)


# ---------------------------------------------------------------- formulas
_OTHER_NAMES = {"floordiv": "div_floor", "truncdiv": "div_trunc", "ipow": "pow_int"}


def _function(name: str) -> Callable[..., Any]:
    """A formula's function on Tensors and numbers."""
    from jitgrad.creation import tensor
    from jitgrad.dtypes import float64
    from jitgrad.ops.operands import is_tensor

    op = BY_NAME[_OTHER_NAMES.get(name, name)]

    def apply(*args: Any) -> Any:
        if name == "where" and not is_tensor(args[0]):
            return args[1] if args[0] else args[2]
        if not any(is_tensor(a) for a in args):
            return record.pointwise(op, *(tensor(a, dtype=float64) for a in args)).item()
        return record.pointwise(op, *args)

    return apply


@functools.cache
def _compiled(text: str) -> Callable[[dict[str, Any]], Any]:
    """A formula as a function of the values of its names."""
    statements, value = formula.parse(text)
    body = [*statements, ast.Assign(targets=[ast.Name("_value", ast.Store())], value=value)]
    tree = ast.fix_missing_locations(ast.Module(body=list(body), type_ignores=[]))
    code = compile(tree, f"<formula {text}>", "exec")
    functions = {name: _function(name) for name in formula.names(text) & formula.FUNCTIONS}

    def evaluate(values: dict[str, Any]) -> Any:
        space = {"__builtins__": {}, **functions, **values}
        exec(code, space)
        return space["_value"]

    return evaluate


def evaluated(text: str, values: dict[str, Any]) -> Any:
    """What the expression of a formula gives, for Tensors and numbers."""
    return _compiled(text)(values)


def evaluate(text: str, values: dict[str, Any], like: Tensor) -> Tensor:
    """A formula on Tensors and numbers; a result that is a number fills the shape of ``like``."""
    from jitgrad.creation import full_like
    from jitgrad.ops.operands import is_tensor

    found = evaluated(text, values)
    return found if is_tensor(found) else full_like(like.detach(), found)


def _operand(step: Step, i: int) -> Any:
    """Operand ``i`` of a pointwise op: a Tensor, or the number that it was."""
    if entry.node_word(step.node, col.INPUT + i) == col.NONE:
        return step.real(i)
    return step.saved(i)


def _pointwise(step: Step, g: Tensor) -> Gradients:
    found: list[Tensor | None] = []
    for i in range(step.inputs):
        if i >= len(step.op.vjps) or step.op.vjps[i] is None or not step.wants(i):
            found.append(None)
            continue
        text = step.op.vjps[i]
        assert text is not None
        values: dict[str, Any] = {"g": g}
        for j, name in enumerate(OPERANDS):
            if step.op.needs[i] & (1 << j):
                values[name] = _operand(step, j)
        if step.op.needs[i] & col.SAVED_OUT:
            values["y"] = step.result
        found.append(fitted(evaluate(text, values, g), step, i))
    return found


# ---------------------------------------------------------------- ops along dims
def lane_dims(step: Step) -> tuple[int, ...]:
    """The dims that an op runs along."""
    mask = step.integer(col.A_MASK)
    return tuple(d for d in range(len(step.input_shape(0))) if mask & (1 << d))


def along(step: Step, x: Tensor) -> Tensor:
    """What has a reduction's shape, with size 1 where the op ran along."""
    dims = lane_dims(step)
    return x.reshape([1 if d in dims else n for d, n in enumerate(step.input_shape(0))])


def lane_size(step: Step) -> int:
    """How many elements were reduced to one."""
    shape = step.input_shape(0)
    n = 1
    for d in lane_dims(step):
        n *= shape[d]
    return n


def _lanes(step: Step, g: Tensor) -> Tensor:
    text = step.op.vjps[0]
    assert text is not None
    values: dict[str, Any] = {"g": along(step, g), "n": lane_size(step)}
    if step.op.needs[0] & 1:
        values["x"] = step.saved(0)
    if step.op.needs[0] & col.SAVED_OUT:
        values["y"] = along(step, step.result)
    return evaluate(text, values, g).expand(step.input_shape(0))


# ---------------------------------------------------------------- views
_REGION = "jitgrad.kernels.regions:"
#: The elements of a contiguous tensor that a view shows; and zeros but for those: each other's gradient.
EXTRACT = register(
    Op("extract", "Extract", KERNEL, 1, _REGION + "extract", (_REGION + "extract_dx",), (0,))
)
EMBED = register(Op("embed", "Embed", KERNEL, 1, _REGION + "embed", (_REGION + "embed_dx",), (0,)))


def _geometry(step: Step) -> list[int]:
    return [step.integer(k) for k in range(col.MAX_DIMS + 1)]


def _view(step: Step, g: Tensor) -> Tensor | None:
    if not step.wants(0):
        return None
    kind = step.integer(col.VIEW_KIND)
    shape = step.input_shape(0)
    if kind == col.VIEW_ALIAS:
        return g if entry.shape(g) == shape else g.reshape(shape)
    if kind == col.VIEW_EXPAND:
        return sum_to(g, shape)
    if kind == col.VIEW_MEMORY:
        return _through_memory(step, g)
    return embedded(g, shape, _geometry(step))


def embedded(g: Tensor, shape: Sequence[int], geometry: Sequence[int]) -> Tensor:
    """Zeros of ``shape`` with ``g`` in the region of that geometry; elements that coincide are added up."""
    if not g.is_cuda or not _may_coincide(entry.shape(g), geometry):
        return record.explicit(EMBED, (g,), shape, geometry)
    # The GPU's kernel of `EMBED` writes each element, whichever is the last.
    from jitgrad.ops.operands import beside
    from jitgrad.ops.picking import index_add

    places = np.full((), geometry[-1], np.int64)
    for n, stride in zip(entry.shape(g), geometry, strict=False):
        places = np.add.outer(places, np.arange(n) * stride)
    flat = zeros((math.prod(shape),), g.dtype, g.device)
    return index_add(flat, 0, beside(g, places.reshape(-1)), g.reshape(-1)).reshape(shape)


def _may_coincide(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether two elements of a region may be the same: a dim's step is not beyond all smaller ones."""
    reach = 0
    for stride, n in sorted(zip(strides, shape, strict=False)):
        if n > 1 and stride <= reach:
            return True
        reach += (n - 1) * stride
    return False


def _through_memory(step: Step, g: Tensor) -> Tensor:
    """`arena.overlaps.through_memory` made of ops: a vector of the memory that both show, and back."""
    mine = [entry.node_word(step.node, col.STRIDE + d) for d in range(len(step.shape))]
    start = entry.node_word(step.node, col.OFFSET)
    theirs, origin = _geometry(step)[:-1], step.integer(col.VIEW_OFFSET)
    shape = step.input_shape(0)
    if 0 in shape:
        return zeros(shape, step.dtype)
    low, high = origin, origin + _reach(shape, theirs)
    if g.numel():
        low, high = min(low, start), max(high, start + _reach(step.shape, mine))
    n = high - low + 1
    mine += [0] * (col.MAX_DIMS - len(mine))
    there = [*theirs, origin - low]
    memory = embedded(g, (n,), [*mine, start - low])
    counts = embedded(zeros(shape, step.dtype, g.device) + 1, (n,), there)
    return record.explicit(EXTRACT, (memory / counts.clamp_min(1),), shape, there)


def _reach(shape: Sequence[int], strides: Sequence[int]) -> int:
    """How far the last element lies from the first."""
    return sum((n - 1) * s for n, s in zip(shape, strides, strict=False))


@recipe(COPY_SLICES)
def _slices(step: Step, g: Tensor) -> Gradients:
    """To what replaced a region its gradient, to the old base the rest."""
    shape, part = step.input_shape(1), None
    whole = step.integer(col.VIEW_KIND) == col.VIEW_WHOLE
    if step.wants(1):
        part = g.reshape(shape) if whole else record.explicit(EXTRACT, (g,), shape, _geometry(step))
    if not step.wants(0):
        return (None, part)
    if whole:
        return (zeros(step.shape, step.dtype), part)
    region = record.explicit(EMBED, (zeros(shape, step.dtype) + 1,), step.shape, _geometry(step))
    return (g.masked_fill(region != 0, 0), part)


@recipe(EMBED)
def _embed(step: Step, g: Tensor) -> Gradients:
    return (record.explicit(EXTRACT, (g,), step.input_shape(0), _geometry(step)),)


@recipe(EXTRACT)
def _extract(step: Step, g: Tensor) -> Gradients:
    return (embedded(g, step.input_shape(0), _geometry(step)),)
