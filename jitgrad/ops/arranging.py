"""Tensors put side by side, taken apart, turned and combined."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.errors import sizes
from jitgrad.ops.joining import cat, flip, stack
from jitgrad.ops.names import named
from jitgrad.ops.operands import beside, is_tensor
from jitgrad.ops.picking import index_select
from jitgrad.ops.views import broadcast_to, tensor_split, wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def ravel(input: Tensor) -> Tensor:
    """All elements in one dim."""
    return input.contiguous().view(-1)


# ---------------------------------------------------------------- at least so many dims
def _each(function: Callable[[Tensor], Tensor], tensors: tuple[Any, ...]) -> Any:
    if len(tensors) == 1:
        if is_tensor(tensors[0]):
            return function(tensors[0])
        tensors = tuple(tensors[0])
    return tuple(function(x) for x in tensors)


def _one(x: Tensor) -> Tensor:
    return x if x.ndim else x.reshape(1)


def _two(x: Tensor) -> Tensor:
    return x if x.ndim > 1 else _one(x).unsqueeze(0)


def _three(x: Tensor) -> Tensor:
    return x if x.ndim > 2 else _two(x).unsqueeze(-1)


def atleast_1d(*tensors: Any) -> Any:
    """Tensors with one dim or more; one Tensor gives a Tensor, several (or a list) a tuple."""
    return _each(_one, tensors)


def atleast_2d(*tensors: Any) -> Any:
    """Tensors with two dims or more: a vector becomes a row."""
    return _each(_two, tensors)


def atleast_3d(*tensors: Any) -> Any:
    """Tensors with three dims or more: (n) becomes (1, n, 1), (n, m) becomes (n, m, 1)."""
    return _each(_three, tensors)


# ---------------------------------------------------------------- side by side
def _need_some(name: str, tensors: Any) -> list[Tensor]:
    if not len(tensors):
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return list(tensors)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side: along the second dim, vectors along the first."""
    found = [_one(x) for x in _need_some("hstack", tensors)]
    return cat(found, 0 if found[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """One below the other, vectors as rows."""
    return cat([_two(x) for x in _need_some("vstack", tensors)], 0)


row_stack = vstack


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Along the third dim."""
    return cat([_three(x) for x in _need_some("dstack", tensors)], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side, vectors as columns."""
    found = _need_some("column_stack", tensors)
    return hstack([x if x.ndim > 1 else x.reshape(x.numel(), 1) for x in found])


@named("BlockDiagBackward0")
def block_diag(*tensors: Any) -> Tensor:
    """A matrix of zeros with matrices (or vectors, as rows) along its diagonal."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    for k, x in enumerate(tensors):
        if x.ndim > 2:
            raise RuntimeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. Input"
                f" {k} has {x.ndim} dimensions"
            )
    from jitgrad.creation import zeros
    from jitgrad.ops.promotion import result_type

    blocks = [_two(x) for x in tensors]
    if not blocks:
        return zeros(1, 0)
    dtype, device = blocks[0].dtype, blocks[0].device
    for x in blocks[1:]:
        dtype = result_type(zeros(1, dtype=dtype), zeros(1, dtype=x.dtype))
    width = sum(x.shape[1] for x in blocks)
    rows, at = [], 0
    for x in blocks:
        n, m = x.shape
        left = zeros(n, at, dtype=dtype, device=device)
        right = zeros(n, width - at - m, dtype=dtype, device=device)
        rows.append(cat([left, x.to(dtype), right], 1))
        at += m
    return cat(rows, 0)


# ---------------------------------------------------------------- taken apart
def _split(name: str, least: int, dim: int, input: Tensor, parts: Any) -> tuple[Tensor, ...]:
    if input.ndim < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with"
            f" {input.ndim} dimensions!"
        )
    if isinstance(parts, int) and (parts <= 0 or input.shape[dim] % parts):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension"
            f" {input.shape[dim]} is not divisible by the split_size {parts}!"
        )
    return tensor_split(input, parts, dim)


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Parts along the second dim (the first of a vector)."""
    return _split("hsplit", 1, 0 if input.ndim == 1 else 1, input, indices_or_sections)


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Parts along the first dim."""
    return _split("vsplit", 2, 0, input, indices_or_sections)


def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Parts along the third dim."""
    return _split("dsplit", 3, 2, input, indices_or_sections)


# ---------------------------------------------------------------- turned
def fliplr(input: Tensor) -> Tensor:
    """The second dim backwards."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """The first dim backwards."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@named("Rot90Backward0")
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by ``k`` quarters in the plane of two dims, from the first to the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = (wrap_dim(d, input.ndim) for d in dims)
    if a == b:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    turns = k % 4
    if turns == 0:
        return input.clone()
    if turns == 2:
        return flip(input, a, b)
    return flip(input, b if turns == 1 else a).transpose(a, b)


# ---------------------------------------------------------------- combined
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Vectors spread over the grid that they span, one dim each.

    Raises
    ------
    RuntimeError
        If one is no vector, the dtypes differ, or ``indexing`` is neither "ij" nor "xy".
    """
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if indexing is None:
        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.",
            stacklevel=2,
        )
    elif indexing not in ("ij", "xy"):
        raise RuntimeError(
            'torch.meshgrid: indexing must be one of "xy" or "ij", but received: ' + indexing
        )
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for x in tensors:
        if x.ndim > 1:
            raise RuntimeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got shape"
                f" {sizes(x.shape)}"
            )
        if x.dtype is not tensors[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    shape = [x.numel() for x in tensors]
    n = len(tensors)
    found = [
        broadcast_to(x.reshape([-1 if e == d else 1 for e in range(n)]), shape)
        for d, x in enumerate(tensors)
    ]
    if indexing == "xy" and n > 1:
        # The first two vectors change places, and so do the dims of what comes of them.
        return tuple(x.transpose(0, 1) for x in found)
    return tuple(found)


def _vector(x: Tensor) -> Tensor:
    if x.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {sizes(x.shape)}")
    return x


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All choices of an element from each vector, a row each; of one vector itself."""
    for x in tensors:
        _vector(x)
    if len(tensors) == 1:
        return tensors[0]
    return stack([x.reshape(-1) for x in meshgrid(*tensors, indexing="ij")], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of ``r`` elements of a vector, in order, a row each."""
    _vector(input)
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        from jitgrad.creation import empty

        return empty(0, dtype=input.dtype, device=input.device)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input.numel()), r)), np.int64).reshape(-1, r)
    return index_select(input, 0, beside(input, rows.reshape(-1))).reshape(len(rows), r)


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Summed over the dims that broadcasting from ``size`` would stretch."""
    from jitgrad.ops.recipe import sum_to

    shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)
    have = tuple(input.shape)
    tail = have[len(have) - len(shape) :] if len(shape) <= len(have) else ()
    if len(shape) > len(have) or any(n not in (1, m) for n, m in zip(shape, tail, strict=True)):
        raise RuntimeError(f"size {{{sizes(shape)}}} is not expandable to size {{{sizes(have)}}}.")
    return sum_to(input, shape)
