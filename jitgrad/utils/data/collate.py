"""Making a batch of items: tensors, arrays and numbers are stacked, containers keep their form."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from jitgrad import creation, dtypes
from jitgrad.ops.joining import stack
from jitgrad.tensor import Tensor


def _error(kind: Any) -> TypeError:
    return TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found"
        f" {kind}"
    )


def default_collate(batch: Sequence[Any]) -> Any:
    """The items of a batch as one: a further first dim for tensors, arrays and numbers.

    Dicts, named tuples and lists keep their type, tuples become lists, strings stay a list.

    Raises
    ------
    TypeError
        For items of another kind.
    RuntimeError
        If lists have different lengths, or tensors different shapes.

    Examples
    --------
    >>> from jitgrad.utils.data import default_collate
    >>> default_collate([(1, "a"), (2, "b")])
    [tensor([1, 2]), ('a', 'b')]
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch), 0)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise _error(first.dtype)
        return stack([creation.as_tensor(item) for item in batch], 0)
    if isinstance(first, (np.bool_, np.number)):
        return creation.as_tensor(np.array(batch))
    if isinstance(first, float):
        return creation.tensor(list(batch), dtype=dtypes.float64)
    if isinstance(first, int):
        return creation.tensor(list(batch))
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _like_mapping(first, {k: default_collate([d[k] for d in batch]) for k in first})
    if isinstance(first, Sequence):
        if any(len(item) != len(first) for item in batch) and not hasattr(first, "_fields"):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch, strict=False)]
        return _like_sequence(first, columns)
    raise _error(type(first))


def default_convert(data: Any) -> Any:
    """An item as it is without batches: arrays become tensors, containers keep their form."""
    if isinstance(data, np.ndarray):
        return data if data.dtype.kind in "SUO" else creation.as_tensor(data)
    if isinstance(data, (np.bool_, np.number)):
        return creation.as_tensor(data)
    if isinstance(data, (Tensor, str, bytes)):
        return data
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, Sequence):
        return _like_sequence(data, [default_convert(item) for item in data])
    return data


def _like_mapping(like: Mapping[Any, Any], made: dict[Any, Any]) -> Any:
    kind: Callable[..., Any] = type(like)
    try:
        if isinstance(like, MutableMapping):
            # A copy keeps what a subclass has besides: an order, a default.
            found = copy.copy(like)
            found.update(made)
            return found
        return kind(made)
    except TypeError:
        return made


def _like_sequence(like: Sequence[Any], made: list[Any]) -> Any:
    kind: Callable[..., Any] = type(like)
    if isinstance(like, tuple):
        return kind(*made) if hasattr(like, "_fields") else made
    try:
        if isinstance(like, MutableSequence):
            found = copy.copy(like)
            for i, item in enumerate(made):
                found[i] = item
            return found
        return kind(made)
    except TypeError:
        return made
