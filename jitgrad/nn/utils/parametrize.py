"""Parameters that are computed from others: a module's attribute becomes the result of other modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jitgrad.autograd.grad_mode import no_grad
from jitgrad.nn.containers import ModuleDict, ModuleList
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter
from jitgrad.tensor import Tensor


class ParametrizationList(ModuleList):
    """The modules that compute one attribute, and what they compute it from.

    Attributes
    ----------
    original : Parameter or Tensor
        What the first module gets; ``original0``, ``original1``, ... if it gets several.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor) -> None:
        super().__init__(modules)
        given = self._inverse(original.detach())
        self.is_tensor = isinstance(given, Tensor)
        if not self.is_tensor and not isinstance(given, Sequence):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got"
                f" {type(given).__name__}"
            )
        found = [given] if self.is_tensor else list(given)
        self.names = ["original"] if self.is_tensor else [f"original{i}" for i in range(len(found))]
        for name, x in zip(self.names, found, strict=True):
            if isinstance(original, Parameter):
                kept = original if x is original else Parameter(x, original.requires_grad)
                self.register_parameter(name, kept)
            else:
                self.register_buffer(name, x)

    def _inverse(self, value: Tensor, strict: bool = False) -> Any:
        """What the first module has to get for a value to come out.

        Modules without an inverse pass the value on, or with ``strict`` raise RuntimeError.
        """
        found: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    found = module.right_inverse(found)
                elif strict:
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
        return found

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that ``value`` comes out."""
        given = self._inverse(value.detach(), strict=True)
        with no_grad():
            for name, x in zip(self.names, [given] if self.is_tensor else given, strict=True):
                getattr(self, name).copy_(x)

    def forward(self) -> Tensor:
        """The attribute's value."""
        found = self[0](*(getattr(self, name) for name in self.names))
        for module in list(self)[1:]:
            found = module(found)
        return found


_caching = 0
_cache: dict[tuple[int, str], Tensor] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Inside, every computed attribute is computed once, when it is first asked for.

    Examples
    --------
    >>> import jitgrad
    >>> m = jitgrad.nn.utils.parametrizations.weight_norm(jitgrad.nn.Linear(2, 1))
    >>> with jitgrad.nn.utils.parametrize.cached():
    ...     m.weight is m.weight
    True
    """
    global _caching
    _caching += 1
    try:
        yield
    finally:
        _caching -= 1
        if not _caching:
            _cache.clear()


def _property(name: str) -> property:
    def get(self: Any) -> Tensor:
        if not _caching:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def put(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def _reclass(module: Any) -> None:
    """Give a module a class of its own, with a property for each computed attribute.

    A fresh one after each change: copies of the module share the old one.
    """
    plain = getattr(type(module), "_plain_class", type(module))
    names = list(module.parametrizations)
    if not names:
        del module.parametrizations
        module.__class__ = plain
        return
    members = {name: _property(name) for name in names}
    module.__class__ = type(
        f"Parametrized{plain.__name__}", (plain,), {"_plain_class": plain, **members}
    )


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether an attribute, or any, of a module is computed."""
    table = module._modules.get("parametrizations")
    if not isinstance(table, ModuleDict):
        return False
    return len(table) > 0 if tensor_name is None else tensor_name in table


def type_before_parametrizations(module: Module) -> type:
    """The class that a module had before attributes of it were computed."""
    return getattr(type(module), "_plain_class", type(module))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Have a parameter or buffer computed by a module from what was there.

    Parameters
    ----------
    module : Module
        Its class is replaced by a subclass.
    tensor_name : str
        The attribute.
    parametrization : Module
        From the original to the value; with a method ``right_inverse`` the value stays as it is, and
        can be assigned.
    unsafe : bool
        Do not check that shape and dtype stay.

    Returns
    -------
    Module
        ``module``.

    Raises
    ------
    ValueError
        If there is no such parameter or buffer, or its shape or dtype would change.

    Examples
    --------
    >>> import jitgrad
    >>> class Symmetric(jitgrad.nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> m = jitgrad.nn.Linear(3, 3)
    >>> m = jitgrad.nn.utils.parametrize.register_parametrization(m, "weight", Symmetric())
    >>> bool((m.weight == m.weight.T).all())
    True
    """
    if is_parametrized(module, tensor_name):
        table = module.parametrizations[tensor_name]
        if not unsafe:
            before = getattr(module, tensor_name)
            _same(before, parametrization(before))
        table.append(parametrization)
        return module
    for own in (module._parameters, module._buffers):
        if own.get(tensor_name) is not None:
            original: Any = own[tensor_name]
            break
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with"
            f" name '{tensor_name}'"
        )
    made = ParametrizationList([parametrization], original)
    if not unsafe:
        _same(original, made())
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()
    del own[tensor_name]
    module.parametrizations.add_module(tensor_name, made)
    _reclass(module)
    return module


def _same(before: Tensor, after: Any) -> None:
    if not isinstance(after, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(after).__name__}.")
    for what in ("dtype", "shape"):
        old, new = getattr(before, what), getattr(after, what)
        if old != new:
            raise ValueError(
                f"Registering a parametrization may not change the {what} of the tensor, unless"
                f" `unsafe` flag is enabled.\nunparametrized {what}: {old}\nparametrized {what}: {new}"
            )


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a computed attribute a parameter or buffer again: with its value, or the original.

    Raises
    ------
    ValueError
        If it is not computed, or there are several originals and the value is not to be kept.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    table = module.parametrizations[tensor_name]
    original = getattr(table, table.names[0])
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name).detach().clone()
    elif table.is_tensor:
        value = original.detach()
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized"
            " in terms of a sequence of tensors."
        )
    del module.parametrizations[tensor_name]
    _reclass(module)
    if isinstance(original, Parameter):
        module.register_parameter(tensor_name, Parameter(value, original.requires_grad))
    else:
        module.register_buffer(tensor_name, value)
    return module


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Have the attributes of one module, or one of them, computed as those of another; both share what from.

    Returns
    -------
    Module
        ``to_module``.
    """
    if not is_parametrized(from_module):
        return to_module
    for name in from_module.parametrizations if tensor_name is None else [tensor_name]:
        table = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for module in table:
            register_parametrization(to_module, name, module)
        for kept in table.names:
            setattr(to_module.parametrizations[name], kept, getattr(table, kept))
    return to_module
