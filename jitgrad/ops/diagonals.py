"""Diagonals read and written, parts of tensors replaced, indices of triangles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.errors import sizes
from jitgrad.ops.names import name as naming
from jitgrad.ops.names import named
from jitgrad.ops.operands import in_place, nonzero_positions, tensor_of
from jitgrad.ops.picking import index_copy
from jitgrad.ops.views import diagonal, wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


@named("TraceBackward0")
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal.

    Raises
    ------
    RuntimeError
        If it is no matrix.
    """
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    if input.dtype is dtypes.bool:
        raise NotImplementedError("\"trace\" not implemented for 'Bool'")
    return input.diagonal().sum()


@named("DiagEmbedBackward0")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices of zeros in two new dims, whose diagonals are the last dim of ``input``.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.diag_embed(jitgrad.tensor([1, 2])).tolist()
    [[1, 0], [0, 2]]
    """
    n = input.ndim + 1
    d1, d2 = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if d1 == d2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    for d in sorted((d1, d2)):
        shape.insert(d, size)
    from jitgrad.creation import zeros

    return diagonal_scatter(
        zeros(shape, dtype=input.dtype, device=input.device), input, offset, d1, d2
    )


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with a vector as its diagonal."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim == 2:
        return naming(input.diagonal(diagonal).clone(), "DiagonalBackward0_copy")
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements of ``input`` as its diagonal."""
    return diag_embed(input.reshape(-1), offset)


# ---------------------------------------------------------------- parts replaced
def _replaced(input: Tensor, part: Tensor, src: Tensor) -> Tensor:
    """``input`` with other elements where ``part``, a view of the flat positions, shows."""
    if part.shape != src.shape:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size ="
            f" {sizes(src.shape)}, slice size = {sizes(part.shape)}"
        )
    source = src.to(input.dtype).reshape(-1)
    flat = index_copy(input.reshape(-1), 0, part.reshape(-1), source)
    return flat.reshape(input.shape)


def _positions(input: Tensor) -> Tensor:
    from jitgrad.creation import arange

    return arange(input.numel(), device=input.device).reshape(input.shape)


@named("DiagonalScatterBackward0")
def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy of ``input`` with ``src`` as a diagonal."""
    return _replaced(input, diagonal(_positions(input), offset, dim1, dim2), src)


@named("SelectScatterBackward0")
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of ``input`` with ``src`` at a position of a dim."""
    return _replaced(input, _positions(input).select(dim, index), src)


@named("SliceScatterBackward0")
def slice_scatter(
    input: Tensor,
    src: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """A copy of ``input`` with ``src`` in a slice of a dim."""
    d = wrap_dim(dim, input.ndim)
    where = (slice(None),) * d + (slice(start, end, step),)
    return _replaced(input, _positions(input)[where], src)


@named("MaskedScatterBackward0")
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` with elements of ``source``, in order, where a bool mask is True.

    Raises
    ------
    RuntimeError
        If the mask is not bool, the dtypes differ or ``source`` has too few elements.
    """
    if mask.dtype is not dtypes.bool:
        raise RuntimeError(
            "masked_scatter_ only supports boolean masks, but got mask with dtype"
            f" {mask.dtype.letter}"
        )
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got"
            f" {input.dtype.letter} and {source.dtype.letter}"
        )
    from jitgrad.ops.products import broadcast_shapes

    common = broadcast_shapes(input.shape, mask.shape)
    input, mask = input.expand(common), mask.expand(common)
    positions = nonzero_positions(mask)
    n = positions.numel()
    if source.numel() < n:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    flat = index_copy(input.reshape(-1), 0, positions, source.reshape(-1)[:n])
    return flat.reshape(common)


masked_scatter_ = in_place(masked_scatter)


# ---------------------------------------------------------------- triangles
def _triangle(
    indices: Any, row: int, col: int, offset: int, dtype: dtypes.dtype | None, device: Any
) -> Tensor:
    from jitgrad.creation import placed

    for name, n in (("row", row), ("col", col)):
        if n < 0:
            raise RuntimeError(f"{name} must be non-negative, got{n}")
    found = np.stack(indices(row, offset, col)).astype(np.int64)
    return placed(tensor_of(found, dtype or dtypes.int64), device)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtypes.dtype | None = None, device: Any = None
) -> Tensor:
    """Rows and columns (2, n) of the elements of a matrix on and below a diagonal."""
    return _triangle(np.tril_indices, row, col, offset, dtype, device)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtypes.dtype | None = None, device: Any = None
) -> Tensor:
    """Rows and columns (2, n) of the elements of a matrix on and above a diagonal."""
    return _triangle(np.triu_indices, row, col, offset, dtype, device)
