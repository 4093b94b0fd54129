"""Sequences of different lengths in one batch: padded, or packed one time step after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad import dtypes
from jitgrad.creation import as_tensor, from_numpy, full
from jitgrad.ops.joining import cat
from jitgrad.ops.operands import beside
from jitgrad.tensor import Tensor


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences sorted by length, time step by time step, without padding.

    Attributes
    ----------
    data : Tensor
        (sum of lengths, ...).
    batch_sizes : Tensor
        (longest), int64: how many sequences have each time step.
    sorted_indices, unsorted_indices : Tensor or None
        The permutation into the order of lengths, and back.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        """Its parts; the inverse permutation is computed if it is not given."""
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        sizes: Any = batch_sizes
        return super().__new__(cls, data, sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With ``data`` converted."""
        return self._with(self.data.to(*args, **kwargs))

    def _with(self, data: Tensor) -> PackedSequence:
        orders = (self.sorted_indices, self.unsorted_indices)
        moved = (None if order is None else order.to(data.device) for order in orders)
        return PackedSequence(data, self.batch_sizes, *moved)

    def double(self) -> PackedSequence:
        """In float64."""
        return self.to(dtypes.float64)

    def float(self) -> PackedSequence:
        """In float32."""
        return self.to(dtypes.float32)

    def half(self) -> PackedSequence:
        """In float16."""
        return self.to(dtypes.float16)

    def long(self) -> PackedSequence:
        """In int64."""
        return self.to(dtypes.int64)

    def int(self) -> PackedSequence:
        """In int32."""
        return self.to(dtypes.int32)

    def short(self) -> PackedSequence:
        """In int16."""
        return self.to(dtypes.int16)

    def char(self) -> PackedSequence:
        """In int8."""
        return self.to(dtypes.int8)

    def byte(self) -> PackedSequence:
        """In uint8."""
        return self.to(dtypes.uint8)

    def cpu(self) -> PackedSequence:
        """On the CPU, where it is."""
        return self.to("cpu")

    def pin_memory(self) -> PackedSequence:
        """Itself: there is no memory to be pinned."""
        return self

    def is_pinned(self) -> bool:
        """False."""
        return False

    @property
    def is_cuda(self) -> bool:
        """Whether the elements are on the GPU."""
        return self.data.is_cuda


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that takes another one back."""
    if permutation is None:
        return None
    return beside(permutation, np.argsort(permutation._values(), kind="stable"))


def _places(lengths: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For sorted lengths: how many sequences have each step, and each element's place in (T, B)."""
    steps = np.arange(lengths.max(initial=0))
    there = steps[:, None] < lengths
    return there.sum(1), np.flatnonzero(there)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences as a packed one.

    Parameters
    ----------
    input : Tensor
        (T, B, ...), or (B, T, ...) with ``batch_first``.
    lengths : Tensor or sequence of int
        (B).
    enforce_sorted : bool
        Whether the lengths must decrease; otherwise the sequences are sorted.

    Raises
    ------
    RuntimeError
        If a length is not positive or too large, or they are not sorted.
    """
    sizes = np.asarray(as_tensor(lengths, dtype=dtypes.int64)._values())
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
        input = input.index_select(0 if batch_first else 1, beside(input, order))
    x = input.transpose(0, 1) if batch_first else input
    if sizes.ndim != 1 or len(sizes) != x.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {sizes.size} (batch_size="
            f"{x.shape[1]})"
        )
    if sizes.size == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if (sizes <= 0).any():
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that"
            " is <= 0"
        )
    if (np.diff(sizes) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You"
            " can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to"
            " sidestep this requirement if you do not need ONNX exportability."
        )
    if sizes[0] > x.shape[0]:
        raise RuntimeError(
            f"Expected lengths of at most {x.shape[0]}, the padded length, but got {sizes[0]}"
        )
    counts, places = _places(sizes)
    flat = x[: int(sizes[0])].reshape(-1, *x.shape[2:])
    return PackedSequence(
        flat.index_select(0, beside(flat, places)),
        from_numpy(counts),
        None if order is None else beside(flat, order),
    )


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """A packed sequence as padded ones: (T, B, ...) and their lengths (B).

    Raises
    ------
    ValueError
        If ``total_length`` is less than the longest.
    """
    counts = sequence.batch_sizes._values()
    longest, batch = len(counts), int(counts[0])
    if total_length is not None:
        if total_length < longest:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input,"
                f" but got total_length={total_length} and max sequence length being {longest}"
            )
        longest = total_length
    lengths = (counts[:, None] > np.arange(batch)).sum(0)
    _, places = _places(lengths)
    data = sequence.data
    rest = tuple(data.shape[1:])
    padding = full((longest * batch, *rest), padding_value, dtype=data.dtype, device=data.device)
    padded = padding.index_copy(0, beside(data, places), data).reshape(longest, batch, *rest)
    found = from_numpy(lengths)
    if batch_first:
        padded = padded.transpose(0, 1)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(0 if batch_first else 1, sequence.unsorted_indices)
        found = found.index_select(0, sequence.unsorted_indices.cpu())
    return padded, found


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (L, ...) of different lengths as one tensor (T, B, ...), or (B, T, ...).

    Examples
    --------
    >>> import jitgrad
    >>> a, b = jitgrad.ones(2), jitgrad.ones(1)
    >>> jitgrad.nn.utils.rnn.pad_sequence([a, b], batch_first=True)
    tensor([[1., 1.],
            [1., 0.]])
    """
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type:"
            f" {type(sequences)}"
        )
    given = list(sequences)
    if not given:
        raise RuntimeError("received an empty list of sequences")
    longest = max(x.shape[0] for x in given)
    rows = []
    for x in given:
        missing = longest - x.shape[0]
        if missing:
            padding = full((missing, *x.shape[1:]), padding_value, dtype=x.dtype)
            x = cat([x, padding] if padding_side == "right" else [padding, x], 0)
        rows.append(x.unsqueeze(0 if batch_first else 1))
    return cat(rows, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences that `pad_sequence` padded."""
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:n] for row, n in zip(x.unbind(0), lengths.tolist(), strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L, ...) of different lengths as a packed one."""
    lengths = [x.shape[0] for x in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed one."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
