"""Recurrent cells: their pointwise parts, a formula each, and steps and layers composed of ops.

`jitgrad.ops.recurrence` has whole layers as one op, whose gradients of higher order are those of the layers
here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jitgrad.ops import record
from jitgrad.ops.joining import cat
from jitgrad.ops.pointwise import pointwise
from jitgrad.ops.products import addmm, linear

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

# x z u are the input gate, the forget gate and the candidate before their nonlinearities, v the cell.
LSTM_CELL = pointwise(
    "lstm_cell",
    "LstmCell",
    "sigmoid(x) * tanh(u) + sigmoid(z) * v",
    "s = sigmoid(x); g * tanh(u) * s * (1 - s)",
    "s = sigmoid(z); g * v * s * (1 - s)",
    "t = tanh(u); g * sigmoid(x) * (1 - t * t)",
    "g * sigmoid(z)",
    only="no_int",
)
# The output gate and the new cell.
LSTM_HIDDEN = pointwise(
    "lstm_hidden",
    "LstmHidden",
    "sigmoid(x) * tanh(z)",
    "s = sigmoid(x); g * tanh(z) * s * (1 - s)",
    "t = tanh(z); g * sigmoid(x) * (1 - t * t)",
    only="no_int",
)
# The candidate's part from the input, the reset gate, and its part from the hidden state.
GRU_CANDIDATE = pointwise(
    "gru_candidate",
    "GruCandidate",
    "tanh(x + sigmoid(z) * u)",
    "g * (1 - y * y)",
    "s = sigmoid(z); g * (1 - y * y) * u * s * (1 - s)",
    "g * (1 - y * y) * sigmoid(z)",
    only="no_int",
)
# The update gate, the candidate, and the hidden state.
GRU_HIDDEN = pointwise(
    "gru_hidden",
    "GruHidden",
    "z + sigmoid(x) * (u - z)",
    "s = sigmoid(x); g * (u - z) * s * (1 - s)",
    "g * (1 - sigmoid(x))",
    "g * sigmoid(x)",
    only="no_int",
)


# ---------------------------------------------------------------- composed of ops
#: A state: the hidden state, for an LSTM the cell as well.
State = tuple["Tensor", ...]
#: From what a step gets from the input, and the state, to the new state.
CellStep = Callable[["Tensor", State], State]


def lstm_step(w_hh: Tensor, w_hr: Tensor | None = None) -> CellStep:
    """A step of an LSTM: gates in the order input, forget, candidate, output."""
    n = w_hh.shape[0] // 4
    transposed = w_hh.t()

    def step(given: Tensor, state: State) -> State:
        gates = addmm(given, state[0], transposed)
        i, f, u, o = (gates.narrow(1, k * n, n) for k in range(4))
        cell = record.pointwise(LSTM_CELL, i, f, u, state[1])
        hidden = record.pointwise(LSTM_HIDDEN, o, cell)
        return (hidden if w_hr is None else linear(hidden, w_hr)), cell

    return step


def gru_step(w_hh: Tensor, b_hh: Tensor | None) -> CellStep:
    """A step of a GRU: gates in the order reset, update, candidate."""
    n = w_hh.shape[0] // 3

    def step(given: Tensor, state: State) -> State:
        (h,) = state
        own = linear(h, w_hh, b_hh)
        gates = given.narrow(1, 0, 2 * n) + own.narrow(1, 0, 2 * n)
        reset, update = gates.narrow(1, 0, n), gates.narrow(1, n, n)
        parts = given.narrow(1, 2 * n, n), reset, own.narrow(1, 2 * n, n)
        new = record.pointwise(GRU_CANDIDATE, *parts)
        return (record.pointwise(GRU_HIDDEN, update, new, h),)

    return step


def rnn_step(w_hh: Tensor, nonlinearity: str) -> CellStep:
    """A step of a plain recurrent net with tanh or relu."""
    transposed = w_hh.t()

    def step(given: Tensor, state: State) -> State:
        x = addmm(given, state[0], transposed)
        return (x.tanh() if nonlinearity == "tanh" else x.relu(),)

    return step


def walk(
    step: CellStep, given: Tensor, batch_sizes: Sequence[int], first: State, reverse: bool
) -> tuple[Tensor, State]:
    """A layer in one direction over a packed sequence.

    Parameters
    ----------
    step : callable
        The cell.
    given : Tensor
        (sum of batch_sizes, ...): what the steps get from the input.
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
    parts = given.split(list(batch_sizes))
    found: list[Tensor] = []
    if reverse:
        state = tuple(s.narrow(0, 0, batch_sizes[-1]) for s in first)
        for part in reversed(parts):
            n, more = state[0].shape[0], part.shape[0]
            if more > n:
                # Sequences that end here begin here.
                begun = (s.narrow(0, n, more - n) for s in first)
                state = tuple(cat([s, b]) for s, b in zip(state, begun, strict=True))
            state = step(part, state)
            found.append(state[0])
        return cat(found[::-1]), state
    state = first
    ended: list[State] = []
    for part in parts:
        n, left = state[0].shape[0], part.shape[0]
        if left < n:
            ended.append(tuple(s.narrow(0, left, n - left) for s in state))
            state = tuple(s.narrow(0, 0, left) for s in state)
        state = step(part, state)
        found.append(state[0])
    if ended:
        whole: list[State] = [state, *ended[::-1]]
        state = tuple(cat([s[k] for s in whole]) for k in range(len(state)))
    return cat(found), state
