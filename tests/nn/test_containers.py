"""Containers against PyTorch."""

from __future__ import annotations

from collections import OrderedDict
from types import ModuleType
from typing import Any

import pytest

from tests.nn.both import check, fails


def seq(T: Any) -> Any:
    return T.nn.Sequential(T.nn.ReLU(), T.nn.Tanh(), T.nn.Sigmoid())


def named(T: Any) -> Any:
    return T.nn.Sequential(OrderedDict(a=T.nn.ReLU(), b=T.nn.Tanh(), c=T.nn.Sigmoid()))


def listed(T: Any) -> Any:
    return T.nn.ModuleList([T.nn.ReLU(), T.nn.Tanh(), T.nn.Sigmoid()])


def keyed(T: Any) -> Any:
    return T.nn.ModuleDict({"r": T.nn.ReLU(), "t": T.nn.Tanh()})


def params(T: Any) -> Any:
    return T.nn.ParameterList([T.ones(2), T.nn.Parameter(T.zeros(())), 5])


def pdict(T: Any) -> Any:
    return T.nn.ParameterDict({"b": T.ones(1), "a": T.zeros(2), "c": "text"})


def changed(make: Any, change: Any) -> Any:
    """What a change returns, and the container after it."""

    def program(T: Any) -> Any:
        container = make(T)
        found = change(T, container)
        return [repr(found), repr(container), len(container), list(container.state_dict())]

    return program


