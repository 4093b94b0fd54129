"""Joining, repeating and reordering whole tensors; their kernels are in `jitgrad.kernels.joining`."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops import record, views
from jitgrad.ops.operands import is_tensor
from jitgrad.ops.promotion import result_type
from jitgrad.ops.recipe import Gradients, Step, recipe, zeros
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels.joining:"


def _join(name: str, node: str) -> Op:
    """An op on any number of inputs: from the fourth on they share a slot."""
    vjps = (_KERNELS + "join_dx",) * col.MAX_INPUTS
    return register(Op(name, node, KERNEL, 0, _KERNELS + "join", vjps, (0,) * col.MAX_INPUTS))


def _move(name: str, node: str) -> Op:
    return register(
        Op(name, node, KERNEL, 1, _KERNELS + name, (f"{_KERNELS}{name}_dx",), (0,), rule="first")
    )


CAT = _join("cat", "Cat")
STACK = _join("stack", "Stack")
FLIP = _move("flip", "Flip")
ROLL = _move("roll", "Roll")
REPEAT = _move("repeat", "Repeat")
TRIL = _move("tril", "Tril")
TRIU = _move("triu", "Triu")


# ---------------------------------------------------------------- cat and stack
def _sequence(name: str, tensors: Any) -> list[Tensor]:
    """The inputs in one dtype; raises TypeError for what is no sequence of Tensors."""
    if is_tensor(tensors) or not hasattr(tensors, "__iter__"):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors,"
            f" not {type(tensors).__name__}"
        )
    found = list(tensors)
    code = None
    mixed = False
    for i, x in enumerate(found):
        if not is_tensor(x):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}"
            )
        mixed |= code not in (None, code := entry.word(x, col.DTYPE))
    if mixed:
        common = result_type(*found)
        found = [_promoted(x, common) for x in found]
    return found


def _promoted(x: Tensor, dtype: dtypes.dtype) -> Tensor:
    """``x`` in a dtype, by a cast that promotion made, not the user."""
    made = x.to(dtype)
    if made is not x:
        entry.flag(made, col.F_IMPLICIT, 1)
    return made


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after the other along a dim.

    Parameters
    ----------
    tensors : sequence of Tensor
        At least one; of the same sizes but for ``dim``.  Empty 1-D tensors fit anything, as in PyTorch.
        Of mixed dtypes the result has the common one.
    dim : int
        The dim, counted from the end if negative.

    Returns
    -------
    Tensor
        Its size along ``dim`` is the sum of theirs.

    Raises
    ------
    TypeError
        If something else than a Tensor is among them.
    ValueError
        If there are none.
    RuntimeError
        If one has no dims, or their sizes do not fit.
    IndexError
        If ``dim`` is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.cat([jitgrad.zeros(1, 2), jitgrad.ones(2, 2)]).shape
    jitgrad.Size([3, 2])
    """
    found = _sequence("cat", tensors)
    if not found:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    shapes = [entry.shape(x) for x in found]
    model = shapes[0]
    if () in shapes:
        raise RuntimeError(
            f"zero-dimensional tensor (at position {shapes.index(())}) cannot be concatenated"
        )
    if (0,) in shapes:
        # PyTorch's legacy: a tensor of shape [0] may stand among others of any shape.
        model = next((s for s in shapes if s != (0,)), (0,))
        if model == (0,):
            return record.explicit(CAT, found, (0,), (0,))
    ndim = len(model)
    d = views.wrap_dim(dim, ndim)
    total = 0
    for i, shape in enumerate(shapes):
        if shape != model:
            if shape == (0,):
                continue
            if len(shape) != ndim:
                raise RuntimeError(
                    f"Tensors must have same number of dimensions: got {ndim} and {len(shape)}"
                )
            for e, (want, have) in enumerate(zip(model, shape, strict=True)):
                if want != have and e != d:
                    raise RuntimeError(
                        f"Sizes of tensors must match except in dimension {d}. Expected size {want}"
                        f" but got size {have} for tensor number {i} in the list."
                    )
        total += shape[d]
    return record.explicit(CAT, found, (*model[:d], total, *model[d + 1 :]), (d,))


