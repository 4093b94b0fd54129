"""Anomaly mode: which op's gradient became NaN, and where that op stands in the user's code."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from jitgrad.arena.engine import entry
from jitgrad.autograd import watching
from jitgrad.autograd.hooks import held_by

_KEY = "traceback_"
#: Whether anomaly mode is on.
on = False
_check_nan = True


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return on


def is_anomaly_check_nan_enabled() -> bool:
    """Whether it looks for NaN."""
    return _check_nan


def _remember(node: Any) -> None:
    """Keep the stack of the call that recorded a row, without our own frames."""
    stack = traceback.extract_stack()
    folder = __file__.rpartition("autograd")[0]
    while len(stack) > 1 and stack[-1].filename.startswith(folder):
        stack.pop()
    held_by(node, 0).metadata[_KEY] = "".join(stack.format())


def _set(mode: bool, check_nan: bool) -> None:
    global on, _check_nan
    if mode and not on:
        watching.watch(_remember)
    elif on and not mode:
        watching.unwatch(_remember)
    on, _check_nan = mode, check_nan


class set_detect_anomaly:  # noqa: N801 - PyTorch's name
    """Turn anomaly mode on or off, at once; as a context manager put the old mode back at the end."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = on, _check_nan
        _set(bool(mode), check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _set(*self._before)


class detect_anomaly:  # noqa: N801 - PyTorch's name
    """Inside, a backward pass that makes a NaN raises, and a warning shows the forward call at fault.

    The pass runs in Python, node by node: for debugging only.

    Parameters
    ----------
    check_nan : bool
        Look for NaN; otherwise only errors in backward are traced.

    Examples
    --------
    >>> import jitgrad, warnings
    >>> x = jitgrad.tensor([0.0], requires_grad=True)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     with jitgrad.autograd.detect_anomaly():
    ...         (x.sqrt() * 0).sum().backward()
    Traceback (most recent call last):
        ...
    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self._check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be"
            " enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self._before = on, _check_nan
        _set(True, self._check_nan)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _set(*self._before)


def report(node: Any) -> None:
    """Warn of an error in a node, with the forward call that recorded it."""
    from jitgrad.autograd.node import of_capsule

    held = entry.held(node)
    stack = None if held is None else held.metadata.get(_KEY)
    name = of_capsule(node).name()
    if stack is None:
        warnings.warn(
            f"Error detected in {name}. No forward pass information available. Enable detect anomaly"
            " during forward pass for more information.",
            stacklevel=2,
        )
        return
    warnings.warn(
        f"Error detected in {name}. Traceback of forward call that caused the error:\n{stack}",
        stacklevel=2,
    )


def check(node: Any, gradients: Sequence[Any]) -> None:
    """Raise RuntimeError if one of the gradients that a node computed has a NaN."""
    if not _check_nan:
        return
    from jitgrad.autograd.node import of_capsule

    for i, gradient in enumerate(gradients):
        if gradient is not None and bool(gradient.detach().isnan().any()):
            report(node)
            raise RuntimeError(
                f"Function '{of_capsule(node).name()}' returned nan values in its {i}th output."
            )
