"""The models written again for PyTorch as plain functions of a state dict: no code of ours, no modules."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

import jitgrad

State = dict[str, Any]


class Residual:
    """A residual network; ``training`` says whether batches are normalized by themselves."""

    def __init__(self, torch: ModuleType, layers: list[int], bottleneck: bool) -> None:
        self.F, self.layers, self.bottleneck, self.training = (
            torch.nn.functional,
            layers,
            bottleneck,
            True,
        )

    def norm(self, s: State, name: str, x: Any) -> Any:
        running = s[f"{name}.running_mean"], s[f"{name}.running_var"]
        own = s[f"{name}.weight"], s[f"{name}.bias"]
        return self.F.batch_norm(x, *running, *own, self.training, 0.1, 1e-5)

    def block(self, s: State, name: str, x: Any, stride: int) -> Any:
        # Of a bottleneck the 3x3 convolution has the stride.
        plan = [(1, 0), (stride, 1), (1, 0)] if self.bottleneck else [(stride, 1), (1, 1)]
        out = x
        for k, (step, padding) in enumerate(plan, 1):
            if k > 1:
                out = out.relu()
            out = self.F.conv2d(out, s[f"{name}.conv{k}.weight"], None, step, padding)
            out = self.norm(s, f"{name}.bn{k}", out)
        if f"{name}.downsample.0.weight" in s:
            x = self.F.conv2d(x, s[f"{name}.downsample.0.weight"], None, stride)
            x = self.norm(s, f"{name}.downsample.1", x)
        return (out + x).relu()

    def __call__(self, s: State, x: Any) -> Any:
        x = self.norm(s, "bn1", self.F.conv2d(x, s["conv1.weight"], None, 2, 3)).relu()
        x = self.F.max_pool2d(x, 3, 2, 1)
        for stage, count in enumerate(self.layers, 1):
            for k in range(count):
                x = self.block(s, f"layer{stage}.{k}", x, 2 if stage > 1 and k == 0 else 1)
        return x.mean((2, 3)) @ s["fc.weight"].T + s["fc.bias"]


def attention(torch: ModuleType, q: Any, k: Any, v: Any, heads: int, hidden: Any) -> Any:
    """Attention on (N, T, E), written out; ``hidden`` is True where nothing may look."""
    n, t, e = q.shape
    q, k, v = (x.reshape(n, t, heads, e // heads).permute(0, 2, 1, 3) for x in (q, k, v))
    scores = q @ k.transpose(-2, -1) / (e // heads) ** 0.5
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return (weights @ v).permute(0, 2, 1, 3).reshape(n, t, e)


def gpt2(torch: ModuleType, s: State, ids: Any, layers: int, heads: int) -> Any:
    """GPT-2's scores."""
    F = torch.nn.functional
    t = ids.shape[1]

    def norm(name: str, x: Any) -> Any:
        return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], 1e-5)

    def dense(name: str, x: Any) -> Any:
        return x @ s[f"{name}.weight"] + s[f"{name}.bias"]

    hidden = torch.ones(t, t, dtype=torch.bool).triu(1)
    x = s["transformer.wte.weight"][ids] + s["transformer.wpe.weight"][:t]
    for k in range(layers):
        name = f"transformer.h.{k}"
        parts = dense(f"{name}.attn.c_attn", norm(f"{name}.ln_1", x)).chunk(3, -1)
        x = x + dense(f"{name}.attn.c_proj", attention(torch, *parts, heads, hidden))
        inner = dense(f"{name}.mlp.c_fc", norm(f"{name}.ln_2", x))
        inner = (
            0.5 * inner * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (inner + 0.044715 * inner**3)))
        )
        x = x + dense(f"{name}.mlp.c_proj", inner)
    return norm("transformer.ln_f", x) @ s["transformer.wte.weight"].T


def bert(
    torch: ModuleType, s: State, ids: Any, mask: Any, segments: Any, layers: int, heads: int
) -> tuple[Any, Any]:
    """BERT's vectors, and what its pooler makes of the first."""
    F = torch.nn.functional

    def norm(name: str, x: Any) -> Any:
        return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], 1e-12)

    def dense(name: str, x: Any) -> Any:
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    e = "embeddings"
    x = s[f"{e}.word_embeddings.weight"][ids] + s[f"{e}.token_type_embeddings.weight"][segments]
    x = norm(f"{e}.LayerNorm", x + s[f"{e}.position_embeddings.weight"][: ids.shape[1]])
    hidden = (mask == 0)[:, None, None, :]
    for k in range(layers):
        name = f"encoder.layer.{k}"
        parts = [dense(f"{name}.attention.self.{p}", x) for p in ("query", "key", "value")]
        mixed = dense(f"{name}.attention.output.dense", attention(torch, *parts, heads, hidden))
        x = norm(f"{name}.attention.output.LayerNorm", mixed + x)
        inner = dense(f"{name}.intermediate.dense", x)
        inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
        x = norm(f"{name}.output.LayerNorm", dense(f"{name}.output.dense", inner) + x)
    return x, torch.tanh(dense("pooler.dense", x[:, 0]))


def state_for(torch: ModuleType, model: Any) -> State:
    """The state of one of our models as PyTorch's tensors; what is a parameter requires grad."""
    params = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    found: dict[int, Any] = {}  # what is shared there is shared here
    state = {}
    for name, x in model.state_dict(keep_vars=True).items():
        if id(x) not in found:
            found[id(x)] = torch.tensor(x.detach().numpy().copy(), requires_grad=name in params)
        state[name] = found[id(x)]
    return state


def compare_gradients(model: Any, state: State, rtol: float = 1e-8) -> None:
    """Fail unless every parameter has the gradient that PyTorch found for it."""
    named = dict(model.named_parameters())
    assert named
    for name, param in named.items():
        wanted = state[name].grad.numpy()
        assert param.grad is not None, name
        scale = max(float(np.abs(wanted).max()), 1e-6)  # a key's bias has none but roundings
        np.testing.assert_allclose(
            param.grad.numpy(), wanted, rtol=rtol, atol=rtol * scale, err_msg=name
        )


def weighted(T: ModuleType, x: Any) -> Any:
    """A sum in which every element counts differently."""
    n = x.numel()
    return (x.reshape(-1) * T.cos(T.arange(float(n)).to(x.dtype) * 0.7)).sum()


def tensors(*arrays: np.ndarray[Any, Any]) -> list[Any]:
    """Ours of NumPy's arrays."""
    return [jitgrad.tensor(a) for a in arrays]
