"""Copies of Tensors that Python makes: ``copy.deepcopy`` and pickles.

A deep copy copies storages, not tensors: what shared memory does so afterwards, as in PyTorch.  A pickle
holds each tensor's own elements.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.arena.columns import OFFSET
from jitgrad.arena.engine import entry

if TYPE_CHECKING:
    import numpy as np

    from jitgrad.tensor import Tensor


def deep_copy(self: Tensor, memo: dict[Any, Any]) -> Tensor:
    """A copy for ``copy.deepcopy``: of a leaf, with its gradient and attributes.

    Raises
    ------
    RuntimeError
        If it is no leaf.
    """
    from jitgrad import creation

    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy"
            " protocol at the moment. Use clone().detach() for a copy without history."
        )
    made = creation.as_class(_over_copied_storage(self, memo), type(self))
    if self.requires_grad:
        made.requires_grad = True
    memo[id(self)] = made
    grad = entry.grad(self)
    if grad is not None:
        made.grad = copy.deepcopy(grad, memo)
    for name, value in self.__dict__.items():
        setattr(made, name, copy.deepcopy(value, memo))
    return made


def _over_copied_storage(x: Tensor, memo: dict[Any, Any]) -> Tensor:
    """What ``x`` shows of its storage, of a copy of it that all tensors over it share."""
    from jitgrad.storage import UntypedStorage

    storages = memo.setdefault("jitgrad storages", {})
    address = entry.memory(x)
    if address not in storages:
        # The old one is kept, too: its address is the key as long as the copying goes on.
        old = UntypedStorage(x)
        storages[address] = old, old.clone()
    made = storages[address][1]
    return entry.restride(
        made._bytes, x.dtype.code, entry.word(x, OFFSET), *entry.shape(x), *entry.stride(x)
    )


def reduce_ex(self: Tensor, protocol: Any) -> tuple[Any, ...]:
    """What a pickle holds of a leaf.

    Raises
    ------
    RuntimeError
        If it is no leaf.
    """
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) can be pickled;"
            " pickle x.detach() instead"
        )
    parts = (type(self), self.detach().cpu()._memory().copy("K"), self.requires_grad)
    return rebuild, (*parts, self.dtype, str(self.device)), self.__dict__ or None


def rebuild(
    cls: type,
    array: np.ndarray[Any, Any],
    requires_grad: bool,
    dtype: dtypes.dtype | None = None,
    place: str = "cpu",
) -> Tensor:
    """A leaf from its parts, for pickle."""
    from jitgrad import creation

    made = creation.from_numpy(array) if dtype is not dtypes.bfloat16 else creation.of_bits(array)
    made = creation.as_class(creation.placed(made, place), cls)
    if requires_grad:
        made.requires_grad = True
    return made
