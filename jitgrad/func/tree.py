"""Nested containers of Tensors: taken apart and put together again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

from jitgrad.return_types import Results

#: How the leaves of a container make one like it again.
Rebuild = Callable[[list[Any]], Any]


def _parts(value: Any) -> tuple[list[Any], Rebuild] | None:
    """The items of a container and how to make it of others; None for a leaf."""
    kind = type(value)
    if kind in (dict, OrderedDict, defaultdict):
        keys = list(value)

        def mapping(items: list[Any]) -> Any:
            made: dict[Any, Any] = (
                kind() if kind is not defaultdict else defaultdict(value.default_factory)
            )
            made.update(zip(keys, items, strict=True))
            return made

        return list(value.values()), mapping
    if isinstance(value, Results):
        return list(value), kind
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return list(value), lambda items: kind(*items)
    if kind in (list, tuple):
        return list(value), kind
    return None


def flatten(value: Any) -> tuple[list[Any], Rebuild]:
    """The leaves of nested dicts, lists and (named) tuples in order, and how to put others in their place.

    Examples
    --------
    >>> leaves, rebuild = flatten({"a": 1, "b": (2, 3)})
    >>> leaves, rebuild([4, 5, 6])
    ([1, 2, 3], {'a': 4, 'b': (5, 6)})
    """
    parts = _parts(value)
    if parts is None:
        return [value], lambda leaves: leaves[0]
    items, make = parts
    below = [flatten(item) for item in items]
    counts = [len(leaves) for leaves, _ in below]

    def rebuild(leaves: list[Any]) -> Any:
        made, start = [], 0
        for (_, inner), count in zip(below, counts, strict=True):
            made.append(inner(leaves[start : start + count]))
            start += count
        return make(made)

    return [leaf for leaves, _ in below for leaf in leaves], rebuild


def map_leaves(function: Callable[..., Any], value: Any) -> Any:
    """The same containers with ``function`` applied to each leaf."""
    leaves, rebuild = flatten(value)
    return rebuild([function(leaf) for leaf in leaves])


def broadcast(prefix: Any, value: Any) -> list[Any]:
    """For each leaf of ``value``, what ``prefix`` says of it: a leaf there stands for all below.

    Raises
    ------
    ValueError
        If ``prefix`` has another structure than ``value`` begins with.
    """
    have = _parts(value)
    said = _parts(prefix)
    if said is None:
        return [prefix] * len(flatten(value)[0])
    if have is None or len(have[0]) != len(said[0]) or type(prefix) is not type(value):
        raise ValueError(f"the structure of {prefix!r} is no prefix of that of the values")
    if isinstance(value, dict) and list(prefix) != list(value):
        prefix = {k: prefix.get(k) for k in value}
        said = (list(prefix.values()), said[1])
    return [leaf for p, v in zip(said[0], have[0], strict=True) for leaf in broadcast(p, v)]
