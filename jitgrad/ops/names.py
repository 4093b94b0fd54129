"""PyTorch's names for the nodes of functions that are composed of several ops here.

The node of such a function is that of its last op; a number in the high bits of the row's FLAGS says what
PyTorch calls it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.ops.operands import tensor_class

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_F = TypeVar("_F", bound=Callable[..., Any])

_SHIFT = 20
_MASK = 0xFFF << _SHIFT
_names: list[str] = [""]
_numbers: dict[str, int] = {}


def name(x: Tensor, node: str) -> Tensor:
    """Have the node of ``x``, a new result, be called ``node``; returns ``x``."""
    if entry.word(x, col.OP) != col.LEAF:
        number = _numbers.get(node)
        if number is None:
            number = _numbers[node] = len(_names)
            _names.append(node)
        entry.flag(x, _MASK, 0)
        entry.flag(x, number << _SHIFT, 1)
    return x


def of_row(flags: int) -> str:
    """The name that a row with these FLAGS was given, or an empty one."""
    return _names[(flags & _MASK) >> _SHIFT]


def named(node: str) -> Callable[[_F], _F]:
    """Give the results of a function, a Tensor or several, a node of that name."""

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            found = function(*args, **kwargs)
            for x in found if isinstance(found, tuple) else (found,):
                if isinstance(x, tensor_class()) and all(x is not a for a in args):
                    name(x, node)
            return found

        return wrapper  # type: ignore[return-value]

    return decorate
