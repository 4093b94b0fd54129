"""Parameter and Buffer: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from jitgrad import creation
from jitgrad.tensor import Tensor


class Parameter(Tensor):
    """A leaf that a module counts among its parameters once it is assigned to an attribute.

    Parameters
    ----------
    data : Tensor, optional
        Of any shape, floating point if a gradient is wanted; its memory is shared.  None: no elements.
    requires_grad : bool
        Whether a gradient is wanted.

    Raises
    ------
    AttributeError
        If ``data`` is no Tensor.
    RuntimeError
        If ``requires_grad`` and the dtype is not floating point.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.Parameter(jitgrad.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        """A Parameter over the memory of ``data``."""
        if data is None:
            data = creation.empty(0)
        made: Any = creation.as_class(data.detach(), cls)
        if requires_grad:
            if not data.dtype.is_floating_point:
                raise RuntimeError(
                    "Only Tensors of floating point and complex dtype can require gradients"
                )
            made.requires_grad = True
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self, **options: Any) -> str:
        return f"Parameter containing:\n{super().__repr__(**options)}"


class _BufferType(type):
    """Any tensor that was made by `Buffer` is an instance of it, as in PyTorch."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferType):
    """A tensor that a module registers as a buffer when it is assigned: state, but not learned.

    Examples
    --------
    >>> import jitgrad
    >>> m = jitgrad.nn.Module()
    >>> m.count = jitgrad.nn.Buffer(jitgrad.zeros(1), persistent=False)
    >>> list(m.buffers()), list(m.state_dict())
    ([tensor([0.])], [])
    """

    __slots__ = ()

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        """A Tensor over the memory of ``data``, marked as a buffer."""
        made = creation.empty(0) if data is None else data.detach()
        made.requires_grad_(bool(data is not None and data.requires_grad))
        made._is_buffer, made.persistent = True, persistent  # type: ignore[attr-defined]
        return made
