"""Recurrent layers: several layers, two directions, padded or packed sequences; and single cells."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any, ClassVar

from jitgrad.creation import empty, zeros
from jitgrad.nn import functional as F
from jitgrad.nn import init
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter
from jitgrad.nn.recurrence import run
from jitgrad.nn.utils.rnn import PackedSequence
from jitgrad.ops.cells import State
from jitgrad.ops.joining import cat, stack
from jitgrad.tensor import Tensor

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: parameters, checks, and the way through layers and directions.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter
        (gates * hidden_size, input) and (gates * hidden_size, hidden), for each layer; with the suffix
        ``_reverse`` for the second direction.
    bias_ih_l0, bias_hh_l0 : Parameter
        (gates * hidden_size).
    weight_hr_l0 : Parameter
        (proj_size, hidden_size), for an LSTM with projections.
    """

    #: Number of tensors in a state.
    _states: ClassVar[int] = 1

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_arguments(mode, input_size, hidden_size, num_layers, dropout, proj_size)
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional, self.proj_size = float(dropout), bidirectional, proj_size
        rows, out = _GATES[mode] * hidden_size, proj_size or hidden_size
        directions = 2 if bidirectional else 1
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            width = input_size if layer == 0 else out * directions
            for suffix in ("", "_reverse")[:directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, width),
                    "weight_hh": (rows, out),
                }
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = []
                for name, shape in shapes.items():
                    names.append(f"{name}_l{layer}{suffix}")
                    setattr(self, names[-1], Parameter(empty(shape, dtype=dtype, device=device)))
                self._all_weights.append(names)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew: uniform within ``1 / sqrt(hidden_size)`` of 0."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Nothing to do: it matters to GPU libraries only."""

    def extra_repr(self) -> str:
        """The arguments that are not the defaults."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in (
            ("proj_size", 0),
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0.0),
            ("bidirectional", False),
        ):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)

    # ------------------------------------------------------------ the way through
    def _through(self, data: Tensor, batch_sizes: list[int], first: State) -> tuple[Tensor, State]:
        """All layers over a packed sequence; states are (layers * directions, batch, ...)."""
        directions = 2 if self.bidirectional else 1
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                k = layer * directions + direction
                names = self._all_weights[k]
                weights = {name.partition("_l")[0]: getattr(self, name) for name in names}
                state = tuple(s[k] for s in first)
                found, state = run(self.mode, weights, data, batch_sizes, state, direction == 1)
                outputs.append(found)
                last.append(state)
            data = outputs[0] if directions == 1 else cat(outputs, 1)
            if self.dropout and layer < self.num_layers - 1:
                data = F.dropout(data, self.dropout, self.training)
        return data, tuple(stack([s[i] for s in last]) for i in range(self._states))

    def _run(self, input: Any, hx: Any) -> tuple[Any, State]:
        """Input of any layout and a state to the output of that layout and the state after."""
        packed = isinstance(input, PackedSequence)
        data = input.data if packed else input
        if not packed and data.ndim not in (2, 3):
            raise ValueError(
                f"{self._get_name()}: Expected input to be 2D or 3D, got {data.ndim}D instead"
            )
        dtype = self.all_weights[0][0].dtype
        if data.dtype is not dtype:
            raise ValueError(
                f"RNN input dtype ({data.dtype}) does not match weight dtype ({dtype}). Convert input:"
                f" input.to({dtype}), or convert model: model.to({data.dtype})"
            )
        if data.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected"
                f" {self.input_size}, got {data.shape[-1]}"
            )
        if packed:
            batch_sizes = input.batch_sizes.tolist()
            first = self._first(hx, batch_sizes[0], data, input.sorted_indices)
            data, last = self._through(data, batch_sizes, first)
            if input.unsorted_indices is not None:
                last = tuple(s.index_select(1, input.unsorted_indices) for s in last)
            return input._with(data), last
        batched = data.ndim == 3
        self._check_dims(hx, batched)
        if not batched:
            data = data.unsqueeze(1)
            hx = None if hx is None else tuple(s.unsqueeze(1) for s in hx)
        elif self.batch_first:
            data = data.transpose(0, 1)
        time, n = data.shape[:2]
        if time == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        first = self._first(hx, n, data, None)
        found, last = self._through(data.reshape(time * n, self.input_size), [n] * time, first)
        found = found.reshape(time, n, found.shape[-1])
        if not batched:
            return found.squeeze(1), tuple(s.squeeze(1) for s in last)
        return (found.transpose(0, 1) if self.batch_first else found), last

    def _check_dims(self, hx: State | None, batched: bool) -> None:
        wanted = 3 if batched else 2
        if hx is None or all(s.ndim == wanted for s in hx):
            return
        dims = [f"{s.ndim}-D" for s in hx]
        kind = f"For {'batched' if batched else 'unbatched'} {wanted}-D input,"
        if len(dims) == 2:
            raise RuntimeError(
                f"{kind} hx and cx should also be {wanted}-D but got ({dims[0]}, {dims[1]}) tensors"
            )
        raise RuntimeError(f"{kind} hx should also be {wanted}-D but got {dims[0]} tensor")

    def _first(self, hx: State | None, n: int, data: Tensor, order: Tensor | None) -> State:
        """The state to begin with: zeros unless it is given."""
        layers = self.num_layers * (2 if self.bidirectional else 1)
        widths = (self.proj_size or self.hidden_size, self.hidden_size)[: self._states]
        if hx is None:
            return tuple(
                zeros(layers, n, width, dtype=data.dtype, device=data.device) for width in widths
            )
        for i, (s, width) in enumerate(zip(hx, widths, strict=True)):
            wanted = (layers, n, width)
            if tuple(s.shape) != wanted:
                name = f"hidden[{i}]" if self._states == 2 else "hidden"
                raise RuntimeError(f"Expected {name} size {wanted}, got {list(s.shape)}")
        return hx if order is None else tuple(s.index_select(1, order) for s in hx)


def _check_arguments(
    mode: str, input_size: Any, hidden_size: Any, num_layers: int, dropout: Any, proj_size: int
) -> None:
    number = isinstance(dropout, numbers.Number) and not isinstance(dropout, bool)
    if not number or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element"
            " being zeroed"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout"
            f" expects num_layers greater than 1, but got dropout={dropout} and"
            f" num_layers={num_layers}",
            stacklevel=4,
        )
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
    if hidden_size <= 0:
        raise ValueError("hidden_size must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


class RNN(RNNBase):
    """Layers of ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``, or with relu.

    Parameters
    ----------
    input_size, hidden_size : int
        Size of the last dim of the input and of the hidden state.
    num_layers : int
        Each layer gets the outputs of the one before.
    nonlinearity : {"tanh", "relu"}
        What is applied.
    bias, batch_first, dropout, bidirectional
        Whether there are biases; (B, T, ...) instead of (T, B, ...); dropout between layers; a second
        direction, whose outputs stand beside the first's.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        self.__dict__["nonlinearity"] = nonlinearity
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """The outputs and the last hidden state.

        Parameters
        ----------
        input : Tensor or PackedSequence
            (T, B, input_size), (B, T, input_size) with ``batch_first``, or (T, input_size).
        hx : Tensor, optional
            (num_layers * directions, B, hidden_size).

        Raises
        ------
        RuntimeError, ValueError
            If sizes or dtypes do not fit.
        """
        output, last = self._run(input, None if hx is None else (hx,))
        return output, last[0]


