"""Attention (Vaswani et al. 2017)."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from jitgrad import dtypes
from jitgrad.creation import ones, zeros
from jitgrad.nn.functional.dropouts import dropout
from jitgrad.ops.attention import attention
from jitgrad.ops.joining import cat
from jitgrad.ops.products import linear
from jitgrad.ops.reductions import softmax

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(query @ key.T * scale + mask) @ value``.

    Parameters
    ----------
    query, key, value : Tensor
        (..., L, E), (..., S, E) and (..., S, V), of one dtype; the leading dims broadcast.
    attn_mask : Tensor, optional
        Broadcast to (..., L, S): bool, True where it may look; or floats that are added.
    dropout_p : float
        Probability with which a weight is dropped, always: pass 0 in evaluation.
    is_causal : bool
        Position i may look at the first i + 1 only; there must be no mask then.
    scale : float, optional
        ``1 / sqrt(E)`` by default.
    enable_gqa : bool
        Each head (dim -3) of keys and values serves several heads of queries.

    Returns
    -------
    Tensor
        (..., L, V); zeros where a query may look at nothing.

    Raises
    ------
    RuntimeError
        If there are a mask and ``is_causal``, the dtypes differ, or the shapes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> q = jitgrad.zeros(1, 2, 4)
    >>> v = jitgrad.tensor([[[1.0], [3.0]]])
    >>> jitgrad.nn.functional.scaled_dot_product_attention(q, q, v, is_causal=True).flatten()
    tensor([1., 2.])
    """
    for name, x in (("query", query), ("key", key), ("value", value)):
        if x.ndim < 2:
            raise RuntimeError(
                f"scaled_dot_product_attention: expected {name} to have at least 2 dims, got {x.ndim}"
            )
    if not query.dtype is key.dtype is value.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype:"
            f" {query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead."
        )
    if is_causal and attn_mask is not None:
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        )
    if attn_mask is not None and attn_mask.dtype not in (dtypes.bool, dtypes.float32, query.dtype):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got"
            f" attn_mask.dtype: {attn_mask.dtype} and query.dtype: {query.dtype} instead."
        )
    if enable_gqa:
        key, value = (_for_each_head(query, x) for x in (key, value))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if attn_mask is None and dropout_p <= 0 and query.dtype.is_floating_point:
        found = attention(query, key, value, factor, is_causal)
        if found is not None:
            return found
    scores = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = ones(
            query.shape[-2], key.shape[-2], dtype=dtypes.bool, device=query.device
        ).tril()
    if attn_mask is None:
        weights = softmax(scores, -1)
    else:
        if attn_mask.dtype is dtypes.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        else:
            scores = scores + attn_mask
        # A row of -inf would be NaN, and so would its gradients, even where zeros come to them.
        nothing = (scores.detach() == -math.inf).all(-1, keepdim=True)
        weights = softmax(scores.masked_fill(nothing, 0.0), -1).masked_fill(nothing, 0.0)
    if dropout_p > 0:
        weights = dropout(weights, dropout_p)
    return weights @ value


def _for_each_head(query: Tensor, x: Tensor) -> Tensor:
    """Keys or values whose heads are repeated to be as many as the queries'."""
    if query.ndim < 3:
        raise IndexError("Dimension out of range (expected to be in range of [-2, 1], but got -3)")
    heads, own = query.shape[-3], x.shape[-3]
    if heads == own:
        return x
    if own == 0 or heads % own:
        raise RuntimeError(
            "Number of heads in key and value must divide the number of heads in query"
        )
    return x.repeat_interleave(heads // own, -3)


def _added(mask: Tensor | None, name: str, dtype: dtypes.dtype) -> Tensor | None:
    """A mask as floats to be added: -inf where a bool mask is True."""
    if mask is None or mask.dtype.is_floating_point:
        return mask
    if mask.dtype is not dtypes.bool:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)


