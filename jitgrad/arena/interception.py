"""Python around the entries while somebody wants to look on: nothing is paid for it otherwise.

`entry.pointwise` and its like are builtins of CPython.  A layer replaces some of them by Python functions
that call the one below; when the last layer is gone the builtins are back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jitgrad.arena.engine import entry

#: From the entry below to what stands in its place.
Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]

_lock = threading.Lock()
_layers: list[Mapping[str, Wrapper]] = []
_builtins: dict[str, Callable[..., Any]] = {}


def _build(names: Mapping[str, Wrapper]) -> None:
    for name in names:
        setattr(entry, name, around(name, _builtins.setdefault(name, getattr(entry, name))))


def around(name: str, below: Callable[..., Any]) -> Callable[..., Any]:
    """What is called in the place of an entry, or of what calls it for another device."""
    for layer in list(_layers):
        if name in layer:
            below = layer[name](below)
            # By which the GPU's calls tell entries apart.
            below.__name__ = name
    return below


def add(layer: Mapping[str, Wrapper]) -> None:
    """Put a layer on top; it sees the calls of all threads."""
    with _lock:
        _layers.append(layer)
        _build(layer)


def remove(layer: Mapping[str, Wrapper]) -> None:
    """Take a layer away, in any order."""
    with _lock:
        _layers[:] = [other for other in _layers if other is not layer]
        _build(layer)


@contextmanager
def intercepted(layer: Mapping[str, Wrapper]) -> Iterator[None]:
    """A layer for the length of a block."""
    add(layer)
    try:
        yield
    finally:
        remove(layer)
