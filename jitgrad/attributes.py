"""What PyTorch's tensors say of themselves that is the same for every tensor here, and small conveniences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import layouts
from jitgrad.ops import views

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_ABSENT = "is_sparse is_sparse_csr is_quantized is_meta is_mps is_mkldnn is_xpu is_xla is_vulkan is_nested"


def _fixed(value: Any, about: str) -> Any:
    return property(lambda self: value, doc=about)


PROPERTIES: dict[str, Any] = {name: _fixed(False, "False.") for name in _ABSENT.split()}
PROPERTIES |= {
    "layout": _fixed(layouts.strided, "`jitgrad.strided`: every tensor has strides."),
    "volatile": _fixed(False, "False."),
    "is_cpu": property(lambda self: not self.is_cuda, doc="Whether it is on the CPU."),
    "real": property(lambda self: self, doc="Itself: numbers here are real."),
    "mH": property(lambda self: self.mT, doc="The last two dims exchanged (a view)."),
}


def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not zero.

    Raises
    ------
    RuntimeError
        If there are more, or none.
    """
    return bool(input)


def is_floating_point(input: Tensor) -> bool:
    """Whether its dtype is a floating-point one."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """False: there are no complex dtypes."""
    return False


def is_signed(input: Tensor) -> bool:
    """Whether its dtype has negative numbers."""
    return input.is_signed()


def is_inference(input: Tensor) -> bool:
    """Whether its memory was made in `inference_mode`."""
    return input.is_inference()


def is_conj(input: Tensor) -> bool:
    """False: numbers here are real."""
    return False


def is_neg(input: Tensor) -> bool:
    """False: no tensor stands for the negative of its memory."""
    return False


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return bool(input.shape == other.shape)


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether two tensors show the same memory in the same way."""

    def geometry(x: Tensor) -> Any:
        return x.data_ptr(), x.shape, x.stride(), x.dtype

    return bool(geometry(self) == geometry(tensor))


def is_shared(self: Tensor) -> bool:
    """False: no memory here is shared with another process."""
    return False


def is_pinned(self: Tensor) -> bool:
    """False: no memory here is pinned."""
    return False


def itself(input: Tensor) -> Tensor:
    """The tensor itself, which is real."""
    return input


def adjoint(input: Tensor) -> Tensor:
    """The last two dims exchanged (a view)."""
    return input.mT


def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the sizes given along a dim (views)."""
    return views.split(input, split_sizes, dim)


def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`narrow`, as a copy."""
    return views.narrow(input, dim, start, length).clone()


def dim_order(self: Tensor) -> tuple[int, ...]:
    """The dims from the outermost in memory to the innermost."""
    strides = self.stride()
    return tuple(sorted(range(self.ndim), key=lambda d: (-strides[d], d)))


def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace each element by what a Python function makes of it: slow.

    Raises
    ------
    RuntimeError
        If it requires grad.
    """
    return map_(self, self, lambda x, _: callable(x), "apply_")


def map_(
    self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any], name: str = "map_"
) -> Tensor:
    """Replace each element by what a Python function makes of it and of another tensor's: slow.

    Raises
    ------
    RuntimeError
        If one requires grad.
    """
    if self.requires_grad or tensor.requires_grad:
        raise RuntimeError(
            f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() instead."
        )
    pairs = zip(self.reshape(-1).tolist(), tensor.expand_as(self).reshape(-1).tolist(), strict=True)
    made = self.new_tensor([callable(x, y) for x, y in pairs], dtype=self.dtype)
    return self.copy_(made.reshape(self.shape))


def new(self: Tensor, *data: Any) -> Tensor:
    """A tensor of this one's dtype: of sizes, uninitialised, or of data."""
    from jitgrad.typed import ALL

    return ALL[f"{self.dtype.letter}Tensor"](*data)


def array_wrap(self: Tensor, array: np.ndarray[Any, Any], *more: Any) -> Tensor:
    """What NumPy's functions of tensors return: a tensor, of bools as they are."""
    from jitgrad.creation import from_numpy

    return from_numpy(np.asarray(array))


