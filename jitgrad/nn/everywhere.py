"""Hooks of all modules: before and after every forward and backward, and when a member is registered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from jitgrad.autograd.hooks import RemovableHandle

Hook = Callable[..., Any]


class Everywhere:
    """The tables of these hooks."""

    def __init__(self) -> None:
        #: Those of calls in one table, so that a call without any asks one question: kind and hook.
        self.calls: OrderedDict[int, tuple[str, Hook]] = OrderedDict()
        self.parameter: OrderedDict[int, Hook] = OrderedDict()
        self.buffer: OrderedDict[int, Hook] = OrderedDict()
        self.module: OrderedDict[int, Hook] = OrderedDict()
        self.with_kwargs: set[int] = set()
        self.always_called: set[int] = set()

    def of(self, kind: str) -> Iterator[tuple[int, Hook]]:
        """The hooks of calls of a kind, with their ids."""
        for key, (name, hook) in list(self.calls.items()):
            if name == kind:
                yield key, hook

    def registered(self, kind: str, module: Any, name: str, member: Any) -> Any:
        """The member, or what the hooks put in its place."""
        for hook in getattr(self, kind).values():
            changed = hook(module, name, member)
            member = member if changed is None else changed
        return member


EVERYWHERE = Everywhere()


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """`Module.register_forward_pre_hook` of all modules; called before a module's own."""
    return RemovableHandle(EVERYWHERE, "calls", ("forward_pre", hook))


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """`Module.register_forward_hook` of all modules; called before a module's own."""
    handle = RemovableHandle(EVERYWHERE, "calls", ("forward", hook))
    if with_kwargs:
        EVERYWHERE.with_kwargs.add(handle.id)
    if always_call:
        EVERYWHERE.always_called.add(handle.id)
    return handle


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """`Module.register_full_backward_pre_hook` of all modules; called before a module's own."""
    return RemovableHandle(EVERYWHERE, "calls", ("backward_pre", hook))


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """`Module.register_full_backward_hook` of all modules; called before a module's own."""
    return RemovableHandle(EVERYWHERE, "calls", ("backward", hook))


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """Have ``hook(module, name, parameter)`` called when a parameter is registered; it may return another."""
    return RemovableHandle(EVERYWHERE, "parameter", hook)


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """Have ``hook(module, name, buffer)`` called when a buffer is registered; it may return another."""
    return RemovableHandle(EVERYWHERE, "buffer", hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """Have ``hook(module, name, child)`` called when a child is registered; it may return another."""
    return RemovableHandle(EVERYWHERE, "module", hook)
