"""Memory formats: in which order the dims of a tensor of images lie in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


class memory_format:  # noqa: N801 - PyTorch's own name for it
    """An order of the dims in memory; there are `contiguous_format`, `channels_last`, ...

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.zeros(1, 2, 3, 4).contiguous(memory_format=jitgrad.channels_last)
    >>> x.shape, x.stride()
    (jitgrad.Size([1, 2, 3, 4]), (24, 1, 8, 2))
    """

    __slots__ = ("name", "order")

    def __init__(self, name: str, order: tuple[int, ...] = ()) -> None:
        self.name, self.order = name, order

    def __repr__(self) -> str:
        return f"jitgrad.{self.name}"

    def __reduce__(self) -> str:
        return self.name


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last", (0, 2, 3, 1))
channels_last_3d = memory_format("channels_last_3d", (0, 2, 3, 4, 1))


def is_laid_out(x: Tensor, form: memory_format) -> bool:
    """Whether the elements lie in that order, without gaps."""
    if not form.order:
        return x.is_contiguous()
    return x.ndim == len(form.order) and x.permute(form.order).is_contiguous()


def laid_out(x: Tensor, form: memory_format) -> Tensor:
    """A copy whose elements lie in that order.

    Raises
    ------
    RuntimeError
        If the format is for another number of dims.
    """
    if not form.order:
        return x.clone()
    if x.ndim != len(form.order):
        raise RuntimeError(f"required rank {len(form.order)} tensor to use {form.name} format")
    back = sorted(range(x.ndim), key=form.order.__getitem__)
    return x.permute(form.order).clone().permute(back)
