"""Time for memory: parts of a computation that backward runs again instead of keeping their values."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jitgrad import random
from jitgrad.arena.engine import call, entry
from jitgrad.autograd import stops
from jitgrad.autograd.differentiation import backward
from jitgrad.autograd.function import Function
from jitgrad.autograd.grad_mode import enable_grad
from jitgrad.autograd.graph import saved_tensors_hooks
from jitgrad.autograd.hooks import held_by

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential"]


class CheckpointError(RuntimeError):
    """The computation was another one when it was run again."""


class _Enough(Exception):
    """All that was saved first has been computed again."""


class _Frame:
    """A checkpointed call: what it saved first, by number, and what running it again gave."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        contexts: tuple[Any, Any],
        keep_random: bool,
        check: bool,
        early_stop: bool,
    ) -> None:
        self._call = function, args, kwargs
        self._forward, self._recompute = contexts
        self._random = random.get_rng_state() if keep_random else None
        self._check = check
        self._early_stop = early_stop
        self._shapes: list[tuple[Any, Any]] = []
        self._found: list[Tensor] = []

    def run(self) -> Any:
        """Run it the first time: of each saved value only its number is kept."""
        function, args, kwargs = self._call
        with self._forward, saved_tensors_hooks(self._number, self._value):
            return function(*args, **kwargs)

    def _number(self, x: Tensor) -> int:
        self._shapes.append((tuple(x.shape), x.dtype))
        return len(self._shapes) - 1

    def _value(self, number: int) -> Tensor:
        if not self._found:
            self._run_again()
        return self._found[number]

    def _run_again(self) -> None:
        function, args, kwargs = self._call
        before = random.get_rng_state()
        found: list[Tensor] = []

        def keep(x: Tensor) -> int:
            found.append(x.detach())
            if self._early_stop and len(found) == len(self._shapes):
                raise _Enough
            return len(found) - 1

        try:
            if self._random is not None:
                random.set_rng_state(self._random)
            again = [
                x.detach().requires_grad_(x.requires_grad) if _is_tensor(x) else x for x in args
            ]
            with (
                contextlib.suppress(_Enough),
                enable_grad(),
                self._recompute,
                saved_tensors_hooks(keep, found.__getitem__),
            ):
                function(*again, **kwargs)
        finally:
            random.set_rng_state(before)
        shapes = [(tuple(x.shape), x.dtype) for x in found]
        if len(shapes) != len(self._shapes):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original"
                f" forward and recomputation. Number of tensors saved during forward: {len(self._shapes)}."
                f" Number of tensors saved during recomputation: {len(shapes)}."
            )
        if self._check and shapes != self._shapes:
            i = next(i for i, (a, b) in enumerate(zip(shapes, self._shapes, strict=True)) if a != b)
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different"
                f" metadata than during the forward pass: tensor at position {i}: saved"
                f" {self._shapes[i]}, recomputed {shapes[i]}."
            )
        self._found = found


