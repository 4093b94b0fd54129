"""What may lie where a function writes: PyTorch's rules for tensors that share memory.

A function that is not computed element by element refuses to write into a tensor whose elements share memory
or that holds elements of its other arguments.  As in PyTorch only what is seen from the strides is
refused: dims of stride 0, and stretches of memory without gaps that meet.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.errors import overlap

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def overlaps_itself(x: Tensor) -> bool:
    """Whether a dim of several elements has stride 0, as in an expanded tensor."""
    return not entry.word(x, col.FLAGS) & col.F_CONTIGUOUS and any(
        n > 1 and step == 0 for n, step in zip(entry.shape(x), entry.stride(x), strict=True)
    )


def need_one_place_each(x: Tensor) -> None:
    """Raise RuntimeError if elements of ``x``, which is about to be written, share memory."""
    if overlaps_itself(x):
        raise overlap(False)


def need_apart(x: Tensor, *read: Tensor) -> None:
    """Raise RuntimeError if what is read while ``x`` is written has elements of ``x``."""
    memory = entry.memory(x)
    for other in read:
        if entry.memory(other) == memory and (other is x or _meet(x, other)):
            raise overlap(True)


def warn_expanded(name: str, x: Tensor, more: str = "") -> None:
    """Warn, as PyTorch does, if the elements of ``x``, which ``name`` writes, share memory."""
    if overlaps_itself(x):
        warnings.warn(
            f"Use of {name} on expanded tensors is deprecated. Please clone() the tensor before performing"
            f" this operation. This also applies to advanced indexing e.g. {more}",
            stacklevel=4,
        )


def may_overlap(x: Tensor) -> bool:
    """Whether two elements may share memory; of odd interleaved strides also where none do."""
    last = 0
    for step, n in sorted(zip(entry.stride(x), entry.shape(x), strict=True)):
        if n > 1:
            if step <= last:
                return True
            last += (n - 1) * step
    return False


def _meet(x: Tensor, other: Tensor) -> bool:
    """Whether two tensors over one buffer are stretches without gaps that meet."""
    if not (x.numel() and other.numel() and _is_dense(x) and _is_dense(other)):
        return False
    a, b = entry.address(x), entry.address(other)
    return a < b + other.nbytes and b < a + x.nbytes


def _is_dense(x: Tensor) -> bool:
    """Whether the elements fill a stretch of memory, in whatever order."""
    expected = 1
    for step, n in sorted(zip(entry.stride(x), entry.shape(x), strict=True)):
        if n > 1:
            if step != expected:
                return False
            expected *= n
    return True
