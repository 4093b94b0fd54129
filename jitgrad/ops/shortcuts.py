"""Shortcuts: how the most ordinary calls of a function reach the recorder without passing through it.

A function of Python costs some 50 ns, as much as a small op's work, and between a user and the recorder there
are three.  `jitgrad.calling` writes the shortcuts of a function into the one that it generates for users.
What the recorder refuses there takes the long way, which mends it or finds the words of the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: A condition on the function's arguments, and the call of an entry that does then: both Python.
Way = tuple[str, str]


def shortcut(*ways: Way, **names: Any) -> Callable[[F], F]:
    """Note ``ways``, the first of which whose condition holds is taken, and the ``names`` that they use.

    The arguments are called as in the function's signature, those of any number ``rest_``.
    """

    def mark(function: F) -> F:
        function.__dict__["shortcuts"] = ways, names
        return function

    return mark


def of(function: Callable[..., Any]) -> tuple[tuple[Way, ...], dict[str, Any]]:
    """The ways and names of a function; none if it has none."""
    found: tuple[tuple[Way, ...], dict[str, Any]] = function.__dict__.get("shortcuts", ((), {}))
    return found