CHANGES: dict[str, tuple[Any, Any]] = {
    "seq": (seq, lambda T, c: c),
    "seq named": (named, lambda T, c: c),
    "seq index": (seq, lambda T, c: [c[0], c[-1], c[1:]]),
    "seq named slice": (named, lambda T, c: c[1:]),
    "seq set": (seq, lambda T, c: c.__setitem__(-1, T.nn.ReLU())),
    "seq del": (seq, lambda T, c: c.__delitem__(0)),
    "seq del slice": (seq, lambda T, c: c.__delitem__(slice(0, 2))),
    "seq del negative": (named, lambda T, c: c.__delitem__(-1)),
    "seq append": (seq, lambda T, c: c.append(T.nn.ReLU()) is c),
    "seq insert": (seq, lambda T, c: c.insert(1, T.nn.Identity()) is c),
    "seq insert end": (seq, lambda T, c: c.insert(3, T.nn.Identity()) is c),
    "seq insert negative": (seq, lambda T, c: c.insert(-1, T.nn.Identity()) is c),
    "seq extend": (seq, lambda T, c: c.extend([T.nn.ReLU()]) is c),
    "seq add": (seq, lambda T, c: c + c),
    "seq iadd": (seq, lambda T, c: c.__iadd__(T.nn.Sequential(T.nn.ReLU())) is c),
    "seq mul": (seq, lambda T, c: [c * 2, 2 * c]),
    "seq imul": (seq, lambda T, c: c.__imul__(2) is c),
    "seq pop": (seq, lambda T, c: c.pop(0)),
    "seq pop last": (seq, lambda T, c: c.pop(-1)),
    "seq call": (seq, lambda T, c: c(T.tensor([-1.0, 2.0])).tolist()),
    "empty seq": (lambda T: T.nn.Sequential(), lambda T, c: c(3)),
    "list": (listed, lambda T, c: [list(c), c[0], c[-1], c[1:]]),
    "list set": (listed, lambda T, c: c.__setitem__(0, T.nn.Tanh())),
    "list del": (listed, lambda T, c: c.__delitem__(0)),
    "list del slice": (listed, lambda T, c: c.__delitem__(slice(0, 3, 2))),
    "list append": (listed, lambda T, c: c.append(T.nn.Sigmoid()) is c),
    "list insert": (listed, lambda T, c: c.insert(1, T.nn.Identity())),
    "list extend": (listed, lambda T, c: c.extend(T.nn.Linear(2, 2) for _ in range(2)) is c),
    "list pop": (listed, lambda T, c: c.pop(1)),
    "list add": (listed, lambda T, c: c + [T.nn.ReLU()]),
    "list iadd": (listed, lambda T, c: c.__iadd__([T.nn.ReLU()]) is c),
    "list none": (lambda T: T.nn.ModuleList([None, T.nn.ReLU()]), lambda T, c: None),
    "empty list": (lambda T: T.nn.ModuleList(), lambda T, c: None),
    "dict": (keyed, lambda T, c: [list(c), list(c.keys()), list(c.items()), list(c.values())]),
    "dict get": (keyed, lambda T, c: [c["r"], "r" in c, "q" in c]),
    "dict set": (keyed, lambda T, c: c.__setitem__("t", T.nn.Sigmoid())),
    "dict del": (keyed, lambda T, c: c.__delitem__("t")),
    "dict pop": (keyed, lambda T, c: c.pop("r")),
    "dict clear": (keyed, lambda T, c: c.clear()),
    "dict update": (keyed, lambda T, c: c.update([("z", T.nn.ReLU()), ("a", T.nn.Tanh())])),
    "dict of dict": (keyed, lambda T, c: c.update(T.nn.ModuleDict({"q": T.nn.ReLU()}))),
    "params": (params, lambda T, c: [c[1], c[-1], c[0:2], list(c)]),
    "params append": (params, lambda T, c: c.append(T.ones(3, 2)) is c),
    "params extend": (params, lambda T, c: c.extend([T.ones(1), "x"]) is c),
    "params iadd": (params, lambda T, c: c.__iadd__([T.ones(1)]) is c),
    "params set": (params, lambda T, c: c.__setitem__(0, T.ones(4))),
    "pdict": (pdict, lambda T, c: [list(c), list(c.items()), list(c.values()), "a" in c]),
    "pdict ordered": (
        lambda T: T.nn.ParameterDict(OrderedDict(b=T.ones(1), a=T.ones(2))),
        lambda T, c: list(reversed(c)),
    ),
    "pdict set": (pdict, lambda T, c: c.__setitem__("a", T.ones(3))),
    "pdict del": (pdict, lambda T, c: c.__delitem__("a")),
    "pdict pop": (pdict, lambda T, c: [c.pop("a"), c.popitem()]),
    "pdict get": (pdict, lambda T, c: [c.get("a"), c.get("q"), c.setdefault("q", T.ones(1))]),
    "pdict or": (pdict, lambda T, c: c | T.nn.ParameterDict({"z": T.ones(1)})),
    "pdict ior": (pdict, lambda T, c: c.__ior__(T.nn.ParameterDict({"z": T.ones(1)})) is c),
    "pdict copy": (pdict, lambda T, c: c.copy()),
    "pdict clear": (pdict, lambda T, c: c.clear()),
    "pdict fromkeys": (pdict, lambda T, c: c.fromkeys(["x", "y"], 1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_same(torch: ModuleType, name: str) -> None:
    check(torch, changed(*CHANGES[name]))


@pytest.mark.parametrize(
    "program",
    [
        lambda T: T.nn.Sequential(3),
        lambda T: seq(T)[3],
        lambda T: seq(T).pop(4),
        lambda T: seq(T).insert(5, T.nn.ReLU()),
        lambda T: seq(T) + 3,
        lambda T: seq(T) * 0,
        lambda T: seq(T).extend(4),
        lambda T: T.nn.ModuleList(3),
        lambda T: T.nn.ModuleList([3]),
        lambda T: T.nn.ModuleList(T.nn.ReLU()),
        lambda T: listed(T)[3],
        lambda T: listed(T)(1),
        lambda T: T.nn.ModuleDict(3),
        lambda T: T.nn.ModuleDict({3: T.nn.ReLU()}),
        lambda T: T.nn.ModuleDict([(1, 2, 3)]),
        lambda T: T.nn.ModuleDict({"pop": T.nn.ReLU()}),
        lambda T: keyed(T)["q"],
        lambda T: params(T)[3],
        lambda T: T.nn.ParameterList(3),
        lambda T: T.nn.ParameterDict(3),
        lambda T: T.nn.ParameterDict({3: T.ones(1)}),
        lambda T: T.nn.ParameterDict({"keys": T.ones(1)}),
        lambda T: pdict(T)["q"],
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, program)


def test_update_with_no_pairs(torch: ModuleType) -> None:
    fails(torch, lambda T: T.nn.ModuleDict([3]), "should be Iterable")
