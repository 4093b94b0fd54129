"""Hooks: what a row holds for them, how they are registered and removed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Hooks = dict[int, Callable[..., Any]]

#: The kinds of hooks, in the order in which a backward pass calls them.
KINDS = ("gradient", "before", "after", "accumulated")


class Packed:
    """What a row saved, as the user's hooks packed it."""

    def __init__(self, values: dict[int, Any], unpack: Callable[[Any], Tensor]) -> None:
        self._values: dict[int, Any] | None = values
        self._unpack = unpack

    def __getitem__(self, i: int) -> Tensor:
        """Value ``i``, unpacked.

        Raises
        ------
        RuntimeError
            If a backward pass has let go of it.
        TypeError
            If the hook does not return a Tensor.
        """
        from jitgrad import errors
        from jitgrad.tensor import Tensor

        if self._values is None:
            raise errors.from_fault(col.X_FREED, 0, 0, 0, ())
        from jitgrad.creation import as_chosen

        with as_chosen():
            found = self._unpack(self._values[i])
        if not isinstance(found, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type"
                f" {type(found)}"
            )
        return found

    def free(self) -> None:
        """Let go of it."""
        self._values = None


class Held:
    """What a row holds for Python: its hooks by kind, and the metadata of its node.

    ``gradient`` hooks look at a tensor's gradient, ``before`` and ``after`` at what goes into a node and
    what comes out, ``accumulated`` at a leaf whose ``.grad`` is complete.
    """

    #: None until the first hook of that kind.
    gradient: Hooks | None = None
    before: Hooks | None = None
    after: Hooks | None = None
    accumulated: Hooks | None = None
    #: What the row saved, where hooks have packed it.
    packed: Packed | None = None
    _metadata: dict[Any, Any] | None = None

    @property
    def metadata(self) -> dict[Any, Any]:
        """The user's own dict."""
        if self._metadata is None:
            self._metadata = {}
        return self._metadata


class RemovableHandle:
    """Takes a hook away again; also a context manager that does so at its end.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.ones(1, requires_grad=True)
    >>> with x.register_hook(print):
    ...     x.sum().backward()
    tensor([1.])
    >>> x.sum().backward()
    """

    __slots__ = ("_hooks", "id")

    _next = 0

    def __init__(self, owner: Any, kind: str, hook: Any) -> None:
        self.id = RemovableHandle._next
        RemovableHandle._next += 1
        table = getattr(owner, kind)
        if table is None:
            table = {}
            setattr(owner, kind, table)
        table[self.id] = hook
        # Weakly: a handle must not keep a graph alive.
        self._hooks = (weakref.ref(owner), kind)

    def remove(self) -> None:
        """Take the hook away; does nothing the second time."""
        owner, kind = self._hooks
        held = owner()
        if held is not None:
            getattr(held, kind).pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def held_by(node: Any, flag: int = col.F_PYTHON) -> Held:
    """What the row of a node holds, made if there is nothing; with F_PYTHON backward stops there."""
    held = entry.held(node)
    if held is None:
        held = Held()
    flags = entry.node_word(node, col.FLAGS)
    if not flags & col.F_PYTHON:
        entry.hold(node, held, flag, 1)
    elif flags & col.F_DIRECT and flag:
        # A custom function: from now on something else acts at its row.
        entry.hold(node, held, col.F_DIRECT, 0)
    return held


def _callable(hook: Any) -> None:
    if not callable(hook):
        raise TypeError(f"a hook must be callable, not {type(hook).__name__}")


def register(tensor: Tensor, hook: Callable[..., Any]) -> RemovableHandle:
    """See `Tensor.register_hook`."""
    if not tensor.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    _callable(hook)
    return RemovableHandle(held_by(call(entry.node, tensor)), "gradient", hook)


def register_post_accumulate(tensor: Tensor, hook: Callable[..., Any]) -> RemovableHandle:
    """See `Tensor.register_post_accumulate_grad_hook`."""
    if not tensor.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if not tensor.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    _callable(hook)
    return RemovableHandle(held_by(call(entry.node, tensor)), "accumulated", hook)


def register_on_node(node: Any, kind: str, hook: Callable[..., Any]) -> RemovableHandle:
    """See `Node.register_hook` and `Node.register_prehook`."""
    _callable(hook)
    return RemovableHandle(held_by(node), kind, hook)
