"""A module whose parameters are not initialised."""

from __future__ import annotations

import inspect
from typing import Any

from jitgrad.nn.module import Module
from jitgrad.random import get_rng_state, set_rng_state


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """A module whose parameters are to be overwritten; making it draws no random numbers.

    Raises
    ------
    RuntimeError
        If the class is no Module, or takes no device.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.utils.skip_init(jitgrad.nn.Linear, 2, 3)
    Linear(in_features=2, out_features=3, bias=True)
    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    state = get_rng_state()
    made = module_cls(*args, **kwargs)
    set_rng_state(state)
    return made
