"""Recurrent layers, each direction one op over all steps; the kernels are in `jitgrad.kernels.recurrence`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.creation import empty
from jitgrad.ops import record
from jitgrad.ops.cells import CellStep, State, gru_step, lstm_step, rnn_step, walk
from jitgrad.ops.joining import cat
from jitgrad.ops.recipe import Gradients, Step, recipe
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


@dataclass(frozen=True)
class Layer:
    """A kind of recurrent layer.

    Attributes
    ----------
    op : Op
        On what the steps get from the input, the hidden state's weight, the start and the reserve.
    step : callable
        Makes a composed step of the weight and a bias.
    states, kept : int
        Tensors of a state; of each unit and row the values that forward keeps for backward.
    """

    op: Op
    step: Callable[[Tensor, Tensor | None], CellStep]
    states: int
    kept: int


def _layer(
    name: str,
    node: str,
    step: Callable[[Tensor, Tensor | None], CellStep],
    states: int,
    kept: int,
) -> Layer:
    module = "jitgrad.kernels.recurrence:"
    vjps = (*(f"{module}{name}_back",) * 3, None)
    # The kernels read the weight and the reserve, the recipe the rest.
    op = register(Op(name, node, KERNEL, 4, module + name, vjps, (15, 15, 15, 0)))
    return Layer(op, step, states, kept)


LSTM = _layer("lstm", "Lstm", lambda w, bias: lstm_step(w), 2, 6)
GRU = _layer("gru", "Gru", gru_step, 1, 5)
RNN_TANH = _layer("rnn_tanh", "RnnTanh", lambda w, bias: rnn_step(w, "tanh"), 1, 2)
RNN_RELU = _layer("rnn_relu", "RnnRelu", lambda w, bias: rnn_step(w, "relu"), 1, 2)
_LAYERS = {layer.op.number: layer for layer in (LSTM, GRU, RNN_TANH, RNN_RELU)}

# Attributes: the kernels' own word, whether the last step is the first, steps, batch, and the bytes at the
# head of the reserve: two int64 a step, how many sequences have it and its first row.
_REVERSE, _STEPS, _BATCH, _HEAD = 1, 2, 3, 4


def _counts(reserve: Tensor, steps: int) -> np.ndarray[Any, Any]:
    """The head of a reserve: (2, steps)."""
    words = 2 * steps * 8 // reserve.dtype.itemsize
    return reserve.detach().numpy()[:words].view(np.int64).reshape(2, steps)


def run(
    layer: Layer,
    given: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    first: State,
    batch_sizes: Sequence[int],
    reverse: bool,
) -> tuple[Tensor, State]:
    """A layer in one direction over a packed sequence; see `cells.walk`.

    Parameters
    ----------
    given : Tensor
        (rows, gates * units), float32 or float64.
    weight : Tensor
        (gates * units, units).
    bias : Tensor, optional
        (gates * units): added to the products with the hidden state; a GRU's only.
    first : tuple of Tensor
        (batch, units).
    batch_sizes : sequence of int
        How many sequences have each step; none increases.
    """
    batch, units = entry.shape(first[0])
    rows, steps = entry.shape(given)[0], len(batch_sizes)
    dtype = given.dtype
    start = [s.reshape(-1) for s in first] + ([] if bias is None else [bias])
    head = -(-16 * steps // 64) * 64
    reserve = empty(head // dtype.itemsize + rows * units * layer.kept, dtype=dtype)
    counts = _counts(reserve, steps)
    counts[0] = batch_sizes
    np.cumsum(counts[0, :-1], out=counts[1, 1:])
    counts[1, 0] = 0
    inputs = [given, weight, cat(start) if len(start) > 1 else start[0], reserve]
    shape = (rows + layer.states * batch, units)
    attributes = (col.NONE, int(reverse), steps, batch, head)
    y = record.explicit(layer.op, inputs, shape, attributes)
    last = tuple(y.narrow(0, rows + k * batch, batch) for k in range(layer.states))
    return y.narrow(0, 0, rows), last


# ---------------------------------------------------------------- recipe (`jitgrad.ops.recipe`)
def _composed(step: Step, given: Tensor, weight: Tensor, start: Tensor) -> Tensor:
    """The op's result by `cells.walk`."""
    layer = _LAYERS[step.op.number]
    units = weight.shape[1]
    batch, steps = step.integer(_BATCH), step.integer(_STEPS)
    n = batch * units
    first = tuple(start.narrow(0, k * n, n).reshape(batch, units) for k in range(layer.states))
    used = layer.states * n
    rest = start.shape[0] - used
    bias = start.narrow(0, used, rest) if rest else None
    counts = _counts(step.saved(3), steps)[0].tolist()
    reverse = step.integer(_REVERSE) != 0
    found, last = walk(layer.step(weight, bias), given, counts, first, reverse)
    return cat([found, *last])


@recipe(*(layer.op for layer in _LAYERS.values()))
def _recurrence_recipe(step: Step, g: Tensor) -> Gradients:
    from jitgrad.autograd import enable_grad, grad, is_grad_enabled

    recorded = is_grad_enabled()
    saved = [step.saved(i) for i in range(3)]
    with enable_grad():
        if not recorded:
            saved = [x.detach().requires_grad_() for x in saved]
        wanted = [x for i, x in enumerate(saved) if step.wants(i)]
        gradients = iter(grad(_composed(step, *saved), wanted, g, create_graph=recorded))
    return [*(next(gradients) if step.wants(i) else None for i in range(3)), None]
