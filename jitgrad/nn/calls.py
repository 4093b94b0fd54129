"""Calling a module: its forward between the hooks before and after it, and those of its backward."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from jitgrad.autograd.function import Function
from jitgrad.autograd.grad_mode import is_grad_enabled
from jitgrad.autograd.hooks import RemovableHandle
from jitgrad.nn.everywhere import EVERYWHERE, Hook
from jitgrad.nn.members import Members
from jitgrad.tensor import Tensor

#: The table itself: every call of every module asks whether it is empty.
_EVERYWHERE = EVERYWHERE.calls


class Calls(Members):
    """The part of `Module` that calls it, with its hooks."""

    forward: Callable[..., Any]
    _forward_hooks: OrderedDict[int, Hook]
    _forward_pre_hooks: OrderedDict[int, Hook]
    _backward_hooks: OrderedDict[int, Hook]
    _backward_pre_hooks: OrderedDict[int, Hook]
    #: The ids of forward hooks that were asked for so.
    _with_kwargs: set[int]
    _always_called: set[int]
    #: Which kind of backward hooks it has: None before the first one.
    _is_full_backward_hook: bool | None

    def __init__(self) -> None:
        super().__init__()
        own = self.__dict__
        own["_forward_hooks"], own["_forward_pre_hooks"] = OrderedDict(), OrderedDict()
        own["_backward_hooks"], own["_backward_pre_hooks"] = OrderedDict(), OrderedDict()
        own["_with_kwargs"], own["_always_called"] = set(), set()
        own["_is_full_backward_hook"] = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, and the hooks around it."""
        if (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or _EVERYWHERE
        ):
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        called: set[int] = set()
        result: Any = None
        try:
            args, kwargs = self._before(args, kwargs)
            backward = _BackwardHooks(self)
            if backward.any:
                args = backward.enter(args)
            result = self.forward(*args, **kwargs)
            for key, hook in self._all_forward_hooks():
                called.add(key)
                changed = self._after(key, hook, args, kwargs, result)
                result = result if changed is None else changed
            if backward.any:
                result = backward.leave(result)
            if self._is_full_backward_hook is False:
                self._hook_last_node(result)
            return result
        except Exception:
            always = self._always_called | EVERYWHERE.always_called
            for key, hook in self._all_forward_hooks():
                if key in always and key not in called:
                    try:
                        changed = self._after(key, hook, args, kwargs, result)
                        result = result if changed is None else changed
                    except Exception as error:
                        warnings.warn(
                            "module forward hook with ``always_call=True`` raised an exception that was"
                            f" silenced as another error was raised in forward: {error}",
                            stacklevel=3,
                        )
            raise

    def _before(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for key, hook in [*EVERYWHERE.of("forward_pre"), *self._forward_pre_hooks.items()]:
            if key in self._with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not isinstance(changed, tuple) or len(changed) != 2:
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, new_kwargs),"
                            f" but got {changed}."
                        )
                    args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _after(
        self, key: int, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        if key in self._with_kwargs or key in EVERYWHERE.with_kwargs:
            return hook(self, args, kwargs, result)
        return hook(self, args, result)

    def _all_forward_hooks(self) -> list[tuple[int, Hook]]:
        return [*EVERYWHERE.of("forward"), *self._forward_hooks.items()]

    def _hook_last_node(self, result: Any) -> None:
        """What `register_backward_hook` does: it looks on at the node that made the first output."""
        warnings.warn(
            "Using a non-full backward hook when the forward contains multiple autograd Nodes is"
            " deprecated and will be removed in future versions. This hook will be missing some"
            " grad_input. Please use register_full_backward_hook to get the documented behavior.",
            FutureWarning,
            stacklevel=4,
        )
        while not isinstance(result, Tensor):
            result = next(iter(result.values())) if isinstance(result, dict) else result[0]
        node = result.grad_fn
        if node is not None:
            for hook in self._backward_hooks.values():
                node.register_hook(functools.partial(hook, self))

    # ------------------------------------------------------------ registering
    def _register(self, table: str, hook: Hook, prepend: bool = False) -> RemovableHandle:
        handle = RemovableHandle(self, table, hook)
        if prepend:
            getattr(self, table).move_to_end(handle.id, last=False)
        return handle

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Have ``hook(module, args)``, or ``hook(module, args, kwargs)``, called before `forward`.

        What it returns, unless None, replaces the arguments: a tuple or one value; with ``with_kwargs``
        a pair ``(args, kwargs)``.
        """
        handle = self._register("_forward_pre_hooks", hook, prepend)
        if with_kwargs:
            self._with_kwargs.add(handle.id)
        return handle

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Have ``hook(module, args, output)`` (with kwargs before the output) called after `forward`.

        What it returns, unless None, replaces the output.  With ``always_call`` it is also called when
        something raised.
        """
        handle = self._register("_forward_hooks", hook, prepend)
        if with_kwargs:
            self._with_kwargs.add(handle.id)
        if always_call:
            self._always_called.add(handle.id)
        return handle

    def _full_backward_hooks(self, full: bool) -> None:
        if self._is_full_backward_hook is not None and self._is_full_backward_hook is not full:
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module."
                " Please use only one of them."
            )
        self._is_full_backward_hook = full

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """Have ``hook(module, grad_input, grad_output)`` called at the node of the output.

        Of old: what it sees as the input's gradients are those of the last operation only.  Use
        `register_full_backward_hook`.
        """
        self._full_backward_hooks(False)
        return self._register("_backward_hooks", hook)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(module, grad_output)`` called in backward before the module's own gradients.

        ``grad_output`` is a tuple; what the hook returns, unless None, replaces it.
        """
        return self._register("_backward_pre_hooks", hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(module, grad_input, grad_output)`` called in backward after the module's gradients.

        Both are tuples with None for what is no tensor; what the hook returns, unless None, replaces
        ``grad_input``.
        """
        self._full_backward_hooks(True)
        return self._register("_backward_hooks", hook, prepend)


