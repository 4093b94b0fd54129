"""A tensor's storage as an object, and the methods that give a tensor other memory or sizes."""

from __future__ import annotations

from math import prod
from operator import index
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes, errors
from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry, grad_mode
from jitgrad.ops import views

if TYPE_CHECKING:
    from jitgrad.devices import device
    from jitgrad.tensor import Tensor


class UntypedStorage:
    """The bytes that a tensor and its views share.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.zeros(4)
    >>> x[1:].untyped_storage().data_ptr() == x.data_ptr(), x.untyped_storage().nbytes()
    (True, 16)
    """

    __slots__ = ("_bytes",)

    def __init__(self, tensor: Tensor) -> None:
        nbytes = entry.room(tensor)
        start = -tensor.storage_offset() * tensor.itemsize
        self._bytes: Tensor = entry.restride(tensor, dtypes.uint8.code, start, nbytes, 1)

    def nbytes(self) -> int:
        """How many bytes there are."""
        return entry.room(self._bytes)

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """Address of the first byte; 0 if there is none."""
        return self._bytes.data_ptr()

    @property
    def device(self) -> device:
        """Where it is."""
        return self._bytes.device

    @property
    def is_cuda(self) -> bool:
        """Whether it is on the GPU."""
        return self._bytes.is_cuda

    def element_size(self) -> int:
        """1: it counts bytes."""
        return 1

    def resizable(self) -> bool:
        """False: a tensor that needs more gets other memory."""
        return False

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        return self._bytes.tolist()

    def __getitem__(self, place: int) -> int:
        return self._bytes[place].item()

    def __setitem__(self, place: Any, value: int) -> None:
        self._bytes[place] = value

    def fill_(self, value: int) -> UntypedStorage:
        """Set every byte; returns the storage."""
        self._bytes.fill_(value)
        return self

    def copy_(self, source: UntypedStorage) -> UntypedStorage:
        """Take over the bytes of a storage of the same size; returns the storage."""
        self._bytes.copy_(source._bytes)
        return self

    def clone(self) -> UntypedStorage:
        """A storage with the same bytes."""
        return UntypedStorage(self._bytes.clone())

    def __repr__(self) -> str:
        return f"<UntypedStorage of {self.nbytes()} bytes on {self.device}>"


def _row_major(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(max(n, 1) for n in sizes[d + 1 :]) for d in range(len(sizes)))


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Change the sizes in place, keeping the elements in the order of memory; returns the tensor.

    New elements are uninitialised.  A tensor that outgrows its storage gets one of its own: its views keep
    the old one.

    Raises
    ------
    RuntimeError
        If it requires grad, or a size is negative.
    """
    wanted = views.integers(sizes)
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if any(n < 0 for n in wanted):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(wanted)}: {list(wanted)}"
        )
    if wanted == tuple(self.shape):
        return self
    start = self.storage_offset()
    if (start + prod(wanted)) * self.itemsize > entry.room(self) and prod(wanted):
        _move(self, start + prod(wanted))
    return views.as_strided_(self, wanted, _row_major(wanted), start)


def _move(x: Tensor, numel: int) -> None:
    """Have ``x`` show the same elements at the same offset of a storage of so many."""
    from jitgrad import creation

    if x.is_cuda:
        raise errors.no_cuda_kernel("resize_")
    made = creation.empty(numel, dtype=x.dtype)
    old = UntypedStorage(x)._bytes
    UntypedStorage(made)._bytes[: old.numel()].copy_(old)
    call(entry.take_data, x, views.as_strided(made, x.shape, x.stride(), x.storage_offset()))


def set_(
    self: Tensor,
    source: Tensor | UntypedStorage | None = None,
    storage_offset: int = 0,
    size: Any = None,
    stride: Any = None,
) -> Tensor:
    """Show other memory, from now on: that of a tensor or a storage, or none; returns the tensor.

    A storage without sizes is shown as one dim; sizes without strides are row-major.

    Raises
    ------
    RuntimeError
        If a history would be lost, the dtypes differ, or the sizes reach outside the storage.
    """
    from jitgrad import creation
    from jitgrad.tensor import Tensor

    if self.requires_grad and not self.is_leaf:
        raise RuntimeError(
            "the derivative for 'set_' is not implemented: detach() the tensor first"
        )
    if self.requires_grad and grad_mode():
        raise errors.from_fault(col.X_LEAF, 0, 0, 0, ())
    if source is None:
        shown = creation.empty(0, dtype=self.dtype)
    elif isinstance(source, UntypedStorage):
        n = source.nbytes() // self.itemsize
        shown = entry.restride(source._bytes, self.dtype.code, 0, n, 1)
        size = (n - index(storage_offset),) if size is None else size
    else:
        if not isinstance(source, Tensor):
            raise TypeError(f"set_() takes a Tensor or a storage, not {type(source).__name__}")
        if source.dtype is not self.dtype:
            raise RuntimeError(
                f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}"
            )
        shown = source.detach()
    if size is not None:
        size = tuple(size)
        shown = views.as_strided(
            shown, size, _row_major(size) if stride is None else stride, storage_offset
        )
    call(entry.take_data, self, shown)
    entry.bump(self)
    grad = entry.grad(self)
    if grad is not None and grad.shape != self.shape:
        self.grad = None
    return self


def untyped_storage(self: Tensor) -> UntypedStorage:
    """The bytes that it shares with its views."""
    return UntypedStorage(self)
