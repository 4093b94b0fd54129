"""GPT-2: transformers' names and shapes, what PyTorch computes on the same state, and drawing of tokens."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import jitgrad
from jitgrad.models import GPT2Config, GPT2LMHeadModel, GPT2Model
from tests.models.reference import compare_gradients, gpt2, state_for, weighted

SMALL = {"vocab_size": 11, "n_positions": 8, "n_embd": 12, "n_layer": 2, "n_head": 3}
STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def expected(c: GPT2Config) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the state of transformers' GPT2Model, in its order."""
    n = c.n_embd
    found: dict[str, tuple[int, ...]] = {
        "wte.weight": (c.vocab_size, n),
        "wpe.weight": (c.n_positions, n),
    }
    for k in range(c.n_layer):
        for name, shape in (
            ("ln_1", (n,)), ("attn.c_attn", (n, 3 * n)), ("attn.c_proj", (n, n)),
            ("ln_2", (n,)), ("mlp.c_fc", (n, 4 * n)), ("mlp.c_proj", (4 * n, n)),
        ):  # fmt: skip
            found[f"h.{k}.{name}.weight"], found[f"h.{k}.{name}.bias"] = shape, shape[-1:]
    return found | {"ln_f.weight": (n,), "ln_f.bias": (n,)}


def shapes(model: jitgrad.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape) for name, x in model.state_dict().items()}


def test_names_and_shapes_are_those_of_transformers() -> None:
    config = GPT2Config(**SMALL)
    bare, model = GPT2Model(config), GPT2LMHeadModel(config)
    wanted = expected(config)
    assert shapes(bare) == wanted
    assert list(shapes(bare)) == list(wanted)
    headed = {f"transformer.{name}": shape for name, shape in wanted.items()}
    assert shapes(model) == headed | {"lm_head.weight": (11, 12)}
    assert list(shapes(model)) == [*headed, "lm_head.weight"]
    assert model.lm_head.weight is model.transformer.wte.weight
    assert len(list(model.parameters())) == len(wanted)


def test_the_published_sizes() -> None:
    config = GPT2Config(n_layer=1)
    assert (config.vocab_size, config.n_positions, config.n_embd, config.n_head) == (
        50257,
        1024,
        768,
        12,
    )
    assert GPT2Config().n_layer == 12
    # Of 124,439,808 parameters a layer has 7,087,872.
    sizes = [int(np.prod(shape)) for shape in expected(GPT2Config()).values()]
    assert sum(sizes) == 124_439_808


def test_it_begins_as_that_of_transformers() -> None:
    model = GPT2Model(GPT2Config(vocab_size=500, n_positions=100, n_embd=96, n_layer=2))
    for name, param in model.named_parameters():
        if param.ndim == 2:
            wanted = 0.02 / 2 if name.endswith("c_proj.weight") else 0.02
            assert abs(param.std().item() / wanted - 1) < 0.05, name
        else:
            assert (param == (1 if ".ln" in f".{name}" and name.endswith("weight") else 0)).all(), (
                name
            )


@pytest.mark.parametrize("training", [True, False])
def test_it_computes_what_pytorch_does(torch: ModuleType, training: bool) -> None:
    # With dropout, evaluation must not drop.
    config = GPT2Config(**SMALL, **(STILL if training else {}))
    model = GPT2LMHeadModel(config).double().train(training)
    with jitgrad.no_grad():
        for param in model.parameters():
            param.add_(0.3 * jitgrad.randn_like(param))
    state = state_for(torch, model)
    ids = np.random.default_rng(0).integers(0, 11, (3, 7))
    ours = model(jitgrad.tensor(ids))
    wanted = gpt2(torch, state, torch.tensor(ids), 2, 3)
    np.testing.assert_allclose(
        ours.detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-10
    )
    weighted(jitgrad, ours).backward()
    weighted(torch, wanted).backward()
    compare_gradients(model, state)