# ---------------------------------------------------------------- backward
class BackwardHookFunction(Function):
    """Passes tensors on; in backward hands their gradients to a function, which may replace them."""

    @staticmethod
    def forward(ctx: Any, act: Callable[[Any], Any], zeros: bool, *tensors: Tensor) -> Any:
        """The tensors as they are; with ``zeros`` a gradient that does not come is zeros."""
        ctx.act = act
        ctx.set_materialize_grads(zeros)
        ctx.mark_non_differentiable(*(x for x in tensors if not x.requires_grad))
        return tensors

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """What the function makes of the gradients."""
        return (None, None, *ctx.act(gradients))


class _BackwardHooks:
    """One call of a module: its backward hooks stand at the doors of its inputs and its outputs."""

    def __init__(self, module: Calls) -> None:
        self.module = module
        own = module._backward_hooks.values() if module._is_full_backward_hook else ()
        self.hooks = [*(hook for _, hook in EVERYWHERE.of("backward")), *own]
        self.pre_hooks = [hook for _, hook in EVERYWHERE.of("backward_pre")]
        self.pre_hooks += module._backward_pre_hooks.values()
        self.any = bool(self.hooks or self.pre_hooks)
        self.grad_outputs: tuple[Any, ...] | None = None
        self.inputs: list[int] | None = None
        self.outputs: list[int] | None = None
        self.n_inputs = self.n_outputs = 0

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.n_inputs = len(args)
        args, self.inputs = _through(self._input_gradients, True, args)
        return args

    def leave(self, result: Any) -> Any:
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of"
                f" Tensors but received {type(result)}",
                stacklevel=4,
            )
        outputs = result if isinstance(result, tuple) else (result,)
        self.n_outputs = len(outputs)
        outputs, self.outputs = _through(self._output_gradients, False, outputs)
        return outputs if isinstance(result, tuple) else outputs[0]

    def _output_gradients(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        assert self.outputs is not None
        found = _packed(self.outputs, gradients, self.n_outputs)
        for hook in self.pre_hooks:
            changed = hook(self.module, found)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                if len(changed) != len(found):
                    raise RuntimeError(
                        "Backward pre hook returned an invalid number of grad_output, got"
                        f" {len(changed)}, but expected {len(found)}"
                    )
                found = changed
        self.grad_outputs = found
        if self.inputs is None:
            self._without_input_gradients()
        return tuple(found[i] for i in self.outputs)

    def _without_input_gradients(self) -> None:
        if self.hooks:
            warnings.warn(
                "Full backward hook is firing when gradients are computed with respect to module"
                " outputs since no inputs require gradients. See"
                " https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
                "#torch.nn.Module.register_full_backward_hook for more details.",
                stacklevel=4,
            )
        for hook in self.hooks:
            changed = hook(self.module, (None,) * self.n_inputs, self.grad_outputs)
            if changed is not None and any(g is not None for g in changed):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return"
                    " None or None for all gradients."
                )
        self.grad_outputs = None

    def _input_gradients(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.grad_outputs is None:
            # The gradient came to the input on another way than through the output.
            return gradients
        assert self.inputs is not None
        found = _packed(self.inputs, gradients, self.n_inputs)
        for hook in self.hooks:
            changed = hook(self.module, found, self.grad_outputs)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                if len(changed) != len(found):
                    raise RuntimeError(
                        "Backward hook returned an invalid number of grad_input, got"
                        f" {len(changed)}, but expected {len(found)}"
                    )
                found = changed
        self.grad_outputs = None
        return tuple(found[i] for i in self.inputs)


def _through(
    act: Callable[[Any], Any], zeros: bool, values: tuple[Any, ...]
) -> tuple[tuple[Any, ...], list[int] | None]:
    """Values whose tensors have passed the door, and where these are (None: no gradient flows)."""
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    if not is_grad_enabled() or not any(values[i].requires_grad for i in places):
        return values, None
    found = list(values)
    passed = BackwardHookFunction.apply(act, zeros, *(values[i] for i in places))
    for i, value in zip(places, passed, strict=True):
        found[i] = value
    if type(values) is tuple:
        return tuple(found), places
    return type(values)(*found), places


def _packed(places: list[int], gradients: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    found: list[Any] = [None] * n
    for i, g in zip(places, gradients, strict=True):
        found[i] = g
    return tuple(found)
