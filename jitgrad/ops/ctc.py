"""Connectionist temporal classification as an op; the kernels are in `jitgrad.kernels.ctc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.arena.engine import entry
from jitgrad.creation import empty
from jitgrad.ops import record
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels.ctc:ctc_loss"
CTC = register(
    Op(
        "ctc_loss",
        "CtcLoss",
        KERNEL,
        4,
        _KERNELS,
        (_KERNELS + "_dx", None, None, None),
        (15, 0, 0, 0),
    )
)


def losses(
    log_probs: Tensor, labels: Tensor, lengths: Tensor, blank: int, zero_infinity: bool
) -> Tensor:
    """The loss of each sample (N), of arguments that were checked.

    Parameters
    ----------
    log_probs : Tensor
        (T, N, C), float32 or float64.
    labels : Tensor
        (N, L), int64, classes.
    lengths : Tensor
        (2, N), int64, contiguous: the times that are used, at most T, and the labels, at most L.
    """
    time, n, _ = entry.shape(log_probs)
    reserve = empty(n * (time * (2 * labels.shape[1] + 3) + 1), dtype=log_probs.dtype)
    inputs = (log_probs, labels, lengths, reserve)
    return record.explicit(CTC, inputs, (n,), (blank, int(zero_infinity)))