class GRU(RNNBase):
    """Layers of gated recurrent units (Cho et al. 2014); arguments as for `RNN`.

    The reset gate is applied after the product with the hidden state, as in PyTorch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """The outputs and the last hidden state, as of `RNN`."""
        output, last = self._run(input, None if hx is None else (hx,))
        return output, last[0]


class LSTM(RNNBase):
    """Layers of long short-term memory (Hochreiter & Schmidhuber 1997).

    Arguments as for `RNN`, and ``proj_size``: if positive, hidden states are projected to that size
    (Sak et al. 2014).

    Examples
    --------
    >>> import jitgrad
    >>> lstm = jitgrad.nn.LSTM(3, 5, num_layers=2)
    >>> output, (h, c) = lstm(jitgrad.ones(7, 2, 3))
    >>> output.shape, h.shape
    (jitgrad.Size([7, 2, 5]), jitgrad.Size([2, 2, 5]))
    """

    _states = 2

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def forward(
        self, input: Any, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """The outputs and the last hidden state and cell.

        Parameters
        ----------
        input : Tensor or PackedSequence
            (T, B, input_size), (B, T, input_size) with ``batch_first``, or (T, input_size).
        hx : (Tensor, Tensor), optional
            (num_layers * directions, B, proj_size or hidden_size), and the same with hidden_size.

        Raises
        ------
        RuntimeError, ValueError
            If sizes or dtypes do not fit.
        """
        output, last = self._run(input, None if hx is None else tuple(hx))
        return output, (last[0], last[1])


# ---------------------------------------------------------------- cells
class RNNCellBase(Module):
    """What single cells share: parameters and checks."""

    _chunks: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = self._chunks * hidden_size
        for name, shape in {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, hidden_size),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }.items():
            used = bias or name.startswith("weight")
            made = Parameter(empty(shape, dtype=dtype, device=device)) if used else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew: uniform within ``1 / sqrt(hidden_size)`` of 0."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        """The arguments that are not the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        if not self.bias:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text

    def _run(self, mode: str, input: Tensor, states: State | None) -> State:
        n = self.hidden_size
        if states is None:
            states = (zeros(*input.shape[:-1], n, dtype=input.dtype, device=input.device),) * (
                2 if self._chunks == 4 else 1
            )
        rows = input.reshape(-1, self.input_size)
        for i, s in enumerate(states):
            size = s.shape[0] if s.ndim == 2 else 1
            if size != rows.shape[0]:
                raise RuntimeError(
                    f"Input batch size {rows.shape[0]} doesn't match hidden{i} batch size {size}"
                )
            if s.shape[-1] != n:
                raise RuntimeError(
                    f"hidden{i} has inconsistent hidden_size: got {s.shape[-1]}, expected {n}"
                )
        weights = {name: w for name, w in self._parameters.items() if w is not None}
        first = tuple(s.reshape(-1, n) for s in states)
        _, found = run(mode, weights, rows, [rows.shape[0]], first, False)
        return found if input.ndim == 2 else tuple(s.squeeze(0) for s in found)

    def _check(self, input: Tensor, states: State | None) -> None:
        if input.ndim not in (1, 2):
            raise ValueError(
                f"{self._get_name()}: Expected input to be 1D or 2D, got {input.ndim}D instead"
            )
        for i, s in enumerate(states or ()):
            if s.ndim not in (1, 2):
                name = f"hx[{i}]" if self._chunks == 4 else "hidden"
                raise ValueError(
                    f"{self._get_name()}: Expected {name} to be 1D or 2D, got {s.ndim}D instead"
                )
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.shape[-1]} expected"
                f" {self.input_size}"
            )


class RNNCell(RNNCellBase):
    """One step of `RNN`."""

    _chunks = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """(B, input_size) and (B, hidden_size) to (B, hidden_size); or without B."""
        states = None if hx is None else (hx,)
        self._check(input, states)
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._run(f"RNN_{self.nonlinearity.upper()}", input, states)[0]


class LSTMCell(RNNCellBase):
    """One step of `LSTM`."""

    _chunks = 4

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, input_size) and a state of two (B, hidden_size) to the new state; or without B."""
        states = None if hx is None else tuple(hx)
        self._check(input, states)
        h, c = self._run("LSTM", input, states)
        return h, c


class GRUCell(RNNCellBase):
    """One step of `GRU`."""

    _chunks = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """(B, input_size) and (B, hidden_size) to (B, hidden_size); or without B."""
        states = None if hx is None else (hx,)
        self._check(input, states)
        return self._run("GRU", input, states)[0]


__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]
