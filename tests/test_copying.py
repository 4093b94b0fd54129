"""Deep copies and files keep what shares memory together, as in PyTorch."""

from __future__ import annotations

import copy
import io
import pickle
from types import ModuleType
from typing import Any

import jitgrad


def shared(T: Any) -> dict[str, Any]:  # noqa: N803 - T is the namespace under test
    x = T.arange(6.0)
    half = T.ones(4, dtype=T.bfloat16)
    return {
        "x": x,
        "part": x[2:4],
        "turned": [x.view(2, 3).t()],
        "data": x.data,
        "half": (half, half[1:]),
        "wide": T.ones(1).expand(3),
        "empty": T.empty(0, 3),
    }


def seen(made: dict[str, Any]) -> list[Any]:
    """Everything that a copy shows after two of its tensors were changed."""
    made["x"][2] = 100.0
    made["turned"][0][0, 0] = 50.0
    made["half"][0][1] = 5.0
    tensors = [
        *(made[name] for name in ("x", "part", "data", "wide", "empty")),
        *made["turned"],
        *made["half"],
    ]
    return [(t.tolist(), t.stride(), t.storage_offset()) for t in tensors]


def test_deepcopy(torch: ModuleType) -> None:
    assert seen(copy.deepcopy(shared(jitgrad))) == seen(copy.deepcopy(shared(torch)))
    original = shared(jitgrad)
    seen(copy.deepcopy(original))
    assert original["x"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_deepcopy_of_gradients_and_parameters(torch: ModuleType) -> None:
    def run(T: Any) -> list[Any]:  # noqa: N803
        y = T.ones(3, requires_grad=True)
        y.grad = T.ones(3)
        z, g = copy.deepcopy([y, y.grad])
        p = T.nn.Parameter(T.arange(3.0))
        q, r = copy.deepcopy([p, T.nn.Parameter(p.data[1:])])
        with T.no_grad():
            q[1] = 7.0
        return [z.grad is g, z.requires_grad, z.is_leaf, q.tolist(), r.tolist(), type(q).__name__]

    assert run(jitgrad) == run(torch)


def test_save(torch: ModuleType) -> None:
    def run(T: Any) -> Any:  # noqa: N803
        file = io.BytesIO()
        given = shared(T)
        del given["wide"], given["empty"]
        T.save(given, file)
        file.seek(0)
        made = T.load(file)
        made["x"][2] = 100.0
        return [made[name].tolist() for name in ("x", "part", "data")]

    assert run(jitgrad) == run(torch)


def test_bits_seen_as_another_dtype_are_saved_apart() -> None:
    x = jitgrad.ones(3)
    file = io.BytesIO()
    jitgrad.save([x, x.view(jitgrad.int32)], file)
    file.seek(0)
    y, bits = jitgrad.load(file)
    assert (y.tolist(), bits.tolist()) == ([1.0] * 3, [0x3F800000] * 3)


def test_pickles_hold_their_own_elements() -> None:
    x = jitgrad.zeros(1000)
    text = pickle.dumps(x[:2])
    assert len(text) < 1000
    assert pickle.loads(text).tolist() == [0.0, 0.0]
