"""Attention without a mask or with the causal one; the kernels are in `jitgrad.kernels.attention`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.dtypes import FIRST_HALF, float32
from jitgrad.ops import record
from jitgrad.ops.recipe import Gradients, Step, recipe
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels.attention:attention"
ATTENTION = register(
    Op(
        "attention",
        "ScaledDotProductFlashAttentionForCpu",
        KERNEL,
        4,
        _KERNELS,
        (f"{_KERNELS}_dq", None, f"{_KERNELS}_dkv", f"{_KERNELS}_dkv"),
        (15, 0, 15, 15),
    )
)


def attention(
    query: Tensor, key: Tensor, value: Tensor, factor: float, causal: bool
) -> Tensor | None:
    """Attention of (..., L, E), (..., S, E) and (..., S, V); None if the shapes do not fit without more ado.

    ``factor`` multiplies the scores; ``causal``: query i sees the keys up to i only.
    """
    from jitgrad.creation import empty

    q, k, v = entry.shape(query), entry.shape(key), entry.shape(value)
    *lead, n, e = q
    if query.is_cuda:
        return None
    if k[:-2] != q[:-2] or v[:-2] != q[:-2] or k[-1] != e or v[-2] != k[-2] or 0 in (*q, *k, *v):
        return None
    dtype = float32 if query.dtype.code >= FIRST_HALF else query.dtype
    inputs = (query, empty((*lead, n), dtype=dtype), key, value)
    attributes = (col.NONE, 0, float(factor), int(causal))
    return record.explicit(ATTENTION, inputs, (*lead, n, v[-1]), attributes)


@recipe(ATTENTION)
def _attention_recipe(step: Step, g: Tensor) -> Gradients:
    from jitgrad.creation import ones
    from jitgrad.dtypes import bool as bool_

    q, k, v = step.saved(0), step.saved(2), step.saved(3)
    factor = step.real(2)
    scores = (q * factor) @ k.transpose(-2, -1)
    if step.integer(3):
        hidden = ones(*scores.shape[-2:], dtype=bool_, device=q.device).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    p = scores.softmax(-1)
    d = g @ v.transpose(-2, -1)
    slopes = p * (d - (p * d).sum(-1, keepdim=True)) * factor
    return (
        slopes @ k if step.wants(0) else None,
        None,
        slopes.transpose(-2, -1) @ q if step.wants(2) else None,
        p.transpose(-2, -1) @ g if step.wants(3) else None,
    )
