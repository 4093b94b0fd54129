"""BERT's encoder (Devlin et al. 2018), with the names of parameters that Hugging Face's transformers has."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jitgrad import creation, nn
from jitgrad.nn import functional as F
from jitgrad.tensor import Tensor

__all__ = ["BertConfig", "BertModel"]


@dataclass(frozen=True)
class BertConfig:
    """Sizes and rates; the defaults are those of the base model."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"The hidden size ({self.hidden_size}) is not a multiple of the number of attention"
                f" heads ({self.num_attention_heads})"
            )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> BertConfig:
        """The values in a model's ``config.json``; what does not concern the encoder is passed over.

        Raises
        ------
        ValueError
            If the file is of another kind of model, or asks for an activation other than gelu.
        """
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        for name, wanted in (
            ("model_type", "bert"),
            ("hidden_act", "gelu"),
            ("position_embedding_type", "absolute"),
        ):
            if found.get(name, wanted) != wanted:
                raise ValueError(f"{name} is {found[name]!r}, and only {wanted!r} is known here")
        return cls(**{f.name: found[f.name] for f in fields(cls) if f.name in found})


class Embeddings(nn.Module):
    """The sum of three vectors: of a token, of its position, and of its segment."""

    position_ids: Tensor

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        n = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, n, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, n)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, n)
        self.LayerNorm = nn.LayerNorm(n, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        ids = creation.arange(config.max_position_embeddings).unsqueeze(0)
        self.register_buffer("position_ids", ids)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """Tokens (N, T) and, unless all are 0, their segments, to vectors (N, T, hidden_size)."""
        length, most = input_ids.shape[-1], self.position_ids.shape[-1]
        if length > most:
            raise ValueError(f"{length} tokens, but the model has {most} positions")
        x = self.word_embeddings(input_ids)
        if token_type_ids is None:
            x = x + self.token_type_embeddings.weight[0]
        else:
            x = x + self.token_type_embeddings(token_type_ids)
        x = x + self.position_embeddings(self.position_ids[:, :length])
        return self.dropout(self.LayerNorm(x))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Files of later versions do not hold the numbers of the positions.
        state_dict.setdefault(f"{prefix}position_ids", self.position_ids)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class SelfAttention(nn.Module):
    """Every position attends to all that the mask shows."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        n = config.hidden_size
        self.heads, self.rate = config.num_attention_heads, config.attention_probs_dropout_prob
        self.query, self.key, self.value = nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, n)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, T, hidden_size), and so is the result; ``mask`` is bool, (N, 1, 1, T)."""
        batch, length, n = x.shape
        q, k, v = (
            layer(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        rate = self.rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=rate)
        return mixed.transpose(1, 2).reshape(batch, length, n)


class Output(nn.Module):
    """A linear layer whose result is added to the input of its sublayer, and normalized."""

    def __init__(self, config: BertConfig, size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """(N, T, size) and (N, T, hidden_size) to (N, T, hidden_size)."""
        return self.LayerNorm(self.dropout(self.dense(x)) + before)


class Attention(nn.Module):
    """Attention with its output layer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Output(config, config.hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, T, hidden_size), and so is the result."""
        return self.output(self.self(x, mask), x)


class Dense(nn.Module):
    """A linear layer of which only the name matters."""

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(size, out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to (..., out)."""
        return self.dense(x)


class Layer(nn.Module):
    """Attention, then a perceptron for each position."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Dense(config.hidden_size, config.intermediate_size)
        self.output = Output(config, config.intermediate_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, T, hidden_size), and so is the result."""
        x = self.attention(x, mask)
        return self.output(F.gelu(self.intermediate(x)), x)


class Encoder(nn.Module):
    """The layers, one after the other."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, T, hidden_size), and so is the result."""
        for layer in self.layer:
            x = layer(x, mask)
        return x


class BertModel(nn.Module):
    """BERT's encoder: tokens to vectors that know their context.

    Parameters
    ----------
    config : BertConfig
        Sizes and rates; `BertConfig.from_file` reads a published one.
    add_pooling_layer : bool
        Whether the state has the layer ``pooler``.

    Notes
    -----
    The state has the names of transformers' ``BertModel``, with ``embeddings.position_ids``, which the files
    of sentence-transformers' MiniLM hold and others need not.

    Examples
    --------
    >>> import jitgrad
    >>> config = jitgrad.models.BertConfig(
    ...     vocab_size=10, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    ... )
    >>> model = jitgrad.models.BertModel(config).eval()
    >>> vectors, pooled = model(jitgrad.tensor([[1, 2, 3]]))
    >>> vectors.shape, pooled.shape
    (jitgrad.Size([1, 3, 4]), jitgrad.Size([1, 4]))
    """

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Dense(config.hidden_size, config.hidden_size) if add_pooling_layer else None
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=config.initializer_range)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding) and module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Encode sentences.

        Parameters
        ----------
        input_ids : Tensor
            (N, T), int64.
        attention_mask : Tensor, optional
            (N, T): 0 where there is padding, which nothing attends to.
        token_type_ids : Tensor, optional
            (N, T), int64: which of two sentences a token belongs to.

        Returns
        -------
        tuple of Tensor
            (N, T, hidden_size), and (N, hidden_size) from the first token (None without that layer).

        Raises
        ------
        ValueError
            If there are more tokens than positions.
        """
        mask = None
        if attention_mask is not None:
            mask = (attention_mask != 0).reshape(attention_mask.shape[0], 1, 1, -1)
        x = self.encoder(self.embeddings(input_ids, token_type_ids), mask)
        return x, None if self.pooler is None else self.pooler(x[:, 0]).tanh()
