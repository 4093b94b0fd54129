"""Calling an entry of the arena for the GPU: what `engine.call` does where an operand is there."""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from jitgrad.arena import engine, interception
from jitgrad.arena.engine import address_of, entry
from jitgrad.cuda import commands, kernels, streams, transfers
from jitgrad.ops.table import OPS

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

#: Entries whose operands are broadcast: a tensor of the CPU without dims counts as a number there.
_POINTWISE = ("pointwise", "pointwise_")
#: Where the first input stands among the arguments of the entry `explicit`.
_FIRST_INPUT = 4


def call(function: Any, args: tuple[Any, ...]) -> Any:
    """Call an entry for the GPU.

    Raises
    ------
    RuntimeError
        If some operands are on the CPU.
    NotImplementedError
        If the op has no kernel of the GPU.
    """
    name = function.__name__
    if name == "item":
        return entry.item(transfers.to_cpu(args[0].detach()))
    if name == "pointwise_" and OPS[args[0]].name == "copy":
        # The one op that takes an operand of another device.
        _, target, source = args
        if hasattr(source, "device"):
            args = (args[0], target, source.to(target.device))
        if not transfers.on_gpu(target):
            return engine.call(function, *args)
    if name == "explicit":
        # Before anybody wonders on which device what the function made besides has to be.
        kernels.number_of(OPS[args[0]], args[1], 0)
    below = partial(commands.called, name)
    return interception.around(name, below)(*_together(name, args))


def update(*arguments: Any) -> None:
    """`entry.update` for parameters on the GPU; raises Fault as that does."""
    commands.launching(entry.on_device, address_of("update"), *arguments)


def _step(below: Any) -> Any:
    @wraps(below)
    def step(*args: Any) -> Any:
        with streams.step():
            return commands.launching(below, *args)

    return step


def _begin(below: Any) -> Any:
    step = _step(below)

    @wraps(below)
    def begin(mode: int, *args: Any) -> Any:
        streams.begin_pass()
        # A custom function runs when others may launch: it stops the pass.
        return step(mode & ~engine.DIRECT, *args)

    return begin


def follow_passes() -> None:
    """From now on have what backward passes ask for launched when an entry returns."""
    names = ("resume", "send", "stopped", "replace", "settle_leaf", "settle_row")
    interception.add({"backward": _begin, **dict.fromkeys(names, _step)})


def _together(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    from jitgrad.tensor import Tensor

    def moved(i: int, x: Any) -> Any:
        if not isinstance(x, Tensor) or transfers.on_gpu(x):
            return x
        if (name in _POINTWISE and x.ndim == 0) or i - _FIRST_INPUT in following:
            return x.to("cuda")
        raise two_devices(name, args)

    following = kernels.FOLLOWING.get(OPS[args[0]].name, ()) if name == "explicit" else ()
    target = args[1] if name == "pointwise_" else None
    if isinstance(target, Tensor) and not transfers.on_gpu(target):
        raise two_devices(name, args)
    return tuple(moved(i, x) for i, x in enumerate(args))


def two_devices(name: str, args: tuple[Any, ...]) -> RuntimeError:
    """PyTorch's error of operands on two devices."""
    from jitgrad.tensor import Tensor

    found: list[Tensor] = [x for x in args if isinstance(x, Tensor)]
    names = list(dict.fromkeys(str(x.device) for x in found))
    op = OPS[args[0]].name if isinstance(args[0], int) else name
    shapes = ", ".join(f"{list(x.shape)} on {x.device}" for x in found)
    return RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices,"
        f" {' and '.join(names)}! ({op} of tensors {shapes})"
    )
