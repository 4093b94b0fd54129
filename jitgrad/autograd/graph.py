"""Hooks on what the graph saves, and on several gradients at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry
from jitgrad.autograd import stops, watching
from jitgrad.autograd.hooks import Packed, RemovableHandle, held_by
from jitgrad.autograd.node import Node, producer

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = [
    "GradientEdge",
    "Node",
    "get_gradient_edge",
    "disable_saved_tensors_hooks",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]

_refused: list[str] = []


class saved_tensors_hooks:  # noqa: N801 - PyTorch's name
    """Have what ops save packed by one function and unpacked by another when backward reads it.

    Parameters
    ----------
    pack_hook : callable
        From a Tensor to anything; called for each value an op saves inside the block.
    unpack_hook : callable
        From what ``pack_hook`` returned to a Tensor of the same content; called by backward.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    >>> with jitgrad.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), jitgrad.tensor):
    ...     y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 4.])
    """

    def __init__(
        self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]
    ) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if _refused:
            raise RuntimeError(_refused[-1])
        watching.watch(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        watching.unwatch(self)

    def __call__(self, node: Any) -> None:
        """Put what a row saved aside, packed; backward stops there for it.

        Hooks that were entered later have done so already, and left nothing.
        """
        saved = entry.node_word(node, col.SAVED)
        if not saved or entry.node_word(node, col.FLAGS) & col.F_FREED:
            return
        places = [i for i in range(col.MAX_INPUTS) if saved & (1 << i)]
        if saved & col.SAVED_OUT:
            places.append(col.SAVED_OUT)
        packed = {}
        for i in places:
            x = call(entry.node_saved, node, i)
            # The row's own value without its node: packed, it would keep the row alive for ever.
            packed[i] = self.pack_hook(x.detach() if i == col.SAVED_OUT else x)
        held = held_by(node)
        held.packed = Packed(packed, self.unpack_hook)
        entry.node_free(node)
        entry.hold(node, held, col.F_FREED | col.F_HOLDS, 0)


def pack_saved(ctx: Any) -> None:
    """Pack what a custom function saved, if hooks of this thread are there."""
    for watcher in reversed(watching.watchers()):
        if isinstance(watcher, saved_tensors_hooks):
            saved = ctx._saved
            values = {i: watcher.pack_hook(x) for i, x in enumerate(saved) if x is not None}
            ctx.packed = Packed(values, watcher.unpack_hook)
            ctx._saved = tuple(None if x is None else True for x in saved)
            return


class save_on_cpu(saved_tensors_hooks):  # noqa: N801 - PyTorch's name
    """Keep copies of what ops save; everything is on the CPU here, so this only protects from changes.

    ``pin_memory`` and ``device_type`` are accepted and without effect.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda x: x.detach().clone(), lambda x: x)


class disable_saved_tensors_hooks:  # noqa: N801 - PyTorch's name
    """Inside, entering `saved_tensors_hooks` raises RuntimeError with the given message."""

    def __init__(self, error_message: str) -> None:
        self._message = error_message

    def __enter__(self) -> None:
        _refused.append(self._message)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _refused.pop()


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Tell autograd that a tensor's memory was changed behind its back."""
    from jitgrad.tensor import Tensor

    for x in (tensor,) if isinstance(tensor, Tensor) else tensor:
        call(entry.bump, x)


class GradientEdge(NamedTuple):
    """A place in the graph through which a gradient flows: ``grad`` and ``backward`` take it as an input.

    ``ownership_token`` keeps what the place needs alive; it is not for users.
    """

    node: Node
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge at which the gradient of ``tensor`` arrives, as long as it is not changed in place.

    Raises
    ------
    RuntimeError
        If it does not require grad.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.ones(2, requires_grad=True)
    >>> y = x * 3
    >>> edge = jitgrad.autograd.graph.get_gradient_edge(y)
    >>> jitgrad.autograd.grad((y * 2).sum(), edge)
    (tensor([2., 2.]),)
    """
    if not tensor.requires_grad:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require gradients"
        )
    own = call(entry.node, tensor)
    return GradientEdge(*producer(own), own)


class _Handles:
    """Several handles as one."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Take the hook away."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all"
) -> _Handles:
    """Have a function called once a backward pass has the gradients of several tensors.

    Parameters
    ----------
    tensors : sequence of Tensor
        Each requires grad.
    fn : callable
        With mode "all" it gets a list of all gradients (None where there is none in this pass) after the
        last of them is there; with "any" the first one.
    mode : {"all", "any"}
        See ``fn``.

    Raises
    ------
    ValueError
        If the mode is another.

    Examples
    --------
    >>> import jitgrad
    >>> x, y = jitgrad.ones(1, requires_grad=True), jitgrad.ones(1, requires_grad=True)
    >>> handle = jitgrad.autograd.graph.register_multi_grad_hook([x, y], print)
    >>> (x * y * 3).sum().backward()
    [tensor([3.]), tensor([3.])]
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    found: dict[int, Tensor] = {}

    def finish() -> None:
        gradients = [found.get(i) for i in range(len(tensors))]
        waiting = bool(found)
        found.clear()
        if mode == "all" and waiting:
            fn(gradients)

    def hook(i: int, gradient: Tensor) -> None:
        first = not found
        found[i] = gradient
        if first:
            stops.at_end(finish)
            if mode == "any":
                fn(gradient)
        if mode == "all" and len(found) == len(tensors):
            finish()

    return _Handles([x.register_hook(functools.partial(hook, i)) for i, x in enumerate(tensors)])
