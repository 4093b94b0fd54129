"""layout and memory_format: how elements lie in memory; tensors here have strides and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


class _Named:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"jitgrad.{self._name}"

    def __reduce__(self) -> str:
        return self._name


class layout(_Named):  # noqa: N801 - PyTorch's name
    """The kind of a tensor's memory."""


class memory_format(_Named):  # noqa: N801 - PyTorch's name
    """The order in which dims lie in memory."""


strided = layout("strided")
contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")

#: The orders that mean something of their own, and the dims that a tensor has in them.
DIMS = {channels_last: 4, channels_last_3d: 5}


def _channels_last(x: Tensor, order: Any) -> Tensor:
    """``x`` as a contiguous tensor would have it whose second dim is its last."""
    ndim = DIMS[order]
    if x.ndim != ndim:
        raise RuntimeError(f"required rank {ndim} tensor to use {order._name} format")
    return x.permute([0, *range(2, ndim), 1])


def is_in(x: Tensor, order: Any) -> bool:
    """Whether the elements of ``x`` lie in an order without gaps."""
    return bool(x.ndim == DIMS[order]) and bool(_channels_last(x, order).is_contiguous())


def copy_in_order(x: Tensor, order: Any) -> Tensor:
    """A copy of ``x`` that lies in that order."""
    ndim = DIMS[order]
    return _channels_last(x, order).clone().permute([0, ndim - 1, *range(1, ndim - 1)])


def in_order(x: Tensor, order: Any) -> Tensor:
    """``x`` itself if it lies in that order, else a copy that does."""
    return x if is_in(x, order) else copy_in_order(x, order)
