"""What Python does where a backward pass stops: hooks, custom functions.

The pass stops before a row that is flagged for it.  `act` says how it goes on, as an entry and its arguments
for `engine.run_backward` to call; everything here runs without recording.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jitgrad.arena import columns as col
from jitgrad.arena import contexts
from jitgrad.arena.engine import call, entry
from jitgrad.autograd.function import FunctionContext, Output
from jitgrad.dtypes import ALL, FIRST_HALF, bfloat16, float16
from jitgrad.errors import sizes
from jitgrad.ops import recipe

if TYPE_CHECKING:
    from jitgrad.autograd.hooks import Held
    from jitgrad.tensor import Tensor

Gradients = tuple["Tensor | None", ...]


class _Running(threading.local):
    """What is to be called at the end of the pass that this thread is running."""

    callbacks: list[Callable[[], None]] | None = None
    #: Whether its gradients go to the leaves only: it is neither `grad` nor has chosen inputs.
    to_leaves = True


_running = _Running()


def begin(to_leaves: bool) -> Any:
    """A pass begins; returns what `end` needs to go back to the pass around it."""
    outer = _running.callbacks, _running.to_leaves
    _running.callbacks, _running.to_leaves = [], to_leaves
    return outer


def running() -> bool:
    """Whether this thread is running a pass that has stopped."""
    return _running.callbacks is not None


def goes_to_leaves() -> bool:
    """Whether the pass that is running adds to the ``.grad`` of all leaves."""
    return _running.to_leaves


def at_end(callback: Callable[[], None]) -> None:
    """Have ``callback`` called when the pass that is running has come to its end.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    if _running.callbacks is None:
        raise RuntimeError(
            "Final callbacks can only be installed during backward pass, that is, from a hook or the"
            " backward of a custom function"
        )
    _running.callbacks.append(callback)


def finish() -> None:
    """Call what waits for the end of the pass, also what is added meanwhile."""
    for callback in _running.callbacks or ():
        callback()


def end(outer: Any) -> None:
    """Go back to the pass around this one, if any."""
    _running.callbacks, _running.to_leaves = outer


def act(context: int, stash: dict[int, list[Any]], retain: bool) -> tuple[Any, ...]:
    """Run the hooks or the function of the row where the pass stopped.

    ``stash`` keeps, for the length of the pass, the gradients of functions with several outputs, by the
    function's creation number.
    """
    held, gradient, node = entry.stopped(context)
    if isinstance(held, FunctionContext) and not held.gradient and not held.before:
        if not entry.settle_row(context):
            return (entry.resume, context, contexts.DONE)
        outputs = stash.pop(entry.node_word(node, col.SEQ), None) if stash else None
        return (entry.send, context, *held.run(outputs or (gradient,), retain, node))
    if held is None:
        # Marked by somebody who only looks on.
        return (entry.resume, context, contexts.HOOKED)
    if gradient is not None and (held.gradient or held.before):
        gradient = hooked(held, gradient, node)
        call(entry.replace, context, gradient)
    if isinstance(held, FunctionContext):
        if not call(entry.settle_row, context):
            return (entry.resume, context, contexts.DONE)
        outputs = stash.pop(entry.node_word(node, col.SEQ), None) or [gradient]
        return (entry.send, context, *held.run(outputs, retain, node))
    if isinstance(held, Output):
        return _set_aside(held, gradient, node, context, stash)
    if entry.node_word(node, col.OP) == col.LEAF:
        if call(entry.settle_leaf, context):
            after_leaf(held, gradient, node)
        return (entry.resume, context, contexts.DONE)
    if (held.after or held.packed) and gradient is not None:
        if not call(entry.settle_row, context):
            return (entry.resume, context, contexts.DONE)
        found = vjp(node, gradient, held)
        if held.packed and not retain:
            held.packed.free()
        return (entry.send, context, *found)
    return (entry.resume, context, contexts.HOOKED)


def by_recipe(context: int, retain: bool) -> tuple[Any, ...]:
    """Compute the vjp of a built-in op by its recipe, where the device has no kernel for it."""
    held, gradient, node = entry.stopped(context)
    if gradient is None or not call(entry.settle_row, context):
        return (entry.resume, context, contexts.DONE)
    return (entry.send, context, *recipe.run(recipe.Step(node), gradient))


def vjp(node: Any, gradient: Tensor, held: Held | None) -> Gradients:
    """The gradients of the inputs of a built-in op's row, after the hooks that may replace them."""
    packed = None if held is None else held.packed
    found = tuple(recipe.run(recipe.Step(node, packed), gradient))
    if held is not None:
        for hook in list((held.after or {}).values()):
            changed = hook(_seen_below(node, found), (as_rounded(node, gradient),))
            if changed is not None:
                found = changed if isinstance(changed, tuple) else (changed,)
        found = tuple(fitted(node, found))
    return found