def _no_deletion(self: Tensor, index: Any) -> None:
    raise TypeError("Tensor does not support deleting items")


def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """`chunk`: here its results are always checked."""
    return views.chunk(input, chunks, dim)


def unsafe_split(input: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """`split`: here its results are always checked."""
    return views.split(input, split_size, dim)


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        is_nonzero,
        is_conj,
        is_neg,
        is_same_size,
        is_set_to,
        is_shared,
        is_pinned,
        adjoint,
        split_with_sizes,
        narrow_copy,
        unsafe_chunk,
        unsafe_split,
        dim_order,
        apply_,
        map_,
        new,
    )
} | {
    "__array_wrap__": array_wrap,
    "conj": itself,
    "conj_physical": itself,
    "resolve_conj": itself,
    "resolve_neg": itself,
    "share_memory_": itself,
    "pin_memory": itself,
    "__nonzero__": is_nonzero,
    "__delitem__": _no_deletion,
}


# ---------------------------------------------------------------- functions of the namespace
def typename(obj: Any) -> str:
    """The type of an object, with its module; of a tensor as `Tensor.type` says it."""
    from jitgrad.tensor import Tensor

    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", "") or ""
    return kind.__qualname__ if module in ("", "builtins") else f"{module}.{kind.__qualname__}"


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Tensors, each expanded to the shape that they broadcast to (views).

    Raises
    ------
    RuntimeError
        If they do not.
    """
    from jitgrad.ops.products import broadcast_shapes

    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    shape = broadcast_shapes(*[tuple(x.shape) for x in tensors])
    return tuple(x.expand(shape) for x in tensors)


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Positions in a flat tensor as coordinates in one of a shape, a tensor for each dim.

    Raises
    ------
    ValueError
        If ``indices`` are no integers.
    """
    if indices.dtype.is_floating_point:
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    wanted = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    found = []
    for d, n in enumerate(wanted):
        found.append((indices // math.prod(wanted[d + 1 :])) % n)
    return tuple(found)


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A 1-D tensor over the memory of an object with a buffer, which it keeps alive.

    Raises
    ------
    ValueError
        If the buffer does not hold such elements.
    """
    from jitgrad.creation import empty, from_numpy, of_bits

    size, item = memoryview(buffer).nbytes, dtype.itemsize
    if size == 0 or count == 0:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length"
            f" ({size} bytes) minus 1"
        )
    if count < 0 and (size - offset) % item:
        raise ValueError(
            f"buffer length ({size - offset} bytes) after offset ({offset} bytes) must be a multiple of"
            f" element size ({item})"
        )
    if count > 0 and offset + count * item > size:
        raise ValueError(
            f"requested buffer length ({count} * {item} bytes) after offset ({offset} bytes) must not"
            f" be greater than actual buffer length ({size} bytes)"
        )
    array = np.frombuffer(buffer, dtype.numpy, count, offset)
    made = of_bits(array) if dtype.name == "bfloat16" else from_numpy(array)
    made = made if made.numel() else empty(0, dtype=dtype)
    return made.requires_grad_() if requires_grad else made


def scalar_tensor(s: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A number as a tensor without dims, of the default dtype unless told."""
    from jitgrad.creation import get_default_dtype, tensor

    return tensor(s, dtype=dtype or get_default_dtype(), requires_grad=requires_grad)


def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor of one value in the shape and dtype of another."""
    return input.clone().fill_(value)


def compile(model: Any = None, **options: Any) -> Any:
    """The function or module itself: ops are compiled as they are."""
    return model if model is not None else (lambda function: function)


NAMESPACE: dict[str, Any] = {
    f.__name__: f
    for f in (
        is_nonzero,
        is_floating_point,
        is_complex,
        is_signed,
        is_inference,
        is_conj,
        is_neg,
        is_same_size,
        adjoint,
        split_with_sizes,
        narrow_copy,
        unsafe_chunk,
        unsafe_split,
        typename,
        broadcast_tensors,
        unravel_index,
        frombuffer,
        scalar_tensor,
        compile,
        fill,
    )
} | {"real": itself, "conj": itself, "conj_physical": itself, "resolve_conj": itself}