concat = concatenate = cat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dim.

    Parameters
    ----------
    tensors : sequence of Tensor
        At least one, all of the same shape; of mixed dtypes the result has the common one.
    dim : int
        Where the new dim stands in the result.

    Raises
    ------
    RuntimeError
        If there are none, or their shapes differ.
    IndexError
        If ``dim`` is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.stack([jitgrad.zeros(3), jitgrad.ones(3)], dim=1).shape
    jitgrad.Size([3, 2])
    """
    found = _sequence("stack", tensors)
    if not found:
        raise RuntimeError("stack expects a non-empty TensorList")
    model = entry.shape(found[0])
    d = views.wrap_dim(dim, len(model) + 1)
    for i, x in enumerate(found):
        shape = entry.shape(x)
        if shape != model:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {sizes(model)} at entry 0"
                f" and {sizes(shape)} at entry {i}"
            )
    return record.explicit(STACK, found, (*model[:d], len(found), *model[d:]), (d,))


# ---------------------------------------------------------------- flip and roll
def _dims(name: str, dims: tuple[Any, ...]) -> tuple[int, ...]:
    """``(0, 1)`` from ``f(0, 1)`` or ``f((0, 1))``."""
    if len(dims) == 1 and not isinstance(dims[0], int) and hasattr(dims[0], "__iter__"):
        dims = tuple(dims[0])
    elif not dims:
        raise TypeError(f'{name}() missing 1 required positional arguments: "dims"')
    return tuple(index(d) for d in dims)


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with some dims in reverse order.

    Raises
    ------
    IndexError
        If a dim is out of range.
    RuntimeError
        If one is named twice.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.flip(jitgrad.arange(4).view(2, 2), (0,)).tolist()
    [[2, 3], [0, 1]]
    """
    named = _dims("flip", dims)
    mask = record.dims_mask(input, named) if named else 0
    return record.explicit(FLIP, (input,), entry.shape(input), (mask,))


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved along dims, those that fall off coming in at the other end.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype.
    shifts : int or tuple of int
        Places towards higher positions.
    dims : int or tuple of int, optional
        A dim for each shift; without it the tensor is rolled as if it were flat.

    Raises
    ------
    RuntimeError
        If there is not one shift a dim.
    IndexError
        If a dim is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.roll(jitgrad.arange(4), 1).tolist()
    [3, 0, 1, 2]
    """
    steps = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    if dims is None or dims == ():
        if len(steps) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(steps)}, dims:0")
        n = max(input.numel(), 1)
        return record.explicit(ROLL, (input,), entry.shape(input), (-1, steps[0] % n))
    places = (dims,) if isinstance(dims, int) else tuple(dims)
    if not steps:
        raise RuntimeError("`shifts` required")
    if len(steps) != len(places):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(steps)}, dims:{len(places)}"
        )
    shape = entry.shape(input)
    rolled = input
    for shift, dim in zip(steps, places, strict=True):
        d = views.wrap_dim(dim, len(shape))
        if shape:
            rolled = record.explicit(ROLL, (rolled,), shape, (d, shift % max(shape[d], 1)))
    return rolled


# ---------------------------------------------------------------- repeat
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The tensor over and over along each dim.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype.
    repeats : int
        How often, for each dim of the result; at least as many as ``input`` has dims.

    Raises
    ------
    RuntimeError
        If there are fewer, or one is negative.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.tensor([1, 2]).repeat(2, 2).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    if not repeats:
        raise TypeError('repeat() missing 1 required positional arguments: "repeats"')
    times = _dims("repeat", repeats)
    shape = entry.shape(input)
    lead = len(times) - len(shape)
    if lead < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of"
            " tensor"
        )
    wanted = [n * size for n, size in zip(times, (1,) * lead + shape, strict=True)]
    for n, size in zip(times, wanted, strict=True):
        if n < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {size}: {sizes(wanted)}"
            )
    return record.explicit(REPEAT, (input,), wanted)


def tile(input: Tensor, *dims: Any) -> Tensor:
    """`repeat` with NumPy's rule: missing numbers of repetitions are 1.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.tile(jitgrad.tensor([[1], [2]]), (2,)).tolist()
    [[1, 1], [2, 2]]
    """
    times = _dims("tile", dims)
    lead = input.ndim - len(times)
    times = (1,) * lead + times
    return repeat(input, times) if times else input.clone()


# ---------------------------------------------------------------- triangles
def _triangle(op: Op, input: Tensor, diagonal: int) -> Tensor:
    shape = entry.shape(input)
    if len(shape) < 2:
        raise RuntimeError(f"{op.name}: input tensor must have at least 2 dimensions")
    # Far outside every matrix a diagonal is as good as the next.
    reach = max(shape[-1], shape[-2])
    edge = max(-reach, min(index(diagonal), reach))
    return record.explicit(op, (input,), shape, (edge,))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices (of a batch) with zeros above a diagonal: 0 the main one, 1 the one above it.

    Raises
    ------
    RuntimeError
        If ``input`` has fewer than 2 dims.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.tril(jitgrad.ones(2, 2)).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return _triangle(TRIL, input, diagonal)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices (of a batch) with zeros below a diagonal: 0 the main one, 1 the one above it.

    Raises
    ------
    RuntimeError
        If ``input`` has fewer than 2 dims.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.triu(jitgrad.ones(2, 2), 1).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    return _triangle(TRIU, input, diagonal)


# ---------------------------------------------------------------- recipes (`jitgrad.ops.recipe`)
@recipe(CAT)
def _cat_recipe(step: Step, g: Tensor) -> Gradients:
    d, start = step.integer(0), 0
    found: list[Tensor | None] = []
    for i in range(step.inputs):
        shape = step.input_shape(i)
        # PyTorch's legacy: a tensor of shape [0] takes up no place among others.
        n = shape[d] if len(shape) == g.ndim else 0
        part = g.narrow(d, start, n)
        found.append(part if entry.shape(part) == shape else part.reshape(shape))
        start += n
    return found


@recipe(STACK)
def _stack_recipe(step: Step, g: Tensor) -> Gradients:
    return g.unbind(step.integer(0))


@recipe(FLIP)
def _flip_recipe(step: Step, g: Tensor) -> Gradients:
    mask = step.integer(0)
    dims = [d for d in range(g.ndim) if mask & (1 << d)]
    return (flip(g, dims) if dims else g,)


@recipe(ROLL)
def _roll_recipe(step: Step, g: Tensor) -> Gradients:
    d, shift = step.integer(0), step.integer(1)
    return (roll(g, -shift, None if d < 0 else d),)


@recipe(REPEAT)
def _repeat_recipe(step: Step, g: Tensor) -> Gradients:
    shape = step.input_shape(0)
    have = entry.shape(g)
    if 0 in have:
        return (zeros(shape, g.dtype),)
    lead = len(have) - len(shape)
    split: list[int] = []
    for total, n in zip(have, (1,) * lead + shape, strict=True):
        split += [total // n, n]
    # The last step drops the dims that were added in front, which now have size 1.
    return (g.reshape(split).sum(list(range(0, len(split), 2))).reshape(shape),) if split else (g,)


@recipe(TRIL, TRIU)
def _triangle_recipe(step: Step, g: Tensor) -> Gradients:
    return (_triangle(step.op, g, step.integer(0)),)