def _projected(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: list[Tensor],
    bias: Tensor | None,
) -> list[Tensor]:
    """Queries, keys and values; in one product where the inputs are one."""
    e = query.shape[-1]
    if len(weights) == 1:
        if query is key and key is value:
            return list(linear(query, weights[0], bias).split(e, -1))
        weights = list(weights[0].split(e))
    biases = [None] * 3 if bias is None else list(bias.split(e))
    return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What `jitgrad.nn.MultiheadAttention` computes, with every tensor as an argument.

    Queries are (L, N, E) or (L, E), keys and values (S, N, E) or (S, E).  Returns the output, of the
    shape of the queries, and the weights (N, L, S) if they are needed.

    Raises
    ------
    AssertionError
        If shapes do not fit.
    RuntimeError
        If ``is_causal`` comes without a mask.
    """
    batched = query.ndim == 3
    _check_dims(query, key, value, key_padding_mask, attn_mask)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method"
            " `generate_square_subsequent_mask` to create this mask."
        )
    if not batched:
        if query is key and key is value:
            query = key = value = query.unsqueeze(1)
        else:
            query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, n, e = query.shape
    if e != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {e}"
        )
    if key.shape[:2] != value.shape[:2]:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    used = [q_proj_weight, k_proj_weight, v_proj_weight]
    weights = [w for w in (used if use_separate_proj_weight else [in_proj_weight]) if w is not None]
    q, k, v = _projected(query, key, value, weights, in_proj_bias)
    if (
        key_padding_mask is not None
        and attn_mask is not None
        and key_padding_mask.dtype is not attn_mask.dtype
    ):
        warnings.warn(
            "Support for mismatched key_padding_mask and attn_mask is deprecated. Use same type for both"
            " instead.",
            stacklevel=3,
        )
    padding = _added(key_padding_mask, "key_padding_mask", q.dtype)
    mask = _added(attn_mask, "attn_mask", q.dtype)
    more = 0
    if bias_k is not None and bias_v is not None:
        k = cat([k, bias_k.expand(1, n, e)])
        v = cat([v, bias_v.expand(1, n, e)])
        more += 1
    head = e // num_heads
    # (N, heads, length, head)
    q = q.reshape(length, n, num_heads, head).permute(1, 2, 0, 3)
    k = k.reshape(k.shape[0], n, num_heads, head).permute(1, 2, 0, 3)
    v = v.reshape(v.shape[0], n, num_heads, head).permute(1, 2, 0, 3)
    if static_k is not None:
        k = static_k.reshape(n, num_heads, -1, head)
    if static_v is not None:
        v = static_v.reshape(n, num_heads, -1, head)
    if add_zero_attn:
        nothing = zeros(n, num_heads, 1, head, dtype=q.dtype, device=q.device)
        k, v = cat([k, nothing], 2), cat([v, nothing], 2)
        more += 1
    source = k.shape[2]
    merged = _merged(mask, padding, (n, num_heads, length, source), more)
    if need_weights:
        scores = (q * (1.0 / math.sqrt(head))) @ k.transpose(-2, -1)
        attention = softmax(scores if merged is None else scores + merged, -1)
        if dropout_p > 0.0 and training:
            attention = dropout(attention, dropout_p)
        mixed = attention @ v
    else:
        mixed = scaled_dot_product_attention(q, k, v, merged, dropout_p if training else 0.0)
    output = linear(
        mixed.permute(2, 0, 1, 3).reshape(length * n, e), out_proj_weight, out_proj_bias
    )
    output = output.reshape(length, n, output.shape[-1])
    if not batched:
        output = output.squeeze(1)
    if not need_weights:
        return output, None
    if average_attn_weights:
        attention = attention.mean(1)
    return output, attention if batched else attention.squeeze(0)


def _check_dims(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None
) -> None:
    n = query.ndim
    if n not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {n}-D query tensor"
        )
    kind = f"For {'batched (3-D)' if n == 3 else 'unbatched (2-D)'} `query`,"
    if key.ndim != n or value.ndim != n:
        raise AssertionError(
            f"{kind} expected `key` and `value` to be {n}-D but found {key.ndim}-D and"
            f" {value.ndim}-D tensors respectively"
        )
    if padding is not None and padding.ndim != n - 1:
        raise AssertionError(
            f"{kind} expected `key_padding_mask` to be `None` or {n - 1}-D but found"
            f" {padding.ndim}-D tensor instead"
        )
    if mask is not None and mask.ndim not in (2, 3):
        raise AssertionError(
            f"{kind} expected `attn_mask` to be `None`, 2-D or 3-D but found {mask.ndim}-D tensor"
            " instead"
        )


def _merged(
    mask: Tensor | None, padding: Tensor | None, shape: tuple[int, int, int, int], more: int
) -> Tensor | None:
    """Both masks as one that broadcasts to (N, heads, length, source); ``more`` keys are always seen."""
    n, heads, length, source = shape
    own = source - more
    if mask is not None:
        wanted = (length, own) if mask.ndim == 2 else (n * heads, length, own)
        if tuple(mask.shape) != wanted:
            dims = f"{mask.ndim}D"
            raise RuntimeError(
                f"The shape of the {dims} attn_mask is {mask.shape}, but should be {wanted}."
            )
        if more:
            mask = cat(
                [mask, zeros(*mask.shape[:-1], more, dtype=mask.dtype, device=mask.device)], -1
            )
        if mask.ndim == 3:
            mask = mask.reshape(shape)
    if padding is None:
        return mask
    if tuple(padding.shape) != (n, own):
        dim = 0 if padding.shape[0] != n else 1
        raise AssertionError(
            f"Expected key_padded_mask.shape[{dim}] to be {(n, own)[dim]}, but got {padding.shape[dim]}"
        )
    if more:
        padding = cat([padding, zeros(n, more, dtype=padding.dtype, device=padding.device)], 1)
    padding = padding.reshape(n, 1, 1, source)
    return padding if mask is None else mask + padding