def hooked(held: Held, gradient: Tensor, node: Any) -> Tensor:
    """The gradient after the hooks that may replace it."""
    for hook in list((held.gradient or {}).values()):
        gradient = replaced(hook, gradient, hook(gradient))
    for hook in list((held.before or {}).values()):
        seen = as_rounded(node, gradient)
        found = hook((seen,))
        if found is not None:
            (found,) = (found,) if not isinstance(found, tuple) else found
            gradient = replaced(hook, seen, found).to(gradient.dtype)
    return gradient


def as_rounded(node: Any, value: Tensor) -> Tensor:
    """A gradient or saved value of a node as users see it: in the 16 bits that its result was rounded to."""
    flags = entry.node_word(node, col.FLAGS)
    if flags & col.F_FLOAT16:
        return value.to(float16)
    return value.to(bfloat16) if flags & col.F_BFLOAT16 else value


def _seen_below(node: Any, gradients: Gradients) -> Gradients:
    """The gradients of a node's inputs in the dtypes of what the user gave, before promotion."""
    found: list[Tensor | None] = []
    for i, gradient in enumerate(gradients):
        below = None if gradient is None else entry.node_input(node, i)
        if gradient is not None and below is not None:
            dtype = entry.node_word(below, col.DTYPE)
            # In 16 bits it is a result that was rounded, else a cast of what the user gave.
            if dtype < FIRST_HALF and entry.node_word(below, col.FLAGS) & col.F_IMPLICIT:
                dtype = entry.node_word(entry.node_input(below, 0), col.DTYPE)
            gradient = gradient.to(ALL[dtype])
        found.append(gradient)
    return tuple(found)


def after_leaf(held: Held, gradient: Tensor, node: Any) -> None:
    """Call the hooks of a leaf whose gradient has been accumulated."""
    for hook in list((held.after or {}).values()):
        hook((), (gradient,))
    if held.accumulated:
        leaf = entry.node_tensor(node)
        for hook in list(held.accumulated.values()):
            found = hook(leaf)
            if found is not None:
                raise TypeError(f"expected Variable, but hook returned '{type(found).__name__}'")


def _set_aside(
    held: Any, gradient: Tensor | None, node: Any, context: int, stash: dict[int, list[Any]]
) -> tuple[Any, ...]:
    """Keep the gradient of one of several outputs until their function's turn comes."""
    call(entry.settle_row, context)
    function = entry.node_input(node, 0)
    if function is not None and gradient is not None:
        gradients = stash.setdefault(entry.node_word(function, col.SEQ), [None] * held.count)
        # Twice, where the output was also saved: backward's own use of it is another row.
        before = gradients[held.number]
        gradients[held.number] = gradient if before is None else before + gradient
    return (entry.resume, context, contexts.DONE)


def replaced(hook: Any, gradient: Tensor, found: Any) -> Tensor:
    """What a hook returned, checked, or the gradient itself if it returned None."""
    from jitgrad.tensor import Tensor

    if found is None:
        return gradient
    if not isinstance(found, Tensor):
        raise TypeError(
            f"expected Variable, but hook returned '{type(found).__name__}'; a hook returns a Tensor or None"
        )
    if found.shape != gradient.shape:
        raise RuntimeError(
            f"hook {_hook_name(hook)} has changed the size of value: it was"
            f" {sizes(gradient.shape)} and is {sizes(found.shape)}"
        )
    if found.dtype is not gradient.dtype:
        raise RuntimeError(
            f"hook {_hook_name(hook)} has changed the type of value (was {gradient.type()} got"
            f" {found.type()})"
        )
    return found


def _hook_name(hook: Any) -> str:
    return repr(getattr(hook, "__name__", type(hook).__name__))


def fitted(node: Any, gradients: Gradients) -> list[Tensor | None]:
    """The gradients that a function returned, in the shapes and dtypes of its inputs.

    Raises
    ------
    RuntimeError, TypeError
        If one is no Tensor, or can't be summed to its input's shape.
    """
    from jitgrad.tensor import Tensor

    found: list[Tensor | None] = []
    for i, gradient in enumerate(gradients):
        below = None if gradient is None else entry.node_input(node, i)
        if below is None:
            found.append(None)
            continue
        if not isinstance(gradient, Tensor):
            raise RuntimeError(f"expected Variable or None (got {type(gradient).__name__})")
        found.append(_fitted(gradient, below, i))
    return found


def _fitted(gradient: Tensor, below: Any, i: int) -> Tensor:
    shape = recipe.shape_of(below)
    ndim = len(shape)
    have = tuple(gradient.shape)
    lead = len(have) - ndim
    if have != shape:
        if lead < 0 or any(n not in (1, h) for n, h in zip(shape, have[lead:], strict=True)):
            raise RuntimeError(
                f"Function returned an invalid gradient at index {i} - got {sizes(have)} but"
                f" expected shape compatible with {sizes(shape)}"
            )
        gradient = recipe.sum_to(gradient, shape)
    code = entry.node_word(below, col.DTYPE)
    return gradient if gradient.dtype.code == code else gradient.to(ALL[code])
