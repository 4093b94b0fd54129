"""Parameter and Buffer: tensors that a module registers when they are assigned to it; and without a shape."""

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


# ---------------------------------------------------------------- without a shape
# A lazy module gives them one at its first call.
_NO_SHAPE = (
    "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in"
    " `load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call"
    " `forward` to initialize the parameters before accessing their attributes."
)
#: What may be asked of a tensor without a shape.
_ALLOWED = set(
    """bfloat16 cpu cuda data device double dtype float get_device grad grad_fn half is_complex is_cuda
    is_floating_point is_inference is_leaf layout materialize names register_hook requires_grad requires_grad_
    to type""".split()
)
_REFUSED = {name for name in dir(Tensor) if not name.startswith("_")} - _ALLOWED - {"shape"}
_OPERATORS = set(
    """add radd sub rsub mul rmul matmul rmatmul truediv rtruediv pow neg getitem setitem len iter
    """.split()
)


def _unusable(name: str) -> ValueError:
    return ValueError(
        f"Attempted to use an uninitialized parameter in {name}. This error happens when you are using"
        " a `LazyModule` or explicitly manipulating `torch.nn.parameter.UninitializedParameter` objects."
        " When using LazyModules Call `forward` with a dummy batch to initialize the parameters before"
        " calling torch functions"
    )


class UninitializedTensorMixin:
    """What both kinds are: nothing that depends on a shape can be done with them."""

    __slots__ = ()

    _becomes: type

    def __getattribute__(self, name: str) -> Any:
        if name == "shape":
            raise RuntimeError(_NO_SHAPE)
        if name in _REFUSED:
            raise _unusable(name)
        return super().__getattribute__(name)

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Take a shape, and memory whose values are arbitrary; it is an ordinary one from now on."""
        made: Any = self
        made.__class__ = self._becomes
        place = made.device if device is None else device
        made.data = creation.empty(*shape, dtype=dtype or made.dtype, device=place)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = _rebuilt(*self._parts())
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuilt, self._parts()

    def _parts(self) -> tuple[Any, ...]:
        made: Any = self
        return type(self), made.requires_grad, made.dtype

    def __repr__(self, **options: Any) -> str:
        return f"<{type(self).__name__}>"


def _operator(name: str) -> Any:
    def refuse(self: Any, *operands: Any) -> Any:
        raise _unusable(name)

    return refuse


for _name in _OPERATORS:
    setattr(UninitializedTensorMixin, f"__{_name}__", _operator(f"__{_name}__"))


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter without a shape.

    Examples
    --------
    >>> import jitgrad
    >>> p = jitgrad.nn.UninitializedParameter()
    >>> p.materialize((2, 3))
    >>> p.shape
    jitgrad.Size([2, 3])
    """

    __slots__ = ()

    _becomes = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Any = None, dtype: Any = None
    ) -> UninitializedParameter:
        """One of a dtype and on a device."""
        made: Any = creation.as_class(creation.empty(0, device=device, dtype=dtype), cls)
        made.requires_grad = requires_grad
        return made


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer without a shape."""

    __slots__ = ()

    _becomes = Tensor

    def __new__(
        cls,
        requires_grad: bool = False,
        device: Any = None,
        dtype: Any = None,
        persistent: bool = True,
    ) -> UninitializedBuffer:
        """One of a dtype and on a device."""
        made: Any = creation.as_class(creation.empty(0, device=device, dtype=dtype), cls)
        made.requires_grad = requires_grad
        made.persistent = persistent
        return made


def _rebuilt(kind: Any, requires_grad: bool, dtype: Any) -> Any:
    return kind(requires_grad, dtype=dtype)


def is_lazy(param: Any) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return isinstance(param, UninitializedTensorMixin)
