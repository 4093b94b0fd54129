"""A recurrent layer in one direction: as one op where there is one, else composed of ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jitgrad.dtypes import float32, float64
from jitgrad.nn.functional import linear
from jitgrad.ops import recurrence
from jitgrad.ops.cells import State, lstm_step, walk
from jitgrad.tensor import Tensor

_LAYERS = {
    "LSTM": recurrence.LSTM,
    "GRU": recurrence.GRU,
    "RNN_TANH": recurrence.RNN_TANH,
    "RNN_RELU": recurrence.RNN_RELU,
}


def run(
    mode: str,
    weights: Mapping[str, Tensor],
    data: Tensor,
    batch_sizes: Sequence[int],
    first: State,
    reverse: bool,
) -> tuple[Tensor, State]:
    """A layer in one direction over a packed sequence.

    Parameters
    ----------
    mode : {"LSTM", "GRU", "RNN_TANH", "RNN_RELU"}
        The kind of cell.
    weights : mapping
        ``weight_ih``, ``weight_hh``, perhaps ``bias_ih`` and ``bias_hh``, and ``weight_hr``.
    data : Tensor
        (sum of batch_sizes, inputs).
    batch_sizes : sequence of int
        How many sequences have each time step; none increases.
    first : tuple of Tensor
        (batch, ...): the state before.
    reverse : bool
        From the last time step to the first.

    Returns
    -------
    Tensor
        (sum of batch_sizes, hidden): the hidden states, in the order of time.
    tuple of Tensor
        (batch, ...): the state of each sequence after its last step.
    """
    layer, w_hh = _LAYERS[mode], weights["weight_hh"]
    own, bias = weights.get("bias_hh"), weights.get("bias_ih")
    # A GRU's other bias is inside what the reset gate scales.
    if mode != "GRU":
        bias = None if bias is None or own is None else bias + own
        own = None
    given = linear(data, weights["weight_ih"], bias)
    # The one place where the way is chosen: the op has no projections, two dtypes, and runs on the CPU.
    if "weight_hr" in weights:
        return walk(lstm_step(w_hh, weights["weight_hr"]), given, batch_sizes, first, reverse)
    if data.dtype not in (float32, float64) or data.is_cuda:
        return walk(layer.step(w_hh, own), given, batch_sizes, first, reverse)
    return recurrence.run(layer, given, w_hh, own, first, batch_sizes, reverse)
