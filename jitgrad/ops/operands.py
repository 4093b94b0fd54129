"""What ops on index tensors share: rows of the table, what their arguments are, in-place versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry, grad_mode
from jitgrad.dtypes import dtype as DType  # noqa: N812
from jitgrad.ops import record
from jitgrad.ops.memory_overlap import need_apart
from jitgrad.ops.table import BY_NAME, KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels.positions:"
COUNT_NONZERO = register(Op("count_nonzero", "CountNonzero", KERNEL, 1, _KERNELS + "count_nonzero"))
NONZERO = register(Op("nonzero", "Nonzero", KERNEL, 1, _KERNELS + "nonzero"))

_tensor_class: Any = None


def tensor_class() -> Any:
    """The class Tensor, which can't be imported where ops are defined."""
    global _tensor_class
    if _tensor_class is None:
        from jitgrad.tensor import Tensor

        _tensor_class = Tensor
    return _tensor_class


def is_tensor(value: Any) -> bool:
    """Whether a value is a Tensor."""
    return isinstance(value, _tensor_class or tensor_class())


def copy_into(x: Tensor, value: Any) -> Tensor:
    """Give ``x`` the elements of a Tensor, broadcast and converted, or a number; returns ``x``."""
    return record.pointwise_(BY_NAME["copy"], x, value)


def number_like(x: Tensor, value: Any) -> Tensor:
    """A number as a Tensor without dims, in the dtype of ``x``."""
    made = entry.new(x.dtype.code, tensor_class())
    return copy_into(made.to(x.device) if x.is_cuda else made, value)


def tensor_of(array: Any, dtype: DType | None = None) -> Tensor:
    """An array as a Tensor, of its own dtype or another."""
    from jitgrad.creation import from_numpy

    made = from_numpy(np.asarray(array, order="C"))
    return made if dtype is None else made.to(dtype)


def beside(x: Tensor, array: Any) -> Tensor:
    """An array as a Tensor on the device of ``x``."""
    made = tensor_of(array)
    return made.to(x.device) if x.is_cuda else made


def elements(x: Tensor) -> np.ndarray[Any, Any]:
    """The elements as an array with at least one dim."""
    return np.atleast_1d(x.detach()._array())


def nonzero_positions(x: Tensor, coordinates: bool = False) -> Tensor:
    """Flat positions (n) of the elements that are not zero, or their coordinates (n, dims); int64."""
    n = record.explicit(COUNT_NONZERO, (x,), (), dtype=dtypes.int64).item()
    shape = (n, x.ndim) if coordinates else (n,)
    return record.explicit(NONZERO, (x,), shape, (int(coordinates),), dtype=dtypes.int64)


# ---------------------------------------------------------------- ops on index tensors
def index_op(name: str, node: str, forward: str, dx: str, dsource: str | None = None) -> Op:
    """An op on (input, index) or (input, index, source); gradients but `whole_dx` read the index."""
    vjps: tuple[str | None, ...] = (dx, None)
    needs: tuple[int, ...] = (0 if dx.endswith(":whole_dx") else 2, 0)
    if dsource is not None:
        vjps, needs = (*vjps, dsource), (*needs, 2)
    return register(Op(name, node, KERNEL, len(vjps), forward, vjps, needs))


def int64_index(index: Tensor, error: str) -> Tensor:
    """An index as int64; raises RuntimeError for other dtypes than int64 and int32."""
    code = entry.word(index, col.DTYPE)
    if code == dtypes.int64.code:
        return index
    if code != dtypes.int32.code:
        raise RuntimeError(error)
    return index.to(dtypes.int64)


def in_place(
    function: Callable[..., Tensor], reads: bool = False, apart: bool = False
) -> Callable[..., Tensor]:
    """The in-place method of a function: its first argument takes over the result, with its history.

    ``reads`` says that the gradient reads the first argument, of which a copy is kept then; ``apart`` that
    its elements may not be those of another argument (RuntimeError).
    """

    def method(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if apart:
            need_apart(input, *(t for t in (*args, *kwargs.values()) if is_tensor(t)))
        if grad_mode():
            call(entry.refresh, input, 1)
        kept = input.clone() if reads and grad_mode() and input.requires_grad else input
        new = function(kept, *args, **kwargs)
        if new.requires_grad:
            return call(entry.adopt, input, new)
        return copy_into(input, new)

    method.__name__ = method.__qualname__ = f"{function.__name__}_"
    method.__doc__ = f"`{function.__name__}` in place; returns ``input``."
    return method