def test_dropout_drops_in_training_only() -> None:
    model = GPT2LMHeadModel(GPT2Config(**SMALL))
    ids = jitgrad.tensor([[1, 2, 3, 4, 5]])
    assert (model(ids) != model(ids)).any()
    model.eval()
    assert (model(ids) == model(ids)).all()


def test_it_does_not_look_ahead() -> None:
    model = GPT2LMHeadModel(GPT2Config(**SMALL)).eval()
    a, b = (model(jitgrad.tensor([[1, 2, 3, last]])) for last in (4, 9))
    np.testing.assert_allclose(
        a[:, :3].detach().numpy(), b[:, :3].detach().numpy(), rtol=1e-5, atol=1e-7
    )
    assert (a[:, 3] != b[:, 3]).any()


def test_files_load_with_and_without_what_is_known(tmp_path: Path) -> None:
    config = GPT2Config(**SMALL)
    source, model = GPT2LMHeadModel(config), GPT2LMHeadModel(config)
    state = dict(source.state_dict())
    # A tied head is written once by safetensors; older files hold the masks.
    del state["lm_head.weight"]
    jitgrad.save(state, tmp_path / "headed.safetensors")
    model.load_state_dict(jitgrad.load(tmp_path / "headed.safetensors"))
    assert (model.lm_head.weight == source.lm_head.weight).all()
    bare = dict(source.transformer.state_dict())
    bare["h.0.attn.bias"] = jitgrad.ones(1, 1, 8, 8).tril()
    bare["h.1.attn.masked_bias"] = jitgrad.tensor(-1e4)
    other = GPT2LMHeadModel(config)
    other.transformer.load_state_dict(bare)
    for name, x in other.state_dict().items():
        assert (x == source.state_dict()[name]).all(), name
    with pytest.raises(
        RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"h\.0\.attn\.other\""
    ):
        other.transformer.load_state_dict(bare | {"h.0.attn.other": jitgrad.ones(1)})
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: .*wte\.weight"):
        model.load_state_dict({})


def test_tokens_are_drawn() -> None:
    model = GPT2LMHeadModel(GPT2Config(**SMALL)).eval()
    start = jitgrad.tensor([[1, 2], [3, 4]])
    drawn = model.generate(start, 10)
    assert drawn.shape == (2, 12)
    assert drawn.dtype is jitgrad.int64
    assert (drawn[:, :2] == start).all()
    assert not drawn.requires_grad
    # The likeliest, one by one, also past the number of positions.
    ids = start
    for _ in range(10):
        ids = jitgrad.cat([ids, model(ids[:, -8:])[:, -1].argmax(-1, keepdim=True)], 1)
    assert (model.generate(start, 10, temperature=0) == ids).all()
    assert (model.generate(start, 10, top_k=1) == ids).all()
    again = [
        model.generate(start, 10, generator=jitgrad.Generator().manual_seed(5)) for _ in range(2)
    ]
    assert (again[0] == again[1]).all()


def test_the_likelier_token_is_drawn_more_often() -> None:
    config = GPT2Config(**(SMALL | {"vocab_size": 3, "n_layer": 1}))
    model = GPT2LMHeadModel(config).eval()
    start = jitgrad.zeros(4000, 1, dtype=jitgrad.int64)
    with jitgrad.no_grad():
        model.transformer.wte.weight.mul_(20)
        wanted = (model(start[:1])[0, -1] / 0.7).softmax(-1).numpy()
    drawn = model.generate(start, 1, temperature=0.7)[:, 1].numpy()
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4000, wanted, atol=0.04)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="divisible by num_heads"):
        GPT2Config(n_embd=10, n_head=3)
    model = GPT2Model(GPT2Config(**SMALL))
    with pytest.raises(ValueError, match="9 tokens, but the model has 8 positions"):
        model(jitgrad.zeros(1, 9, dtype=jitgrad.int64))
    with pytest.raises(IndexError):
        model(jitgrad.tensor([[11]]))
