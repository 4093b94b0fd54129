"""Recurrent layers and cells against PyTorch, with the same parameters; packed sequences."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, copy_state, fails, plain, same_module

KINDS = ["RNN", "LSTM", "GRU"]


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(list(shape)).normal(size=shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (5, 2, 3)),
        ({}, (4, 3)),
        ({}, (1, 1, 3)),
        ({"batch_first": True, "num_layers": 2}, (2, 5, 3)),
        ({"bidirectional": True, "num_layers": 2}, (4, 2, 3)),
        ({"bias": False, "bidirectional": True}, (4, 3)),
    ],
)
def test_layers(torch: ModuleType, kind: str, options: Any, shape: tuple[int, ...]) -> None:
    same_module(
        torch,
        lambda T: getattr(T.nn, kind)(3, 4, **options),
        normal(*shape),
        dtype="float64",
        rtol=1e-9,
    )


def test_relu(torch: ModuleType) -> None:
    same_module(torch, lambda T: T.nn.RNN(3, 4, nonlinearity="relu"), normal(5, 2, 3))
    same_module(torch, lambda T: T.nn.RNN(3, 4, 2, "relu", False), normal(5, 2, 3))


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_projections(torch: ModuleType, options: Any) -> None:
    same_module(
        torch,
        lambda T: T.nn.LSTM(3, 4, proj_size=2, **options),
        normal(5, 2, 3),
        dtype="float64",
        rtol=1e-9,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batched", [True, False])
def test_given_states(torch: ModuleType, kind: str, batched: bool) -> None:
    ours, theirs = getattr(jitgrad.nn, kind)(3, 4, 2), getattr(torch.nn, kind)(3, 4, 2)
    copy_state(torch, ours, theirs)
    found = []
    for T, m in ((jitgrad, ours), (torch, theirs)):
        x = T.tensor(normal(5, 2, 3)[:, : 2 if batched else 1].astype(np.float32))
        h, c = (T.tensor(normal(2, 2, k).astype(np.float32)).requires_grad_() for k in (4, 4))
        states = [h, c] if batched else [h[:, 0], c[:, 0]]
        hx = tuple(states) if kind == "LSTM" else states[0]
        y, _ = m(x if batched else x[:, 0], hx)
        (y * y).sum().backward()
        found.append([plain(T, y.detach()), plain(T, h.grad), plain(T, c.grad)])
    ours_, theirs_ = found
    for a, b in zip(ours_[:2], theirs_[:2], strict=True):
        np.testing.assert_allclose(a[-1], b[-1], rtol=1e-4, atol=1e-5)


def _packed(T: Any, m: Any, kind: str, sort: bool, bidirectional: bool) -> Any:
    x = T.tensor(normal(5, 4, 3)).requires_grad_()
    lengths = [5, 3, 3, 1] if sort else [2, 5, 1, 4]
    packed = T.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=sort)
    y, state = m(packed)
    states = state if kind == "LSTM" else (state,)
    padded, n = T.nn.utils.rnn.pad_packed_sequence(y, padding_value=0.5, total_length=6)
    weight = T.cos(T.arange(float(padded.numel())).to(padded.dtype)).reshape(padded.shape)
    ((padded * weight).sum() + sum((s * s).sum() for s in states)).backward()
    grads = [p.grad for p in m.parameters()]
    return [packed.data, packed.batch_sizes, padded, n, list(states), x.grad, grads]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_packed_sequences(torch: ModuleType, kind: str, sort: bool, bidirectional: bool) -> None:
    def make(T: Any) -> Any:
        return getattr(T.nn, kind)(3, 4, 2, bidirectional=bidirectional).double()

    modules = {"jitgrad": make(jitgrad), "torch": make(torch)}
    copy_state(torch, modules["jitgrad"], modules["torch"])
    check(torch, lambda T: _packed(T, modules[T.__name__], kind, sort, bidirectional), rtol=1e-9)


# ---------------------------------------------------------------- the kernels
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_and_their_edges(torch: ModuleType, kind: str, dtype: str, threads: int) -> None:
    # 17 sequences are two tiles and one more; gates and units end within a vector.
    jitgrad.set_num_threads(threads)
    same_module(
        torch,
        lambda T: getattr(T.nn, kind)(5, 37, bidirectional=True),
        normal(6, 17, 5),
        dtype=dtype,
        rtol=1e-9 if dtype == "float64" else 2e-4,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_few_steps(torch: ModuleType, kind: str, steps: int) -> None:
    same_module(
        torch,
        lambda T: getattr(T.nn, kind)(5, 20),
        normal(steps, 9, 5),
        dtype="float64",
        rtol=1e-9,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_of_many_lengths(torch: ModuleType, kind: str) -> None:
    jitgrad.set_num_threads(2)
    modules = {T.__name__: getattr(T.nn, kind)(3, 18, bidirectional=True) for T in (jitgrad, torch)}
    copy_state(torch, modules["jitgrad"], modules["torch"])
    lengths = [9, 9, 8, 8, 7, 6, 6, 6, 5, 4, 3, 3, 2, 2, 1, 1, 1, 1, 1]

    def program(T: Any) -> Any:
        x = T.tensor(normal(9, len(lengths), 3).astype(np.float32)).requires_grad_()
        m = modules[T.__name__]
        y, state = m(T.nn.utils.rnn.pack_padded_sequence(x, lengths))
        states = state if kind == "LSTM" else (state,)
        ((y.data * T.cos(y.data * 9)).sum() + sum((s * s).sum() for s in states)).backward()
        return [y.data, list(states), x.grad, [p.grad for p in m.parameters()]]

    check(torch, program, rtol=3e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", ["weight_ih", "weight_hh", "bias_hh", "start"])
def test_some_gradients_alone(torch: ModuleType, kind: str, wanted: str) -> None:
    modules = {T.__name__: getattr(T.nn, kind)(3, 4).double() for T in (jitgrad, torch)}
    copy_state(torch, modules["jitgrad"], modules["torch"])

    def program(T: Any) -> Any:
        m = modules[T.__name__]
        for name, p in m.named_parameters():
            p.requires_grad_(name.startswith(wanted))
        h = T.tensor(normal(1, 2, 4)).requires_grad_(wanted == "start")
        y, _ = m(T.tensor(normal(5, 2, 3)), (h, h * 2) if kind == "LSTM" else h)
        (y * y).sum().backward()
        return [h.grad, [p.grad for p in m.parameters()]]

    check(torch, program, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_is_kept_and_one_that_is_not(torch: ModuleType, kind: str) -> None:
    m = getattr(jitgrad.nn, kind)(3, 4)
    y = m(jitgrad.tensor(normal(5, 2, 3).astype(np.float32)))[0].sum()
    y.backward(retain_graph=True)
    first = [p.grad.clone() for p in m.parameters()]
    y.backward()
    for p, g in zip(m.parameters(), first, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), 2 * g.numpy(), rtol=1e-6)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_the_output_may_be_changed_in_place(torch: ModuleType) -> None:
    modules = {T.__name__: T.nn.GRU(3, 4).double() for T in (jitgrad, torch)}
    copy_state(torch, modules["jitgrad"], modules["torch"])

    def program(T: Any) -> Any:
        m = modules[T.__name__]
        y, h = m(T.tensor(normal(5, 2, 3)))
        y.mul_(2).relu_()
        (y * y).sum().backward()
        return [y, h, [p.grad for p in m.parameters()]]

    check(torch, program, rtol=1e-9)


def test_infinite_and_missing_numbers_pass_through(torch: ModuleType) -> None:
    x = normal(5, 3, 3)
    x[1, 0, 0], x[2, 1, 1] = np.nan, np.inf
    for nonlinearity in ("tanh", "relu"):
        same_module(torch, lambda T, n=nonlinearity: T.nn.RNN(3, 4, nonlinearity=n), x)
    for kind in ("GRU", "LSTM"):
        same_module(torch, lambda T, k=kind: getattr(T.nn, k)(3, 4).double(), x, dtype="float64")


def test_no_sequences(torch: ModuleType) -> None:
    for kind in KINDS:
        m = getattr(jitgrad.nn, kind)(3, 4)
        y, _ = m(jitgrad.zeros(5, 0, 3))
        assert y.shape == (5, 0, 4)
        y.sum().backward()
        assert all((p.grad == 0).all() for p in m.parameters())


def test_training_steps_leak_nothing() -> None:
    m = jitgrad.nn.GRU(3, 4, 2, bidirectional=True)
    x = jitgrad.ones(5, 2, 3)

    def step() -> None:
        m.zero_grad()
        m(x)[0].sum().backward()

    step()
    step()
    before = jitgrad.memory_stats()
    for _ in range(20):
        step()
    after = jitgrad.memory_stats()
    for name in ("live_rows", "live_storages", "live_bytes"):
        assert after[name] == before[name]


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("shape", [(2, 3), (3,)])
@pytest.mark.parametrize("bias", [True, False])
def test_cells(torch: ModuleType, kind: str, shape: tuple[int, ...], bias: bool) -> None:
    same_module(torch, lambda T: getattr(T.nn, kind)(3, 4, bias), normal(*shape))
    h = normal(*shape[:-1], 4).astype(np.float32)

    modules = {"jitgrad": getattr(jitgrad.nn, kind)(3, 4), "torch": getattr(torch.nn, kind)(3, 4)}
    copy_state(torch, modules["jitgrad"], modules["torch"])

    def program(T: Any) -> Any:
        s = T.tensor(h).requires_grad_()
        x = T.tensor(normal(*shape).astype(np.float32))
        found = modules[T.__name__](x, (s, s * 2) if kind == "LSTMCell" else s)
        parts = list(found) if kind == "LSTMCell" else [found]
        sum((p * p).sum() for p in parts).backward()
        return [parts, s.grad]

    check(torch, program)


def test_dropout_between_layers() -> None:
    m = jitgrad.nn.GRU(3, 30, 2, dropout=0.5)
    x = jitgrad.ones(4, 2, 3)
    assert (m(x)[0] != m(x)[0]).any()
    m.eval()
    assert (m(x)[0] == m(x)[0]).all()
    one = jitgrad.nn.GRU(3, 4)
    one.dropout = 0.9  # nothing after the last layer
    assert (one(x)[0] == one(x)[0]).all()


def test_initial_bounds_and_attributes() -> None:
    m = jitgrad.nn.LSTM(10, 64)
    for p in m.parameters():
        assert 0.11 < p.detach().abs().max().item() <= 0.125
    m.flatten_parameters()
    assert [w.shape for w in m.all_weights[0]] == [(256, 10), (256, 64), (256,), (256,)]


@pytest.mark.parametrize(
    "program",
    [
        lambda n, T: n.LSTM(3, 4, dropout=2),
        lambda n, T: n.LSTM(3, 0),
        lambda n, T: n.LSTM(3, 4, 0),
        lambda n, T: n.LSTM(3, 4, proj_size=4),
        lambda n, T: n.LSTM(3, 4, proj_size=-1),
        lambda n, T: n.GRU(3, 4, proj_size=2),
        lambda n, T: n.RNN(3, 4, nonlinearity="x"),
        lambda n, T: n.LSTM("x", 4),
        lambda n, T: n.LSTM(3, 4.0),
        lambda n, T: n.LSTM(3, 4)(T.ones(2, 5)),
        lambda n, T: n.LSTM(3, 4)(T.ones(2, 5, 5)),
        lambda n, T: n.LSTM(3, 4)(T.ones(5)),
        lambda n, T: n.GRU(3, 4)(T.ones(5)),
        lambda n, T: n.LSTM(3, 4)(T.ones(0, 5, 3)),
        lambda n, T: n.LSTM(3, 4)(T.ones(2, 5, 3).double()),
        lambda n, T: n.LSTM(3, 4)(T.ones(2, 5, 3), (T.ones(1, 4, 4), T.ones(1, 5, 4))),
        lambda n, T: n.LSTM(3, 4)(T.ones(2, 5, 3), (T.ones(1, 5, 4), T.ones(1, 5, 2))),
        lambda n, T: n.LSTM(3, 4)(T.ones(2, 5, 3), (T.ones(5, 4), T.ones(5, 4))),
        lambda n, T: n.LSTM(3, 4)(T.ones(2, 3), (T.ones(1, 5, 4), T.ones(1, 5, 4))),
        lambda n, T: n.GRU(3, 4)(T.ones(2, 5, 3), T.ones(5, 4)),
        lambda n, T: n.GRU(3, 4)(T.ones(2, 3), T.ones(1, 5, 4)),
        lambda n, T: n.GRU(3, 4)(T.ones(2, 5, 3), T.ones(1, 5, 5)),
        lambda n, T: n.LSTMCell(3, 4)(T.ones(2, 4)),
        lambda n, T: n.LSTMCell(3, 4)(T.ones(2, 2, 3)),
        lambda n, T: n.LSTMCell(3, 4)(T.ones(2, 3), (T.ones(1, 4), T.ones(1, 4))),
        lambda n, T: n.GRUCell(3, 4)(T.ones(2, 3), T.ones(1, 2, 4)),
        lambda n, T: n.RNNCell(3, 4, nonlinearity="q")(T.ones(2, 3)),
        lambda n, T: n.utils.rnn.pack_padded_sequence(T.ones(3, 2, 1), [1, 3]),
        lambda n, T: n.utils.rnn.pack_padded_sequence(T.ones(3, 2, 1), [3, 0]),
        lambda n, T: n.utils.rnn.pad_sequence([]),
        lambda n, T: n.utils.rnn.pad_packed_sequence(
            n.utils.rnn.pack_sequence([T.ones(3)]), total_length=2
        ),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, lambda T: program(T.nn, T))


def test_dropout_of_one_layer_warns(torch: ModuleType) -> None:
    check(torch, lambda T: repr(T.nn.LSTM(3, 4, dropout=0.5)))


# ---------------------------------------------------------------- sequences
@pytest.mark.parametrize(
    "program",
    [
        lambda r, T, s: r.pad_sequence(s),
        lambda r, T, s: r.pad_sequence(s, True, -1.0),
        lambda r, T, s: r.pad_sequence(s, True, padding_side="left"),
        lambda r, T, s: list(r.pack_sequence(s, enforce_sorted=False)),
        lambda r, T, s: r.unpack_sequence(r.pack_sequence(s, enforce_sorted=False)),
        lambda r, T, s: r.unpad_sequence(r.pad_sequence(s), T.tensor([2, 4, 1])),
        lambda r, T, s: list(
            r.pad_packed_sequence(r.pack_sequence(s, enforce_sorted=False), batch_first=True)
        ),
        lambda r, T, s: list(
            r.pack_padded_sequence(r.pad_sequence(s, True), T.tensor([2, 4, 1]), True, False)
        ),
        lambda r, T, s: r.pack_sequence([s[1]]).double().data,
        lambda r, T, s: r.invert_permutation(T.tensor([2, 0, 1])),
    ],
)
def test_sequences(torch: ModuleType, program: Any) -> None:
    def both(T: Any) -> Any:
        leaves = [T.tensor(normal(n, 2).astype(np.float32)).requires_grad_() for n in (2, 4, 1)]
        return program(T.nn.utils.rnn, T, [x * 1 for x in leaves])

    check(torch, both)
