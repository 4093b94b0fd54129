"""GPT-2 (Radford et al. 2019), with the names of parameters that Hugging Face's transformers has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from jitgrad import creation, nn, random
from jitgrad.autograd.grad_mode import no_grad
from jitgrad.nn import functional as F
from jitgrad.ops.joining import cat
from jitgrad.ops.products import addmm
from jitgrad.tensor import Tensor

__all__ = ["Block", "Conv1D", "GPT2Config", "GPT2LMHeadModel", "GPT2Model"]


@dataclass(frozen=True)
class GPT2Config:
    """Sizes and rates; the defaults are those of the smallest published model."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None  # 4 * n_embd
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ValueError(
                f"`embed_dim` must be divisible by num_heads (got `embed_dim`: {self.n_embd} and"
                f" `num_heads`: {self.n_head})."
            )


class Conv1D(nn.Module):
    """A linear layer whose weight is (in, out): the transpose of `nn.Linear`'s."""

    def __init__(self, out_features: int, in_features: int) -> None:
        super().__init__()
        self.nf, self.nx = out_features, in_features
        self.weight = nn.Parameter(creation.empty(in_features, out_features))
        self.bias = nn.Parameter(creation.zeros(out_features))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        rows = addmm(self.bias, x.reshape(-1, self.nx), self.weight)
        return rows.view(*x.shape[:-1], self.nf)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"nf={self.nf}, nx={self.nx}"


class Attention(nn.Module):
    """Each position attends to itself and to those before it."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        n = config.n_embd
        self.heads, self.dropout = config.n_head, config.attn_pdrop
        self.c_attn, self.c_proj = Conv1D(3 * n, n), Conv1D(n, n)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, n_embd), and so is the result."""
        batch, length, n = x.shape
        q, k, v = (
            part.view(batch, length, self.heads, -1).transpose(1, 2)
            for part in self.c_attn(x).split(n, -1)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return self.resid_dropout(self.c_proj(mixed.transpose(1, 2).reshape(batch, length, n)))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Older files hold the causal mask as well.
        for name in ("bias", "masked_bias"):
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class MLP(nn.Module):
    """What follows attention, position by position."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.c_fc, self.c_proj = Conv1D(inner, config.n_embd), Conv1D(config.n_embd, inner)
        self.act = nn.GELU("tanh")
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, n_embd), and so is the result."""
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


class Block(nn.Module):
    """Attention and a perceptron, each normalized before and added to what it got."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, n_embd), and so is the result."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2Model(nn.Module):
    """GPT-2 without its head: tokens to vectors.

    Parameters
    ----------
    config : GPT2Config
        Sizes and rates.

    Notes
    -----
    The state has the names of transformers' ``GPT2Model``: ``wte``, ``wpe``, ``h.0`` and so on, ``ln_f``,
    as the published files have; the masks that some of them hold are passed over.

    Examples
    --------
    >>> import jitgrad
    >>> config = jitgrad.models.GPT2Config(vocab_size=10, n_positions=8, n_embd=4, n_layer=1, n_head=2)
    >>> jitgrad.models.GPT2Model(config)(jitgrad.tensor([[1, 2, 3]])).shape
    jitgrad.Size([1, 3, 4])
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        std = config.initializer_range
        for name, param in self.named_parameters():
            if name.endswith("c_proj.weight"):
                # What is added up along the layers is to keep its size.
                nn.init.normal_(param, std=std / math.sqrt(2 * config.n_layer))
            elif param.ndim > 1:
                nn.init.normal_(param, std=std)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Tokens (N, T), int64, to vectors (N, T, n_embd).

        Raises
        ------
        ValueError
            If there are more tokens than positions.
        """
        length = input_ids.shape[-1]
        if length > self.config.n_positions:
            raise ValueError(
                f"{length} tokens, but the model has {self.config.n_positions} positions"
            )
        x = self.drop(self.wte(input_ids) + self.wpe.weight[:length])
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class GPT2LMHeadModel(nn.Module):
    """GPT-2 that predicts the next token; the head's weight is the table of embeddings.

    Parameters
    ----------
    config : GPT2Config
        Sizes and rates.

    Notes
    -----
    The state has the names of transformers' ``GPT2LMHeadModel``: ``transformer.`` before those of
    `GPT2Model`, and ``lm_head.weight``, which a file need not hold.

    Examples
    --------
    >>> import jitgrad
    >>> config = jitgrad.models.GPT2Config(vocab_size=10, n_positions=8, n_embd=4, n_layer=1, n_head=2)
    >>> model = jitgrad.models.GPT2LMHeadModel(config)
    >>> model(jitgrad.tensor([[1, 2, 3]])).shape
    jitgrad.Size([1, 3, 10])
    >>> model.lm_head.weight is model.transformer.wte.weight
    True
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = GPT2Model(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """Tokens (N, T), int64, to the scores of what follows each, (N, T, vocab_size)."""
        return self.lm_head(self.transformer(input_ids))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # safetensors does not hold a tensor twice.
        head, table = f"{prefix}lm_head.weight", f"{prefix}transformer.wte.weight"
        if table in state_dict:
            state_dict.setdefault(head, state_dict[table])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def generate(
        self,
        input_ids: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: random.Generator | None = None,
    ) -> Tensor:
        """Draw tokens that follow.

        Parameters
        ----------
        input_ids : Tensor
            (N, T), int64; the last ``n_positions`` of them count.
        max_new_tokens : int
            How many.
        temperature : float
            Scores are divided by it; at 0 the likeliest token is taken.
        top_k : int, optional
            Draw from the likeliest ``top_k`` only.
        generator : Generator, optional
            Where the random numbers come from.

        Returns
        -------
        Tensor
            (N, T + max_new_tokens): what was given and what was drawn.
        """
        with no_grad():
            for _ in range(max_new_tokens):
                scores = self(input_ids[:, -self.config.n_positions :])[:, -1]
                if temperature == 0:
                    drawn = scores.argmax(-1, keepdim=True)
                else:
                    scores = scores / temperature
                    if top_k is not None:
                        least = scores.topk(min(top_k, scores.shape[-1])).values[:, -1:]
                        scores = scores.masked_fill(scores < least, -math.inf)
                    drawn = scores.softmax(-1).multinomial(1, generator=generator)
                input_ids = cat([input_ids, drawn], 1)
        return input_ids
