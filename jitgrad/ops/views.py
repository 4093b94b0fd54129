"""View ops: they share memory with their input, so they have no kernel; the arena knows their geometry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from operator import index
from typing import TYPE_CHECKING, Any

from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry
from jitgrad.arena.header import Fault
from jitgrad.dtypes import dtype as DType  # noqa: N812
from jitgrad.errors import dim_out_of_range
from jitgrad.errors import sizes as sizes_text
from jitgrad.ops import record
from jitgrad.ops.shortcuts import F, shortcut
from jitgrad.ops.table import VIEW as FAMILY
from jitgrad.ops.table import Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _view(name: str, node: str, like: Op | None = None) -> Op:
    """A row whose geometry is its own, or that of another: PyTorch has several nodes for some."""
    bits = 0 if like is None else like.number
    return register(Op(name, node, FAMILY, 1, "", ("view",), (0,), bits=bits))


VIEW = _view("view", "View")
TRANSPOSE = _view("transpose", "Transpose")
T = _view("t", "T")
PERMUTE = _view("permute", "Permute")
SELECT = _view("select", "Select")
SLICE = _view("slice", "Slice")
UNSQUEEZE = _view("unsqueeze", "Unsqueeze")
SQUEEZE = _view("squeeze", "Squeeze")
EXPAND = _view("expand", "Expand")
DETACH = _view("detach", "Detach")
ALIAS = _view("alias", "Alias")
DIAGONAL = _view("diagonal", "Diagonal")

UNFOLD = _view("unfold", "Unfold")
AS_STRIDED = _view("as_strided", "AsStrided")

# The shape of a result that nobody else shows: no view, as far as users see.
UNSAFE_VIEW = _view("_unsafe_view", "UnsafeView", VIEW)
UNBIND = _view("unbind", "Unbind", SELECT)
SPLIT = _view("split", "Split", SLICE)
SPLIT_SIZES = _view("split_with_sizes", "SplitWithSizes", SLICE)
SQUEEZE_DIM = _view("squeeze.dim", "Squeeze1", SQUEEZE)
SQUEEZE_DIMS = _view("squeeze.dims", "Squeeze2", SQUEEZE)
SQUEEZE_ = _view("squeeze_", "Squeeze3", SQUEEZE)
SQUEEZE_DIM_ = _view("squeeze_.dim", "Squeeze4", SQUEEZE)
SQUEEZE_DIMS_ = _view("squeeze_.dims", "Squeeze5", SQUEEZE)
UNSQUEEZE_ = _view("unsqueeze_", "Unsqueeze1", UNSQUEEZE)
TRANSPOSE_ = _view("transpose_", "Transpose1", TRANSPOSE)
T_ = _view("t_", "T1", T)
AS_STRIDED_ = _view("as_strided_", "AsStrided1", AS_STRIDED)

# What a base becomes when a view of it was changed in place (`jitgrad.arena.slices`).
COPY_SLICES = register(Op("copy_slices", "CopySlices", FAMILY, 2, "", ("view", "view"), (0, 0)))


def _of_integers(op: Op) -> Callable[[F], F]:
    """Shortcuts of a view whose integers are given one by one or as a tuple."""
    one_by_one = ("type(rest_[0]) is int", "entry.view(number, input, *rest_)")
    as_tuple = (
        "len(rest_) == 1 and isinstance(rest_[0], tuple)",
        "entry.view(number, input, *rest_[0])",
    )
    return shortcut(one_by_one, as_tuple, entry=entry, number=op.number)


#: More elements than any memory holds; sizes in bytes below it do not overflow.
_MOST = 1 << 60


def integers(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """``(2, 3)`` from ``f(2, 3)`` or ``f((2, 3))``, each a real integer."""
    if len(sizes) == 1 and not isinstance(sizes[0], int) and hasattr(sizes[0], "__iter__"):
        sizes = tuple(sizes[0])
    return tuple(index(n) for n in sizes)


def _resolved(x: Tensor, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes with -1 worked out; raises RuntimeError if they do not hold the elements of ``x``."""
    numel = x.numel()
    known = 1
    for n in sizes:
        if n == -1:
            continue
        if n < 0:
            raise RuntimeError(f"invalid shape dimension {n}")
        known *= n
    unknown = sizes.count(-1)
    if unknown > 1:
        raise RuntimeError("only one dimension can be inferred")
    if unknown:
        if known == 0:
            raise RuntimeError(
                f"cannot reshape tensor of {numel} elements into shape {sizes_text(sizes)} because the"
                " unspecified dimension size -1 can be any value and is ambiguous"
            )
        if numel % known:
            raise _wrong_sizes(sizes, numel)
        return tuple(numel // known if n == -1 else n for n in sizes)
    if known != numel:
        raise _wrong_sizes(sizes, numel)
    return sizes


def _wrong_sizes(sizes: tuple[int, ...], numel: int) -> RuntimeError:
    return RuntimeError(f"shape '{sizes_text(sizes)}' is invalid for input of size {numel}")


def _try_view(x: Tensor, sizes: tuple[int, ...]) -> Tensor | None:
    try:
        return entry.view(VIEW.number, x, *sizes)
    except Fault as fault:
        if fault.args[0] == col.X_SHAPE:
            return None
        return record.view(VIEW, x, *sizes)


def bits_as(x: Tensor, dtype: DType) -> Tensor:
    """The memory of ``x`` seen as elements of another dtype, without history.

    Where their size differs, so does the last dim.

    Raises
    ------
    RuntimeError
        If sizes, strides or the offset do not fit elements of another size.
    """
    shape, strides = list(entry.shape(x)), list(entry.stride(x))
    have, wanted = x.dtype.itemsize, dtype.itemsize
    what = f"to view {x.dtype.letter} as {dtype.letter} (different element sizes)"
    if have != wanted:
        if not shape:
            raise RuntimeError(f"self.dim() cannot be 0 {what}")
        if strides[-1] != 1:
            raise RuntimeError(f"self.stride(-1) must be 1 {what}, but got {strides[-1]}")
    if have > wanted:
        times = have // wanted
        shape[-1] *= times
        strides[:-1] = [s * times for s in strides[:-1]]
    elif have < wanted:
        times = wanted // have
        places = {f"self.stride({d})": s for d, s in enumerate(strides[:-1])}
        checked = {
            "self.size(-1)": shape[-1],
            "self.storage_offset()": x.storage_offset(),
            **places,
        }
        for name, number in checked.items():
            if number % times:
                raise RuntimeError(f"{name} must be divisible by {times} {what}, but got {number}")
        shape[-1] //= times
        strides[:-1] = [s // times for s in strides[:-1]]
    return entry.restride(x, dtype.code, 0, *shape, *strides)


def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory in another shape.

    Raises
    ------
    RuntimeError
        If the sizes do not fit, or the strides need a copy (then use `reshape`).

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.arange(6).view(2, -1).shape
    jitgrad.Size([2, 3])
    """
    sizes = _resolved(input, integers(shape))
    found = _try_view(input, sizes)
    if found is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension"
            " spans across two contiguous subspaces). Use .reshape(...) instead."
            f" (shape {sizes_text(input.shape)}, stride {input.stride()}, asked for {sizes_text(sizes)})"
        )
    return found


@_of_integers(VIEW)
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape: a view where strides allow it, else a copy.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.reshape(jitgrad.arange(4), (2, 2)).tolist()
    [[0, 1], [2, 3]]
    """
    sizes = _resolved(input, integers(shape))
    found = _try_view(input, sizes)
    return found if found is not None else unsafe_view(input.clone(), sizes)


def unsafe_view(made: Tensor, sizes: Sequence[int]) -> Tensor:
    """A new contiguous result in another shape that fits; the caller shows ``made`` to nobody else."""
    return record.view(UNSAFE_VIEW, made, *sizes)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dims ``start_dim`` to ``end_dim`` (inclusive) merged into one.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.zeros(2, 3, 4).flatten(1).shape
    jitgrad.Size([2, 12])
    """
    ndim = input.ndim
    if ndim == 0:
        return reshape(input, 1)
    first, last = wrap_dim(start_dim, ndim), wrap_dim(end_dim, ndim)
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if first == last:
        return input
    shape = input.shape
    merged = 1
    for n in shape[first : last + 1]:
        merged *= n
    return reshape(input, (*shape[:first], merged, *shape[last + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dim split into several; one of ``sizes`` may be -1."""
    d = wrap_dim(dim, input.ndim)
    shape = input.shape
    sizes = tuple(sizes)
    if -1 in sizes:
        known = -1
        for n in sizes:
            known *= n
        sizes = tuple(shape[d] // known if n == -1 and known else n for n in sizes)
    total = 1
    for n in sizes:
        total *= n
    if total != shape[d]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d}"
            f" ({shape[d]}) in the input tensor"
        )
    return view(input, (*shape[:d], *sizes, *shape[d + 1 :]))


def wrap_dim(dim: int, ndim: int) -> int:
    """A dim counted from the front; raises IndexError if it is out of range."""
    n = max(ndim, 1)
    if not -n <= dim < n:
        raise dim_out_of_range(dim, n)
    return dim % n


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dims exchanged (a view)."""
    return record.view(TRANSPOSE, input, dim0, dim1)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """`transpose` under NumPy's name."""
    return record.view(TRANSPOSE, input, axis0, axis1)


def t(input: Tensor) -> Tensor:
    """A matrix transposed (a view); tensors of 0 or 1 dims as they are.

    Raises
    ------
    RuntimeError
        If ``input`` has more than 2 dims.
    """
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return record.view(T, input)


def adjoint_t(input: Tensor) -> Tensor:
    """``x.T``: all dims reversed."""
    ndim = input.ndim
    if ndim == 2:
        return record.view(PERMUTE, input, 1, 0)
    return record.view(PERMUTE, input, *range(ndim - 1, -1, -1))


def matrix_t(input: Tensor) -> Tensor:
    """``x.mT``: the last two dims exchanged."""
    if input.ndim < 2:
        raise RuntimeError(
            "tensor.mT is only supported on matrices or batches of matrices."
            f" Got {input.ndim}-D tensor."
        )
    return record.view(TRANSPOSE, input, -2, -1)


@_of_integers(PERMUTE)
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Dims in another order (a view).

    Raises
    ------
    RuntimeError
        If not every dim is named once.
    IndexError
        If a dim is out of range.
    """
    order = integers(dims)
    ndim = input.ndim
    if len(order) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length"
            f" of the desired ordering of dimensions i.e. input.dim() = {ndim} is not equal to"
            f" len(dims) = {len(order)}"
        )
    wrapped = [wrap_dim(d, ndim) for d in order]
    if len(set(wrapped)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return record.view(PERMUTE, input, *wrapped)


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dims moved to other places, the others keeping their order."""
    sources = [source] if isinstance(source, int) else list(source)
    places = [destination] if isinstance(destination, int) else list(destination)
    ndim = input.ndim
    if len(sources) != len(places):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source "
            f"({sources} dims) should contain the same number of dims as destination ({places} dims)"
        )
    sources = [wrap_dim(d, ndim) for d in sources]
    places = [wrap_dim(d, ndim) for d in places]
    for name, dims in (("source", sources), ("destination", places)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({dims})")
    order = [-1] * ndim
    for s, p in zip(sources, places, strict=True):
        order[p] = s
    rest = iter(d for d in range(ndim) if d not in sources)
    return record.view(PERMUTE, input, *(next(rest) if d < 0 else d for d in order))


moveaxis = movedim


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Dims of size 1 removed: all, or those named (a view)."""
    if dim is None:
        return record.view(SQUEEZE, input)
    if isinstance(dim, int):
        return record.view(SQUEEZE_DIM, input, dim)
    dims = tuple(dim)
    return record.view(SQUEEZE_DIMS, input, *dims) if dims else record.view(ALIAS, input)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A dim of size 1 inserted (a view)."""
    return record.view(UNSQUEEZE, input, dim)


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Dims of size 1 (and new ones in front) repeated without a copy; -1 keeps a size.

    Raises
    ------
    RuntimeError
        If a size does not fit.
    """
    wanted = integers(sizes)
    shape = input.shape
    lead = len(wanted) - len(shape)
    if lead < 0:
        raise RuntimeError(
            f"expand({input.dtype.letter}Tensor{{{sizes_text(shape)}}}, size={sizes_text(wanted)}):"
            f" the number of sizes provided ({len(wanted)}) must be greater or equal to the number"
            f" of dimensions in the tensor ({len(shape)})"
        )
    for d, n in enumerate(wanted):
        have = shape[d - lead] if d >= lead else 1
        if n == -1 and d >= lead:
            continue
        if n < 0:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) isn't allowed in a leading, non-existing"
                f" dimension {d}"
            )
        if n != have and have != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at"
                f" non-singleton dimension {d}.  Target sizes: {sizes_text(wanted)}."
                f"  Tensor sizes: {sizes_text(shape)}"
            )
    if prod(wanted) >= _MOST and 0 not in shape:
        raise RuntimeError(f"numel: integer multiplication overflow (shape {sizes_text(wanted)})")
    return record.view(EXPAND, input, *wanted)


def broadcast_to(input: Tensor, shape: Sequence[int]) -> Tensor:
    """`expand` under NumPy's name."""
    return expand(input, *shape)


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Position ``index`` along a dim, which goes (a view)."""
    return record.view(SELECT, input, dim, index)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """``length`` positions from ``start`` along a dim (a view).

    Raises
    ------
    RuntimeError, IndexError
        If they are not all there.
    """
    d = wrap_dim(dim, input.ndim)
    start = int(start)
    if input.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    size = input.shape[d]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -size <= start <= size:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-size}, {size}], but got {start})"
        )
    if start < 0:
        start += size
    if start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return record.view(SLICE, input, d, start, start + length, 1)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dims as the last dim (a view)."""
    a, b = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return record.view(DIAGONAL, input, offset, a, b)


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of a dim, ``step`` apart; their elements are the new last dim (a view).

    Raises
    ------
    RuntimeError
        If a window is longer than the dim, or ``step`` not positive.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.arange(5).unfold(0, 3, 1).tolist()
    [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    """
    d = wrap_dim(dimension, input.ndim)
    n = input.shape[d] if input.ndim else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return record.view(UNFOLD, input, d, size, step)


def _strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None) -> tuple[int, ...]:
    """Offset, sizes and strides of `as_strided`."""
    sizes, strides = tuple(map(index, size)), tuple(map(index, stride))
    offset = input.storage_offset() if storage_offset is None else index(storage_offset)
    if len(sizes) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in strides):
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, got strides:"
            f" {list(strides)}"
        )
    if any(n < 0 for n in sizes):
        raise RuntimeError(
            f"Storage size calculation overflowed with sizes={list(sizes)} and strides={list(strides)}"
        )
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    return (offset, *sizes, *strides)


def as_strided(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """The storage of ``input`` seen with these sizes, strides and offset, counted in elements (a view).

    Gradients of elements that share memory are added up; outside the elements of ``input`` they are lost.

    Raises
    ------
    RuntimeError
        If that reaches outside the storage.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.as_strided(jitgrad.arange(4), (2, 2), (1, 1)).tolist()
    [[0, 1], [1, 2]]
    """
    return record.view(AS_STRIDED, input, *_strided(input, size, stride, storage_offset))


def as_strided_(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """`as_strided` in place; returns ``input``."""
    return record.view_(AS_STRIDED_, input, *_strided(input, size, stride, storage_offset))


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All positions along a dim, each a view without it."""
    if input.ndim == 0:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    return call(entry.pieces, UNBIND.number, input, dim)


def split(
    tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Pieces of a size, or of the sizes given, along a dim (views)."""
    d = wrap_dim(dim, tensor.ndim)
    if tensor.ndim == 0:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    size = tensor.shape[d]
    op = SPLIT if isinstance(split_size_or_sections, int) else SPLIT_SIZES
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step < 0:
            raise RuntimeError(
                f"split expects split_size be non-negative, but got split_size={step}"
            )
        if step == 0 and size != 0:
            raise RuntimeError(
                f"split_size can only be 0 if dimension size is 0, but got dimension size of {size}"
            )
        ends = [min(i + step, size) for i in range(0, size, max(step, 1))] or [0]
        sections = [e - b for b, e in zip([0, *ends[:-1]], ends, strict=True)]
    else:
        sections = [int(n) for n in split_size_or_sections]
        if sum(sections) != size or any(n < 0 for n in sections):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size"
                f" at dimension {dim}), but got split_sizes={sections}"
            )
    return call(entry.pieces, op.number, tensor, d, *sections)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` pieces of equal size (the last may be smaller) along a dim (views)."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    d = wrap_dim(dim, input.ndim)
    if input.ndim == 0:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    size = input.shape[d]
    if size == 0:
        return split(input, [0] * chunks, d)
    return split(input, -(-size // chunks), d)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along a dim: so many of nearly equal size, or between the given positions (views)."""
    d = wrap_dim(dim, input.ndim)
    size = input.shape[d]
    if isinstance(indices_or_sections, int):
        n = indices_or_sections
        if n <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {n}")
        cuts = [i * (size // n) + min(i, size % n) for i in range(n + 1)]
    else:
        cuts = [0, *(int(i) for i in indices_or_sections), size]
    return tuple(
        record.view(SLICE, input, d, b, e, 1) for b, e in zip(cuts[:-1], cuts[1:], strict=True)
    )


# ---------------------------------------------------------------- in place: the same memory in another shape
def transpose_(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """`transpose` in place; returns ``input``."""
    return record.view_(TRANSPOSE_, input, dim0, dim1)


def t_(input: Tensor) -> Tensor:
    """`t` in place; returns ``input``."""
    if input.ndim > 2:
        raise RuntimeError(f"t_() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return record.view_(T_, input)


def unsqueeze_(input: Tensor, dim: int) -> Tensor:
    """`unsqueeze` in place; returns ``input``."""
    return record.view_(UNSQUEEZE_, input, dim)


def squeeze_(input: Tensor, dim: Any = None) -> Tensor:
    """`squeeze` in place; returns ``input``."""
    if dim is None:
        return record.view_(SQUEEZE_, input)
    if isinstance(dim, int):
        return record.view_(SQUEEZE_DIM_, input, dim)
    return record.view_(SQUEEZE_DIMS_, input, *dim) if len(dim) else input


swapaxes_ = swapdims_ = transpose_
