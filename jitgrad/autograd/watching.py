"""Who wants to see each row as it is recorded: hooks on saved tensors, anomaly mode."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from jitgrad.arena import columns as col
from jitgrad.arena import interception
from jitgrad.arena.engine import call, entry
from jitgrad.arena.header import header

#: Called with the node of a row that has just been recorded.
Watcher = Callable[[Any], None]

_ENTRIES = ("pointwise", "pointwise_", "view", "lanes", "explicit", "convert")
_local = threading.local()


def watchers() -> list[Watcher]:
    """Those of this thread, the innermost last; that one is the first to see a row."""
    found: list[Watcher] | None = getattr(_local, "watchers", None)
    if found is None:
        found = _local.watchers = []
    return found


def _wrapper(below: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*args: Any) -> Any:
        before = int(header[col.H_SEQ])
        made = below(*args)
        found = watchers()
        if found and entry.word(made, col.FLAGS) & col.F_REQUIRES_GRAD:
            node = call(entry.node, made)
            if (
                entry.node_word(node, col.SEQ) > before
                and entry.node_word(node, col.OP) != col.LEAF
            ):
                # While it looks on nobody watches it.
                _local.watchers = []
                try:
                    for watcher in reversed(found):
                        watcher(node)
                finally:
                    _local.watchers = found
        return made

    return watched


_LAYER = dict.fromkeys(_ENTRIES, _wrapper)
_lock = threading.Lock()
_count = 0


def watch(watcher: Watcher) -> None:
    """Show a watcher every row that this thread records from now on."""
    global _count
    watchers().append(watcher)
    with _lock:
        _count += 1
        if _count == 1:
            interception.add(_LAYER)


def unwatch(watcher: Watcher) -> None:
    """Stop showing it."""
    global _count
    watchers().remove(watcher)
    with _lock:
        _count -= 1
        if not _count:
            interception.remove(_LAYER)