class CheckpointFunction(Function):
    """A call that records nothing; its backward calls again, recording, and runs a pass through that."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], keep_random: bool, *args: Any) -> Any:
        ctx.function, ctx.args = function, [None if _is_tensor(x) else x for x in args]
        ctx.random = random.get_rng_state() if keep_random else None
        ctx.save_for_backward(*(x if _is_tensor(x) else None for x in args))
        return function(*args)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if not stops.goes_to_leaves():
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an"
                " `inputs` parameter to .backward(). To resolve this error, you can either set"
                " use_reentrant=False, or call .backward() without passing the `inputs` argument."
            )
        again = [
            x if saved is None else saved.detach().requires_grad_(saved.requires_grad)
            for x, saved in zip(ctx.args, ctx.saved_tensors, strict=True)
        ]
        before = random.get_rng_state()
        try:
            if ctx.random is not None:
                random.set_rng_state(ctx.random)
            with enable_grad():
                found = ctx.function(*again)
        finally:
            random.set_rng_state(before)
        outputs = found if isinstance(found, tuple) else (found,)
        pairs = [
            (y, g)
            for y, g in zip(outputs, gradients, strict=True)
            if _is_tensor(y) and y.requires_grad
        ]
        if not pairs:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        backward([y for y, _ in pairs], [g for _, g in pairs])
        return None, None, *(x.grad if _is_tensor(x) else None for x in again)


def _reentrant(function: Callable[..., Any], args: tuple[Any, ...], keep_random: bool) -> Any:
    if not any(_is_tensor(x) and x.requires_grad for x in args):
        warnings.warn(
            "None of the inputs have requires_grad=True. Gradients will be None",
            UserWarning,
            stacklevel=3,
        )
    found = CheckpointFunction.apply(function, keep_random, *args)
    for y in found if isinstance(found, tuple) else (found,):
        if _is_tensor(y) and y.requires_grad:
            # A pass that stops for it says in Python which kind of pass it is.
            held_by(call(entry.node, y))
    return found


def _is_tensor(x: Any) -> bool:
    from jitgrad.tensor import Tensor

    return isinstance(x, Tensor)


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] | None = None,
    determinism_check: str = "default",
    debug: bool = False,
    preserve_rng_state: bool = True,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """Call a function without keeping what its backward reads; backward calls it again for that.

    Parameters
    ----------
    function : callable
        Deterministic: called a second time in backward, with the same arguments.
    use_reentrant : bool
        True: the first call records nothing, and backward runs a pass of its own, so `autograd.grad` and
        ``inputs=`` are refused.  False, which is better: what the first call saves is replaced.  Without it
        there is a warning, and it is True.
    context_fn : callable, optional
        Returns two context managers, for the first and the second call.
    determinism_check : {"default", "none"}
        Compare the shapes and dtypes of what is saved.
    preserve_rng_state : bool
        Have the second call draw the same random numbers.
    early_stop : bool
        End the second call when all is there that the first one saved.
    debug : bool
        Accepted and without effect.

    Raises
    ------
    CheckpointError
        In backward, if the second call saved something else than the first.

    Examples
    --------
    >>> import jitgrad
    >>> from jitgrad.utils.checkpoint import checkpoint
    >>> x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: x.exp().sin(), x, use_reentrant=False).sum().backward()
    >>> x.grad
    tensor([-2.4783,  3.3129])
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in"
            " PyTorch 2.9, calling checkpoint without use_reentrant will raise an exception."
            " use_reentrant=False is recommended, but if you need to preserve the current default"
            " behavior, you can pass use_reentrant=True. Refer to docs for more details on the differences"
            " between the two variants.",
            UserWarning,
            stacklevel=2,
        )
        use_reentrant = True
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not None or debug:
            raise ValueError(
                "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
            )
        return _reentrant(function, args, preserve_rng_state)
    if determinism_check not in ("default", "none"):
        raise ValueError(
            f"determinism_check should be one of ('default', 'none') but got {determinism_check!r}"
        )
    contexts = context_fn() if context_fn else (contextlib.nullcontext(), contextlib.nullcontext())
    frame = _Frame(
        function,
        args,
        kwargs,
        contexts,
        preserve_rng_state,
        determinism_check == "default",
        early_stop,
    )
    return frame.run()


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Run modules one after the other in segments, all but the last of them checkpointed.

    Parameters
    ----------
    functions : Sequential or sequence of callables
        Each takes what the one before returns.
    segments : int
        Into how many parts they are divided.
    """
    steps: list[Callable[..., Any]] = list(
        functions.children() if hasattr(functions, "children") else functions
    )

    def run(part: Sequence[Callable[..., Any]]) -> Callable[[Any], Any]:
        def forward(value: Any) -> Any:
            for step in part:
                value = step(value)
            return value

        return forward

    size = len(steps) // segments
    start = 0
    for _ in range(segments - 1):
        part = run(steps[start : start + size])
        input = checkpoint(part, input, use_reentrant=use_reentrant, **kwargs)
        start += size
    return run(steps[start:])(input)
