"""Other names of arguments, sizes by name, ``out=``, and what functions with several results return."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import jitgrad
from tests.ops.both import outcome

SAME = [
    # NumPy's names of arguments
    "T.sum(x, axis=1)",
    "T.sum(x, axis=1, keepdims=True)",
    "x.sum(axis=(0, 1), keepdims=True)",
    "x.mean(axis=0)",
    "g.mean(axis=0, keepdims=True)",
    "T.max(g, axis=0)",
    "g.max(axis=1).values",
    "x.argmax(axis=1)",
    "T.cumsum(g, axis=0)",
    "T.softmax(g, axis=1)",
    "T.var(g, axis=0)",
    "T.var_mean(g, axis=1)",
    "T.any(x > 2, axis=1, keepdims=True)",
    "T.cat([x, x], axis=1)",
    "T.stack([x, x], axis=1)",
    "np.sum(x)",
    "T.cumsum(x)",
    "T.cumsum(input=x, dim=1)",
    # sizes and dims by name
    "T.zeros(size=(2, 3))",
    "T.ones(size=(2,), dtype=T.int32)",
    "T.zeros(2, size=(3,))",
    "T.zeros()",
    "T.reshape(input=x, shape=(3, 2))",
    "x.reshape(shape=(3, 2))",
    "x.reshape()",
    "x.view(size=(3, 2))",
    "x.view()",
    "x[:1].expand(size=(2, 3))",
    "T.permute(input=x, dims=(1, 0))",
    "x.permute(dims=(1, 0))",
    "x.flip(dims=(0,))",
    "T.flip(x, dims=[0, 1])",
    "x.repeat(repeats=(2, 2))",
    "T.tile(x, dims=(2,))",
    "x.split(split_size=1)",
    "T.split(x, split_size_or_sections=1)",
    "x.new_zeros(size=(2,))",
    # out=
    "T.square(x, out=T.zeros(2, 3))",
    "T.add(x, 1, out=T.zeros(2, 3))",
    "T.add(x, 1, out=x)",
    "T.square(x, out=T.zeros(2, 3, dtype=T.float64))",
    "T.square(x, out=T.zeros(2, 3, dtype=T.int64))",
    "T.square(x, out=T.zeros(0))",
    "T.square(x, out=T.zeros(4))",
    "T.square(x, out=3)",
    "T.neg(g, out=T.zeros(2, 3))",
    "T.neg(x, out=T.zeros(2, 3, requires_grad=True))",
    "T.sum(x, 0, out=T.zeros(3))",
    "T.sum(x, dim=0, out=None)",
    "T.mm(x, x.T, out=T.zeros(2, 2))",
    "T.mm(x, x.T, out=T.zeros(2, 2, dtype=T.float64))",
    "T.max(x, 0, out=(T.zeros(3), T.zeros(3, dtype=T.int64)))",
    "T.sort(x, out=(T.zeros(0), T.zeros(0, dtype=T.int64)))",
    "T.sort(x, out=(T.zeros(0), T.zeros(0, dtype=T.int32)))",
    "T.cat([x, x], out=T.zeros(4, 3))",
    "T.stack([x, x], out=T.zeros(2, 2, 3))",
    "T.eq(x, 1, out=T.zeros(2, 3))",
    "T.where(x > 2, x, x * 2, out=T.zeros(2, 3))",
    "T.clamp(x, 1, 2, out=T.zeros(2, 3))",
    "T.zeros(2, out=T.ones(2))",
    "T.arange(3, out=T.zeros(3))",
    "T.neg(x, out=T.ones(4, 6)[::2, ::2])",
    "T.argmax(x, out=T.zeros((), dtype=T.int64))",
    "x.sum(0, out=T.zeros(3))",
]


@pytest.mark.parametrize("source", SAME)
def test_same_as_pytorch(source: str, torch: Any) -> None:
    mine, theirs = outcome(jitgrad, source), outcome(torch, source)
    assert mine.get("error") == theirs.get("error"), mine
    assert mine.get("value") == theirs.get("value")
    assert mine["warns"] == theirs["warns"]
    if "out=" in source and "message" in theirs and theirs["error"] == "RuntimeError":
        assert mine["message"] == theirs["message"]


def test_out_is_what_is_returned() -> None:
    x = jitgrad.tensor([1.0, 2.0])
    out = jitgrad.empty(2)
    before = out._version
    assert jitgrad.mul(x, 3, out=out) is out
    assert out.tolist() == [3.0, 6.0]
    assert out._version > before
    found = jitgrad.max(x, 0, out=(jitgrad.empty(()), jitgrad.empty((), dtype=jitgrad.int64)))
    assert found.indices.item() == 1


def test_out_of_a_view_writes_into_its_base() -> None:
    base = jitgrad.zeros(4)
    jitgrad.neg(jitgrad.ones(2), out=base[1:3])
    assert base.tolist() == [0.0, -1.0, -1.0, 0.0]


def test_out_without_recording_may_be_a_parameter() -> None:
    p = jitgrad.ones(2, requires_grad=True)
    with jitgrad.no_grad():
        assert jitgrad.add(p, 1, out=p) is p
    assert p.tolist() == [2.0, 2.0]
    assert p.is_leaf


@pytest.mark.parametrize(
    "source",
    [
        "T.ones(2, 3).max(0)",
        "T.ones(2).sort()",
        "T.ones(3).topk(2)",
        "T.ones(2, 3).median(1)",
        "T.ones(2, 3).mode(1)",
        "T.ones(3).cummax(0)",
        "T.aminmax(T.ones(2))",
        "T.linalg.slogdet(T.eye(2))",
        "T.linalg.eigh(T.eye(2))",
        "T.linalg.svd(T.eye(1))",
    ],
)
def test_return_types(source: str, torch: Any) -> None:
    mine, theirs = eval(source, {"T": jitgrad}), eval(source, {"T": torch})
    assert repr(mine).replace("jitgrad", "torch") == repr(theirs)
    assert isinstance(mine, tuple)
    again = pickle.loads(pickle.dumps(mine))
    assert type(again) is type(mine)
    assert [x.tolist() for x in again] == [x.tolist() for x in mine]


def test_public_functions_pickle() -> None:
    for function in (jitgrad.sum, jitgrad.cat, jitgrad.mm, jitgrad.zeros):
        assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize(
    "source",
    [
        "T.sum('a')",
        "T.mean(3)",
        "T.softmax([1.0], 0)",
        "T.reshape(3, (1,))",
        "T.sqrt('a')",
        "T.exp([1.0])",
        "T.add(x, 'a')",
        "T.mm(x, 1)",
        "T.mm(1, x)",
        "T.matmul(x, 1)",
        "T.flatten(3)",
        "T.topk([1], 1)",
        "T.gather([1], 0, i)",
        "T.argmax(3)",
        "T.clone(3)",
        "T.isclose(x, 1.0)",
        "T.allclose(x, 1.0)",
        "T.equal(x, 1.0)",
        "T.isclose(x, x.double())",
        "T.tril(3)",
        "T.unbind(3)",
        "T.addmm(1, x, x.T)",
        "~x",
        "T.tensor([True]) - T.tensor([True])",
        "T.tensor([True]) - 1.5",
        "T.tensor([1, 2]).norm()",
        "T.rand(2, dtype=T.int64)",
        "T.randn(2, dtype=T.int64)",
        "T.bernoulli(T.tensor([1]))",
        "T.normal(0.0, -1.0, (2,))",
        "T.empty(2).uniform_(2, 1)",
        "T.empty(2, dtype=T.int64).normal_()",
        "x.__delitem__(0)",
        "T.repeat_interleave(T.tensor([-1]))",
    ],
)
def test_messages_of_wrong_arguments(source: str, torch: Any) -> None:
    mine, theirs = outcome(jitgrad, source), outcome(torch, source)
    assert mine.get("error") == theirs.get("error"), mine
    if "message" in theirs:
        assert mine["message"] == theirs["message"]


@pytest.mark.parametrize(
    "source",
    [
        "T.ones(1).std()",
        "T.ones(0).var()",
        "T.ones(2, 1).std(1)",
        "T.ones(2, 3).var(1)",
        "T.ones(1).var(correction=0)",
        "T.tensor(1.0).std()",
        "T.repeat_interleave(T.tensor([1, 2]))",
        "T.bernoulli(T.ones(3), 0.0)",
        "T.tensor([0.5]).bernoulli(1.0)",
    ],
)
def test_values_and_warnings(source: str, torch: Any) -> None:
    mine, theirs = outcome(jitgrad, source), outcome(torch, source)
    assert mine["warns"] == theirs["warns"]
    assert str(mine.get("value")) == str(theirs.get("value"))


def test_generators() -> None:
    g = jitgrad.Generator().manual_seed(5)
    other = g.clone_state()
    assert g.device == jitgrad.device("cpu")
    assert jitgrad.equal(jitgrad.rand(3, generator=g), jitgrad.rand(3, generator=other))
    state = jitgrad.get_rng_state()
    with jitgrad.random.fork_rng():
        jitgrad.rand(3)
    assert jitgrad.equal(jitgrad.get_rng_state(), state)
