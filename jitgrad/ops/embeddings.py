"""Embeddings of indices as functions of `nn.functional`; the rows are picked by `jitgrad.ops.picking`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops import picking
from jitgrad.ops.gathering import scatter
from jitgrad.ops.operands import beside
from jitgrad.ops.recipe import zeros

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Classes as rows of zeros with a 1 at the class.

    Parameters
    ----------
    tensor : Tensor
        int64, any shape, not negative.
    num_classes : int
        Width of the rows; -1: one more than the greatest class.

    Returns
    -------
    Tensor
        int64, (\\*tensor.shape, num_classes).

    Raises
    ------
    RuntimeError
        If the dtype is another, a class is out of range, or there is none to tell the width from.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.one_hot(jitgrad.tensor([1, 0])).tolist()
    [[0, 1], [1, 0]]
    """
    if tensor.dtype is not dtypes.int64:
        raise RuntimeError(
            f"one_hot is only applicable to index tensor of type LongTensor. Got {tensor.dtype.letter}"
        )
    x = entry.shape(tensor)
    if tensor.numel() == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return zeros((*x, num_classes), dtypes.int64, tensor.device)
    if tensor.min().item() < 0:
        raise RuntimeError("Class values must be non-negative.")
    greatest = int(tensor.max().item())
    if num_classes == -1:
        num_classes = greatest + 1
    elif num_classes <= greatest:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return scatter(
        zeros((*x, num_classes), dtypes.int64, tensor.device), len(x), tensor.unsqueeze(-1), 1
    )


def _renormalize(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> None:
    """Shrink the rows that are picked to the norm, in place and unrecorded."""
    from jitgrad.autograd import no_grad

    with no_grad():
        used = beside(weight, np.unique(indices._values()).astype(np.int64))
        rows = picking.index_select(weight, 0, used)
        norms = rows.norm(norm_type, 1, keepdim=True)
        factor = (max_norm / (norms + 1e-7)).where(norms > max_norm, norms * 0 + 1)
        weight.index_copy_(0, used, rows * factor)


def _padding_row(padding_idx: int | None, rows: int) -> int:
    """The row that is padding, counted from the front; -1 for none."""
    if padding_idx is None:
        return -1
    if padding_idx >= rows or padding_idx < -rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % rows


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a matrix, by their indices.

    Parameters
    ----------
    input : Tensor
        Indices of any shape; int64 or int32, not negative.
    weight : Tensor
        (rows, width).
    padding_idx : int, optional
        A row that gets no gradient.
    max_norm, norm_type : float, optional
        Rows with a larger norm are first shrunk to it, in place.
    scale_grad_by_freq : bool
        Divide each row's gradient by how often it was picked.
    sparse : bool
        Accepted and ignored: gradients are dense.

    Raises
    ------
    IndexError
        If an index is out of range.
    RuntimeError
        If ``weight`` is no matrix, or ``input`` of another dtype.

    Examples
    --------
    >>> import jitgrad
    >>> w = jitgrad.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> jitgrad.nn.functional.embedding(jitgrad.tensor([1, 0]), w).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    row = _padding_row(padding_idx, entry.shape(weight)[0])
    if max_norm is not None:
        picking.embedding(weight.detach(), input)  # the indices' errors come first
        _renormalize(weight, input, max_norm, norm_type)
    return picking.embedding(weight, input, row, scale_grad_by_freq, sparse)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima over bags of rows of a matrix.

    Parameters
    ----------
    input : Tensor
        Indices: (bags, size), or in a row with ``offsets``.
    weight : Tensor
        (rows, width).
    offsets : Tensor, optional
        Where each bag begins; with ``include_last_offset`` also where the last one ends.
    max_norm, norm_type, scale_grad_by_freq, sparse
        As in `embedding`.
    mode : {"mean", "sum", "max"}
        What is taken over a bag; an empty one gives zeros.
    per_sample_weights : Tensor, optional
        What each row is multiplied by, for sums only; of the shape of ``input``.
    padding_idx : int, optional
        An index that counts as absent.

    Returns
    -------
    Tensor
        (bags, width).

    Raises
    ------
    ValueError
        If ``input`` and ``offsets`` do not fit together, or the mode is unknown.
    NotImplementedError
        If there are weights for another mode than sum.
    IndexError
        If an index is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> bags = jitgrad.tensor([[0, 1], [1, 1]])
    >>> jitgrad.nn.functional.embedding_bag(bags, jitgrad.eye(2), mode="sum").tolist()
    [[1.0, 1.0], [0.0, 2.0]]
    """

    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({sizes(per_sample_weights.shape)}) is not None, then"
            f" it must have the same shape as the input ({sizes(input.shape)})"
        )
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of"
                f" fixed length sequences. However, found offsets of type {type(offsets)}"
            )
        begins = np.arange(input.shape[0]) * input.shape[1]
        input = input.reshape(-1)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
    elif input.ndim == 1:
        if offsets is None or offsets.ndim != 1:
            got = "None" if offsets is None else f"{offsets.ndim}D Tensor"
            raise ValueError(f"offsets has to be a 1D Tensor but got {got}")
    else:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}"
        )
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if offsets is not None:
        begins = _begins(offsets, include_last_offset, input.numel())
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for"
            f" mode='sum' (got mode='{mode}')."
        )
    row = _padding_row(padding_idx, entry.shape(weight)[0])
    rows = embedding(input, weight, None, max_norm, norm_type, scale_grad_by_freq)
    bag = np.searchsorted(begins, np.arange(input.numel()), side="right") - 1
    if row >= 0:
        there = np.flatnonzero(input._values() != row)
        bag = bag[there]
        rows = picking.index_select(rows, 0, beside(rows, there))
        if per_sample_weights is not None:
            per_sample_weights = picking.index_select(per_sample_weights, 0, beside(rows, there))
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    counts = np.bincount(bag, minlength=len(begins))[: len(begins)]
    shape = (len(begins), entry.shape(weight)[1])
    if mode == "max":
        return _largest(rows, counts, shape)
    total = picking.index_add(zeros(shape, weight.dtype, weight.device), 0, beside(rows, bag), rows)
    if mode == "sum":
        return total
    return total / beside(rows, np.maximum(counts, 1)).to(weight.dtype).unsqueeze(1)


def _begins(offsets: Tensor, include_last: bool, n: int) -> np.ndarray[Any, Any]:
    """Where the bags of ``n`` indices begin."""
    begins = offsets._values().astype(np.int64)
    if len(begins) and begins[-1] > n:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length {n} but got offsets[-1] of {begins[-1]}"
        )
    if include_last:
        begins = begins[:-1]
    if len(begins) and begins[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from"
            f" position 0. However, got {begins[0]}"
        )
    if (np.diff(begins) < 0).any():
        raise RuntimeError("offsets must not decrease")
    return begins


def _largest(
    rows: Tensor, counts: np.ndarray[tuple[int], np.dtype[np.int64]], shape: tuple[int, int]
) -> Tensor:
    """The largest elements of runs of rows; a run that is shorter than others repeats its first one."""

    if not counts.sum():
        return zeros(shape, rows.dtype, rows.device)
    first = np.cumsum(counts) - counts
    step = np.arange(counts.max())
    places = first[:, None] + np.where(step < counts[:, None], step, 0)
    places = np.where(counts[:, None] > 0, places, 0)
    found = picking.index_select(rows, 0, beside(rows, places.reshape(-1)))
    y = found.reshape(shape[0], len(step), shape[1]).max(1).values
    there = beside(rows, counts > 0).unsqueeze(1)
    return y.where(there, zeros(shape, rows.dtype, rows.device))
