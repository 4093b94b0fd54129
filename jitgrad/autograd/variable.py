"""Variable: what a tensor with a gradient was called before the two became one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


class _Kind(type):
    def __instancecheck__(cls, value: object) -> bool:
        from jitgrad.tensor import Tensor

        return isinstance(value, Tensor)

    def __call__(cls, data: Any, requires_grad: bool = False) -> Tensor:
        found: Tensor = data.detach()
        return found.requires_grad_() if requires_grad else found


class Variable(metaclass=_Kind):
    """``Variable(data)`` is a tensor over the memory of ``data``, without its history."""
