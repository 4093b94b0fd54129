"""Attention and the transformer against PyTorch, with the same parameters."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, copy_state, fails, plain, same_module

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor")


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(list(shape)).normal(size=shape)


MASK = np.array([[True, False, True], [False, True, True], [True, True, False], [False] * 3])
ADDED = np.where(MASK, 0.5, -1.0)


# ---------------------------------------------------------------- the function
@pytest.mark.parametrize(
    ("mask", "options"),
    [
        (None, {}),
        (None, {"is_causal": True}),
        (None, {"scale": 0.3}),
        (MASK, {}),
        (ADDED, {}),
    ],
)
@pytest.mark.parametrize("lead", [(2, 2), (), (3,)])
def test_scaled_dot_product_attention(
    torch: ModuleType, mask: Any, options: Any, lead: tuple[int, ...]
) -> None:
    def program(T: Any) -> Any:
        q, k, v = (
            T.tensor(normal(*lead, n, e)).requires_grad_() for n, e in ((4, 5), (3, 5), (3, 2))
        )
        m = None if mask is None else T.tensor(mask)
        y = T.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=m, **options)
        (y * y).sum().backward()
        return [y, q.grad, k.grad, v.grad]

    check(torch, program, rtol=1e-9)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("length", "source"), [(1, 1), (63, 70), (64, 64), (65, 17), (130, 200), (200, 130), (3, 300)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_of_queries(
    torch: ModuleType, dtype: str, length: int, source: int, causal: bool
) -> None:
    """Both sides of a block and of a vector; operands that are views with gaps, as models have them."""
    found = []
    for T in (jitgrad, torch):
        q, k, v = (
            T.tensor(normal(2, n, 3, e).astype(dtype)).requires_grad_()
            for n, e in ((length, 20), (source, 20), (source, 9))
        )
        y = T.nn.functional.scaled_dot_product_attention(
            *(x.transpose(1, 2)[..., 1:] for x in (q, k, v)), is_causal=causal
        )
        y.backward(T.tensor(normal(2, 3, length, 8).astype(dtype)))
        found.append([x.detach().numpy() for x in (y, q.grad, k.grad, v.grad)])
    tolerance = 1e-11 if dtype == "float64" else 2e-5
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (1, 2), (0, 2), (0, 1)])
def test_gradients_of_some_operands(torch: ModuleType, wanted: tuple[int, ...]) -> None:
    def program(T: Any) -> Any:
        x = [T.tensor(normal(2, 4, 3) + i).requires_grad_(i in wanted) for i in range(3)]
        y = T.nn.functional.scaled_dot_product_attention(*x, is_causal=True)
        y.cos().sum().backward()
        return [y, *(t.grad for t in x)]

    check(torch, program, rtol=1e-9)


def test_scores_that_are_large_or_not_finite(torch: ModuleType) -> None:
    def program(T: Any, value: float = 300.0) -> Any:
        q = T.tensor(np.array([[value, 1.0], [1.0, -2.0], [-1.0, 0.5]]))
        k = T.tensor(np.array([[300.0, 1.0], [-2.0, 1.0], [0.5, 3.0]]))
        return T.nn.functional.scaled_dot_product_attention(q, k, k[:, :1], is_causal=True)

    check(torch, program, rtol=1e-9)
    for value in (float("nan"), float("inf")):
        ours, theirs = (program(T, value).tolist() for T in (jitgrad, torch))
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))


def test_attention_keeps_no_scores() -> None:
    q = jitgrad.randn(1, 1, 512, 4).requires_grad_()
    f = jitgrad.nn.functional.scaled_dot_product_attention
    f(q, q, q, is_causal=True).sum().backward()
    jitgrad.reset_peak_memory_stats()
    before = jitgrad.memory_stats()["live_bytes"]
    y = f(q, q, q, is_causal=True)
    y.sum().backward()
    peak = jitgrad.memory_stats()["peak_bytes"] - before
    assert peak < 512 * 512 * 4  # the scores would be that


def test_groups_of_queries(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        q, k, v = (T.tensor(normal(2, h, 3, 4)) for h in (4, 2, 2))
        return T.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    check(torch, program, rtol=1e-9)


def test_dropped_weights() -> None:
    q, v = jitgrad.zeros(1, 50, 2), jitgrad.ones(1, 50, 3)
    f = jitgrad.nn.functional.scaled_dot_product_attention
    y = f(q, q, v, dropout_p=0.5)
    assert y.std().item() > 0.05
    assert abs(y.mean().item() - 1) < 0.1


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (
            lambda f, T: f(T.ones(2, 2), T.ones(2, 2), T.ones(2, 2), T.ones(2, 2), is_causal=True),
            None,
        ),
        (lambda f, T: f(T.ones(2, 2), T.ones(2, 2), T.ones(2, 2).double()), "dtype"),
        (lambda f, T: f(T.ones(2, 2), T.ones(2, 3), T.ones(2, 3)), ""),
    ],
)
def test_errors_of_the_function(torch: ModuleType, program: Any, says: str | None) -> None:
    fails(torch, lambda T: program(T.nn.functional.scaled_dot_product_attention, T), says)


# ---------------------------------------------------------------- the layer
def _heads(T: Any, module: Any, data: dict[str, Any]) -> Any:
    tensors = {k: T.tensor(v) if isinstance(v, np.ndarray) else v for k, v in data.items()}
    for name in ("query", "key", "value"):
        tensors[name].requires_grad_()
    output, weights = module(**tensors)
    total = (output * output).sum()
    if weights is not None:
        total = total + (weights * weights).sum()
    total.backward()
    grads = {n: plain(T, p.grad) for n, p in module.named_parameters()}
    inputs = [tensors[n].grad for n in ("query", "key", "value")]
    return [output, weights, inputs, grads]


QKV = {"query": normal(4, 2, 6), "key": normal(3, 2, 6), "value": normal(3, 2, 6) + 1}
PADDING = np.array([[False, False, True], [False, True, False]])
HEADS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, QKV),
    "batch_first": (
        {"batch_first": True},
        {"query": normal(2, 4, 6), "key": normal(2, 3, 6), "value": normal(2, 3, 6)},
    ),
    "unbatched": ({}, {k: v[:, 0] for k, v in QKV.items()}),
    "no bias": ({"bias": False}, QKV),
    "other sizes": (
        {"kdim": 5, "vdim": 3},
        {"query": normal(4, 2, 6), "key": normal(3, 2, 5), "value": normal(3, 2, 3)},
    ),
    "bias_kv": ({"add_bias_kv": True}, QKV),
    "zero_attn": ({"add_zero_attn": True, "add_bias_kv": True}, {**QKV, "attn_mask": ADDED}),
    "mask": ({}, {**QKV, "attn_mask": ~MASK | np.eye(4, 3, -1, dtype=bool)[:, ::-1] & False}),
    "float mask": ({}, {**QKV, "attn_mask": ADDED}),
    "mask of heads": ({}, {**QKV, "attn_mask": normal(4, 4, 3)}),
    "padding": ({}, {**QKV, "key_padding_mask": PADDING}),
    "both masks": (
        {},
        {**QKV, "attn_mask": MASK[::-1].copy() & False, "key_padding_mask": PADDING},
    ),
    "no weights": ({}, {**QKV, "need_weights": False, "key_padding_mask": PADDING}),
    "all weights": ({}, {**QKV, "average_attn_weights": False}),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads(torch: ModuleType, name: str) -> None:
    options, data = HEADS[name]
    if name == "mask":
        data = {**data, "attn_mask": ~MASK & ~np.array([[False], [False], [False], [True]])}
    modules = {
        T.__name__: T.nn.MultiheadAttention(6, 2, **options).double() for T in (jitgrad, torch)
    }
    assert repr(modules["jitgrad"]) == repr(modules["torch"])
    copy_state(torch, modules["jitgrad"], modules["torch"])
    check(torch, lambda T: _heads(T, modules[T.__name__], data), rtol=1e-9)


def test_self_attention_is_one_product(torch: ModuleType) -> None:
    modules = {T.__name__: T.nn.MultiheadAttention(6, 3).double() for T in (jitgrad, torch)}
    copy_state(torch, modules["jitgrad"], modules["torch"])

    def program(T: Any) -> Any:
        x = T.tensor(normal(4, 2, 6)).requires_grad_()
        y, w = modules[T.__name__](x, x, x)
        (y * y).sum().backward()
        return [y, w, x.grad]

    check(torch, program, rtol=1e-9)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda n, T: n.MultiheadAttention(0, 1), None),
        (lambda n, T: n.MultiheadAttention(5, 2), None),
        (lambda n, T: n.MultiheadAttention(4, 2)(T.ones(4), T.ones(4), T.ones(4)), "query should"),
        (lambda n, T: n.MultiheadAttention(4, 2)(T.ones(3, 4), *[T.ones(3, 1, 4)] * 2), None),
        (lambda n, T: n.MultiheadAttention(4, 2)(*[T.ones(3, 1, 5)] * 3), None),
        (
            lambda n, T: n.MultiheadAttention(4, 2)(
                *[T.ones(3, 1, 4)] * 3, key_padding_mask=T.ones(3)
            ),
            None,
        ),
        (
            lambda n, T: n.MultiheadAttention(4, 2)(*[T.ones(3, 1, 4)] * 3, attn_mask=T.ones(2, 3)),
            "The shape of the 2D attn_mask is",
        ),
        (
            lambda n, T: n.MultiheadAttention(4, 2)(*[T.ones(3, 1, 4)] * 3, is_causal=True),
            "Need attn_mask",
        ),
        (lambda n, T: n.TransformerEncoderLayer(4, 2, activation="x"), None),
        (lambda n, T: n.Transformer(4, 2, 1, 1, 8)(T.ones(2, 1, 4), T.ones(2, 3, 4)), None),
        (lambda n, T: n.Transformer(4, 2, 1, 1, 8)(T.ones(2, 1, 5), T.ones(2, 1, 4)), None),
    ],
)
def test_errors(torch: ModuleType, program: Any, says: str | None) -> None:
    fails(torch, lambda T: program(T.nn, T), says)


# ---------------------------------------------------------------- the transformer
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_first": True, "activation": "gelu"},
        {"batch_first": True, "bias": False},
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_encoder_layer(torch: ModuleType, options: Any, train: bool) -> None:
    same_module(
        torch,
        lambda T: T.nn.TransformerEncoderLayer(6, 2, 8, 0.0, **options),
        normal(4, 3, 6),
        dtype="float64",
        rtol=1e-8,
        train=train,
    )


@pytest.mark.parametrize("options", [{}, {"norm_first": True}])
def test_decoder_layer(torch: ModuleType, options: Any) -> None:
    same_module(
        torch,
        lambda T: T.nn.TransformerDecoderLayer(6, 2, 8, 0.0, **options),
        normal(4, 3, 6),
        normal(5, 3, 6),
        dtype="float64",
        rtol=1e-8,
    )


@pytest.mark.parametrize("batch_first", [False, True])
def test_transformer_with_masks(torch: ModuleType, batch_first: bool) -> None:
    def make(T: Any) -> Any:
        return T.nn.Transformer(6, 2, 2, 2, 8, 0.0, batch_first=batch_first).double()

    modules = {"jitgrad": make(jitgrad), "torch": make(torch)}
    assert repr(modules["jitgrad"]) == repr(modules["torch"])
    copy_state(torch, modules["jitgrad"], modules["torch"])

    def program(T: Any) -> Any:
        m = modules[T.__name__]
        src, tgt = (T.tensor(normal(n, 3, 6)).requires_grad_() for n in (5, 4))
        a, b = (src.transpose(0, 1), tgt.transpose(0, 1)) if batch_first else (src, tgt)
        mask = m.generate_square_subsequent_mask(4, dtype=T.float64)
        y = m(a, b, tgt_mask=mask)
        (y * y * y).sum().backward()
        return [y, src.grad, tgt.grad, [p.grad for p in m.parameters()], mask]

    check(torch, program, rtol=1e-7)


def test_first_values_of_a_transformer() -> None:
    m = jitgrad.nn.Transformer(32, 4, 1, 1, 64)
    w = m.encoder.layers[0].linear1.weight.detach()
    bound = (6 / 96) ** 0.5
    assert 0.95 * bound < w.abs().max().item() <= bound
    assert m.encoder.layers[0].self_attn.in_proj_bias.abs().max().item() == 0


# ---------------------------------------------------------------- at the edges
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_gradients_where_a_query_sees_nothing(
    torch: ModuleType, added: bool, need_weights: bool
) -> None:
    modules = {T.__name__: T.nn.MultiheadAttention(4, 2).double() for T in (jitgrad, torch)}
    copy_state(torch, modules["jitgrad"], modules["torch"])

    def program(T: Any) -> Any:
        m = modules[T.__name__]
        m.zero_grad()
        x = T.tensor(normal(3, 2, 4)).requires_grad_()
        padding = T.tensor([[True] * 3, [False] * 3])
        if added:
            padding = T.zeros(2, 3, dtype=T.float64).masked_fill(padding, float("-inf"))
        y, w = m(x, x, x, key_padding_mask=padding, need_weights=need_weights)
        y[:, 1].sum().backward()
        return [y, w, x.grad, m.in_proj_weight.grad]

    check(torch, program, rtol=1e-9)


def test_no_batch_at_all(torch: ModuleType) -> None:
    same_module(torch, lambda T: T.nn.MultiheadAttention(4, 2), *[np.zeros((3, 0, 4))] * 3)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 4)])
def test_groups_at_the_edges(torch: ModuleType, shape: tuple[int, ...]) -> None:
    def program(T: Any) -> Any:
        return T.nn.functional.scaled_dot_product_attention(
            *(T.ones(shape) for _ in range(3)), enable_gqa=True
        )

    check(torch, program)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda F, x, T: F(x, x, x, T.ones(3, 3, dtype=T.int64)), "Expected attn_mask dtype to be"),
        (lambda F, x, T: F(x, x[:2], x[:2], enable_gqa=True), "must divide the number of heads"),
    ],
)
def test_more_errors_of_the_function(torch: ModuleType, program: Any, says: str) -> None:
    fails(
        torch,
        lambda T: program(T.nn.functional.scaled_dot_product_attention, T.ones(3, 3, 4), T),
        says,
    )


def test_masks_of_two_kinds(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        m, x = T.nn.MultiheadAttention(2, 1), T.zeros(2, 1, 2)
        return m(x, x, x, T.zeros(1, 2, dtype=T.bool), attn_mask=T.zeros(2, 2))[1]

    check(torch, program)
