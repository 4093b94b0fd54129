"""Attention with several heads, as a layer."""

from __future__ import annotations

from typing import Any

from jitgrad.creation import empty
from jitgrad.nn import functional as F
from jitgrad.nn import init
from jitgrad.nn.linear import Linear
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter
from jitgrad.tensor import Tensor


class NonDynamicallyQuantizableLinear(Linear):
    """A `Linear` under the name that PyTorch shows inside of attention."""


class MultiheadAttention(Module):
    """`scaled_dot_product_attention` of several projections at once (Vaswani et al. 2017).

    Parameters
    ----------
    embed_dim, num_heads : int
        Size of queries and results; in how many heads it is split.
    dropout : float
        Of the weights, in training.
    bias : bool
        Whether projections have biases.
    add_bias_kv, add_zero_attn : bool
        Whether there is one more key and value, learned or zero.
    kdim, vdim : int, optional
        Size of keys and values, ``embed_dim`` by default.
    batch_first : bool
        (N, L, E) instead of (L, N, E).

    Attributes
    ----------
    in_proj_weight : Parameter or None
        (3 * embed_dim, embed_dim); None if keys or values have another size, with ``q_proj_weight``,
        ``k_proj_weight`` and ``v_proj_weight`` instead.
    in_proj_bias : Parameter or None
        (3 * embed_dim).
    out_proj : Linear
        What follows.

    Raises
    ------
    ValueError
        If a size is not positive.
    AssertionError
        If the heads do not divide ``embed_dim``.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.randn(5, 2, 8)
    >>> output, weights = jitgrad.nn.MultiheadAttention(8, 4)(x, x, x)
    >>> output.shape, weights.shape
    (jitgrad.Size([5, 2, 8]), jitgrad.Size([2, 5, 5]))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, got"
                f" embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first, self.add_zero_attn = batch_first, add_zero_attn
        self.head_dim = embed_dim // num_heads
        together = self._qkv_same_embed_dim = self.kdim == self.vdim == embed_dim
        shapes: dict[str, tuple[int, ...] | None] = {
            "q_proj_weight": None if together else (embed_dim, embed_dim),
            "k_proj_weight": None if together else (embed_dim, self.kdim),
            "v_proj_weight": None if together else (embed_dim, self.vdim),
            "in_proj_weight": (3 * embed_dim, embed_dim) if together else None,
            "in_proj_bias": (3 * embed_dim,) if bias else None,
        }
        for name, shape in shapes.items():
            made = None if shape is None else Parameter(empty(shape, dtype=dtype, device=device))
            self.register_parameter(name, made)
        self.out_proj = NonDynamicallyQuantizableLinear(
            embed_dim, embed_dim, bias=bias, device=device, dtype=dtype
        )
        for name in ("bias_k", "bias_v"):
            made = Parameter(empty(1, 1, embed_dim, dtype=dtype, device=device))
            self.register_parameter(name, made if add_bias_kv else None)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output and the weights.

        Parameters
        ----------
        query, key, value : Tensor
            (L, N, E), (S, N, kdim), (S, N, vdim); N first with ``batch_first``; or without N.
        key_padding_mask : Tensor, optional
            (N, S): bool, True for keys that nobody looks at; or floats that are added.
        need_weights : bool
            Whether the weights are returned; without, it is faster.
        attn_mask : Tensor, optional
            (L, S) or (N * heads, L, S): bool, True where it may not look; or floats that are added.
        average_attn_weights : bool
            Return the mean of the heads' weights, (N, L, S), instead of all, (N, heads, L, S).
        is_causal : bool
            A hint that the mask is causal; it must be given nevertheless.
        """
        swap = self.batch_first and query.ndim == 3
        if swap:
            if query is key and key is value:
                query = key = value = query.transpose(0, 1)
            else:
                query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        output, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (output.transpose(0, 1) if swap else output), weights


__all__ = ["MultiheadAttention"]
