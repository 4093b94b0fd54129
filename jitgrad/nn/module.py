"""Module: the base class of everything that has parameters; its parts are in files of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad import creation, dtypes
from jitgrad.autograd.grad_mode import no_grad
from jitgrad.devices import device
from jitgrad.nn.calls import Calls
from jitgrad.nn.members import Members
from jitgrad.nn.parameter import Parameter
from jitgrad.nn.state import State
from jitgrad.tensor import Tensor


class Module(Calls, State):
    """A function with parameters: a subclass makes them in ``__init__`` and uses them in ``forward``.

    Parameters, buffers and modules that are assigned to attributes are registered: `parameters`,
    `state_dict`, `to` and `train` find them.

    Examples
    --------
    >>> import jitgrad
    >>> class Affine(jitgrad.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weight = jitgrad.nn.Parameter(jitgrad.ones(2))
    ...
    ...     def forward(self, x):
    ...         return x * self.weight
    >>> m = Affine()
    >>> m(jitgrad.tensor([2.0, 3.0])).sum().backward()
    >>> m.weight.grad
    tensor([2., 3.])
    """

    dump_patches: bool = False
    training: bool
    #: Whether ``__init__`` passes its arguments on to the next class, where a subclass has other bases.
    call_super_init: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if (args or kwargs) and not self.call_super_init:
            got = f"got an unexpected keyword argument '{next(iter(kwargs), None)}'"
            if not kwargs:
                got = f"takes 1 positional argument but {len(args) + 1} were given"
            raise TypeError(f"{type(self).__name__}.__init__() {got}")
        super().__init__()
        self.__dict__["training"] = True
        if self.call_super_init:
            super(Members, self).__init__(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; to be written by the subclass."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    # ------------------------------------------------------------ modes
    def train(self, mode: bool = True) -> Any:
        """Put this module and those below into training mode (dropout drops, ...); returns it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Put this module and those below into evaluation mode; returns it."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Set ``requires_grad`` of all parameters; returns the module."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to 0."""
        for param in self.parameters():
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
            else:
                grad = param.grad
                grad.requires_grad_(False) if grad.is_leaf else grad.detach_()
                grad.zero_()
                param.grad = grad

    # ------------------------------------------------------------ over all of it
    def apply(self, fn: Callable[[Any], Any]) -> Any:
        """Call ``fn`` with every module below and then with this one, which is returned."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Replace every parameter, gradient and buffer by what ``fn`` makes of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for param in self._parameters.values():
            if param is None:
                continue
            with no_grad():
                new = fn(param)
                if new is not param:
                    grad, param.grad = param.grad, None
                    param.data = new
                    if grad is not None:
                        grad.data = fn(grad)
                        param.grad = grad
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Convert the floating-point parameters and buffers: ``to(dtype)``, ``to(device)``, ``to(tensor)``.

        A ``memory_format`` is accepted; the parameters stay as they lie, which is how kernels read them best.

        Returns
        -------
        Module
            Itself; the parameters stay the same objects.

        Raises
        ------
        TypeError
            If the dtype is not floating point, or an argument is none of these.
        """
        dtype = kwargs.pop("dtype", None)
        place = kwargs.pop("device", None)
        kwargs.pop("non_blocking", None)
        kwargs.pop("memory_format", None)
        if "copy" in kwargs:
            raise RuntimeError(".to() does not accept copy argument")
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, place = arg.dtype, arg.device
            elif isinstance(arg, (dtypes.dtype, type)):
                dtype = arg
            elif isinstance(arg, (str, device, int)):
                place = place if isinstance(arg, bool) else arg
            elif arg is not None:
                kwargs[type(arg).__name__] = arg
        if kwargs:
            raise TypeError(
                f"to() received an invalid combination of arguments - got ({', '.join(kwargs)})"
            )
        if dtype is None and place is None:
            return self
        dtype = None if dtype is None else dtypes.of(dtype)
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, but got desired"
                f" dtype={dtype}"
            )

        def convert(x: Tensor) -> Tensor:
            x = x.to(dtype) if dtype is not None and x.is_floating_point() else x
            return x if place is None else x.to(place)

        return self._apply(convert)

    def float(self) -> Any:
        """Floating-point parameters and buffers as float32."""
        return self.to(dtypes.float32)

    def double(self) -> Any:
        """Floating-point parameters and buffers as float64."""
        return self.to(dtypes.float64)

    def half(self) -> Any:
        """Floating-point parameters and buffers as float16."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Any:
        """Floating-point parameters and buffers as bfloat16."""
        return self.to(dtypes.bfloat16)

    def type(self, dst_type: Any) -> Any:
        """All parameters and buffers in a dtype."""
        return self._apply(lambda x: x.type(dst_type))

    def cpu(self) -> Any:
        """Its parameters and buffers on the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Any:
        """Its parameters and buffers on the GPU."""
        return self.to("cuda" if device is None else device)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """New, uninitialised memory for all parameters and buffers."""
        return self._apply(lambda x: creation.empty_like(x, device=device), recurse)

    # ------------------------------------------------------------ as text
    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the brackets before the children; a subclass may write it."""
        return ""

    def __repr__(self) -> str:
        own = self.extra_repr()
        lines = own.split("\n") if own else []
        children = [
            f"({name}): {indented(repr(module), 2)}" for name, module in self._modules.items()
        ]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({own})"
        body = "\n  ".join(lines + children)
        return f"{self._get_name()}(\n  {body}\n)"


def indented(text: str, spaces: int) -> str:
    """A text whose lines after the first are moved to the right."""
    return text.replace("\n", "\n" + " " * spaces)


__all__ = ["Module", "Parameter"]


# What these return says whose method made it: "<generator object Module.parameters at ...>".
for (
    _name
) in "parameters named_parameters buffers named_buffers children modules named_modules".split():
    _method = getattr(Module, _name)
    _method.__qualname__ = f"Module.{_name}"
del _name, _method
