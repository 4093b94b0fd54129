"""The parts of the core: each entry stands in one, and one is loaded when it is used first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jitgrad.arena import columns as col
from jitgrad.arena import engine, parts
from jitgrad.arena.header import header

_FIRST = """
import jitgrad
from jitgrad.arena import engine, parts
from jitgrad.arena.header import header

def loaded():
    return [i for i, part in enumerate(parts.PARTS) if part.modules().keys() <= engine._addresses.keys()]
"""


def _prints(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _FIRST + program], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_entry_stands_in_one_part() -> None:
    names = [name for part in parts.PARTS for name in part.modules()]
    assert len(names) == len(set(names))
    slots = [routine.slot for part in parts.PARTS for routine in part.routines]
    assert len(slots) == len(set(slots))


def test_what_is_no_entry_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        engine.entry.nothing_like_it  # noqa: B018 - to ask is the test


def test_a_loaded_part_has_its_routines_in_the_header() -> None:
    for number, part in enumerate(parts.PARTS):
        engine.load_part(number)
        assert all(header[routine.slot] != 0 for routine in part.routines)


def test_a_gradient_needs_no_views_hooks_or_optimiser() -> None:
    program = """
print(loaded())
x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
(x * x).sum().backward()
print(x.grad.sum().item(), loaded())
"""
    assert _prints(program).splitlines() == ["[0]", "6.0 [0, 1]"]


def test_a_pass_that_meets_a_missing_part_goes_on_where_it_was() -> None:
    # A custom function's output passes its gradient on as a view does, and nothing has made a view.
    program = """
seen = []

class Twice(jitgrad.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        seen.append(parts.VIEWS in loaded())
        return g * 2

x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
y = Twice.apply(x * x)
assert parts.VIEWS not in loaded()
assert header[%d] == 0
y.sum().backward()
print(x.grad.tolist(), seen, loaded())
"""
    assert _prints(program % col.H_VIEW_VJP) == "[4.0, 8.0] [True] [0, 1, 2, 3]"


def test_a_view_whose_base_changes_is_made_anew_in_a_fresh_process() -> None:
    program = """
x = jitgrad.tensor([1.0, 2.0, 3.0], requires_grad=True)
y = x * 1
v = y[:2]
y.mul_(10)
v.sum().backward()
print(x.grad.tolist())
"""
    assert _prints(program) == "[10.0, 10.0, 0.0]"
