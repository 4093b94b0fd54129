"""Nested data as JSON: containers, numbers and strings as text, tensors as numbers in a list.

What JSON has stands for itself: None, bool, int, float, str, and a list for a list.  All else is an object
with one key that says what it is: ``{"dict": [[key, value], ...]}``, ``{"tensor": 3}``, ...
"""

from __future__ import annotations

import base64
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad import dtypes
from jitgrad.devices import device
from jitgrad.serialization.geometry import BadFile
from jitgrad.size import Size
from jitgrad.tensor import Tensor

#: How deep containers may be nested.
_DEPTH = 200


def encode(value: Any, tensors: list[tuple[str, Tensor]]) -> Any:
    """What JSON can hold for a value; the tensors met are appended to the list, each once, with its place.

    Raises
    ------
    TypeError
        For a value of another type, named with its place.
    ValueError
        If containers are nested too deep, or contain themselves.
    """
    known: dict[int, int] = {}

    def tensor(x: Tensor, place: str) -> Any:
        if id(x) not in known:
            known[id(x)] = len(tensors)
            tensors.append((place, x))
        return {"tensor": known[id(x)]}

    def pairs(items: Any, place: str, depth: int) -> list[Any]:
        return [
            [walk(key, f"{place}.<key>", depth), walk(item, f"{place}.{key}", depth)]
            for key, item in items.items()
        ]

    def walk(value: Any, place: str, depth: int) -> Any:
        if depth > _DEPTH:
            raise ValueError(f"{place[:80]}... is nested too deep, or contains itself")
        depth += 1
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if isinstance(value, Tensor):
            return tensor(value, place)
        if kind is dict or kind is Counter:
            return {kind.__name__: pairs(value, place, depth)}
        if isinstance(value, OrderedDict):
            made: dict[str, Any] = {"OrderedDict": pairs(value, place, depth)}
            if hasattr(value, "_metadata"):
                made["_metadata"] = walk(value._metadata, f"{place}.<metadata>", depth)
            return made
        if kind in (list, tuple, Size, set):
            items = [walk(item, f"{place}.{i}", depth) for i, item in enumerate(value)]
            return items if kind is list else {kind.__name__: items}
        if isinstance(value, dtypes.dtype):
            return {"dtype": value.name}
        if isinstance(value, device):
            return {"device": str(value)}
        if kind is bytes:
            return {"bytes": base64.b64encode(value).decode()}
        if kind is complex:
            return {"complex": [value.real, value.imag]}
        if isinstance(value, np.generic) and value.dtype.kind in "biuf":
            return walk(value.item(), place, depth)
        if isinstance(value, dict):
            return {"dict": pairs(value, place, depth)}
        raise TypeError(
            f"can't save a {kind.__module__}.{kind.__qualname__} (at {place.lstrip('.') or 'the top'}):"
            " tensors, numbers, strings, bytes, dtypes, devices, and dicts, lists, tuples and sets of"
            " them can be saved; save a module's or an optimizer's state_dict()"
        )

    return walk(value, "", 0)


def decode(text: Any, tensors: list[Tensor]) -> Any:
    """The value of what `encode` made.

    Raises
    ------
    BadFile
        If it is not of that form.
    """

    def items(value: Any, depth: int) -> list[Any]:
        if not isinstance(value, list):
            raise BadFile(f"a list is wanted where there is {str(value)[:60]!r}")
        return [walk(item, depth) for item in value]

    def mapping(value: Any, depth: int) -> dict[Any, Any]:
        found = {}
        for pair in items(value, depth):
            if not isinstance(pair, list) or len(pair) != 2:
                raise BadFile(f"a key and a value are wanted where there is {str(pair)[:60]!r}")
            found[pair[0]] = pair[1]
        return found

    def tensor(value: Any) -> Tensor:
        if type(value) is not int or not 0 <= value < len(tensors):
            raise BadFile(f"there is no tensor {value!r} in the file")
        return tensors[value]

    def walk(value: Any, depth: int) -> Any:
        if depth > 2 * _DEPTH:
            raise BadFile("containers are nested too deep")
        depth += 1
        if isinstance(value, list):
            return items(value, depth)
        if not isinstance(value, dict):
            return value
        metadata = value.pop("_metadata", None)
        if len(value) != 1:
            raise BadFile(f"an object with the keys {list(value)[:5]}")
        ((kind, content),) = value.items()
        if kind == "tensor":
            return tensor(content)
        if kind == "dict":
            return mapping(content, depth)
        if kind == "Counter":
            return Counter(mapping(content, depth))
        if kind == "OrderedDict":
            found: Any = OrderedDict(mapping(content, depth))
            if metadata is not None:
                found._metadata = walk(metadata, depth)
            return found
        if kind in _SEQUENCES:
            return _SEQUENCES[kind](items(content, depth))
        if kind in _PLAIN:
            return _PLAIN[kind](content)
        raise BadFile(f"there is no kind of value called {kind[:60]!r}")

    try:
        return walk(text, 0)
    except BadFile:
        raise
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise BadFile(f"a value that cannot be: {error}") from None


_SEQUENCES: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "Size": Size, "set": set}
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "dtype": dtypes.by_name,
    "device": device,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "complex": lambda parts: complex(*parts),
}
