"""The pointwise parts of recurrent cells, a formula each."""

from __future__ import annotations

from jitgrad.ops.pointwise import pointwise

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
