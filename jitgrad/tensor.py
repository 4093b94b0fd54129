"""Tensor: the Python face of a row of the arena."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import copying, dtypes, errors, formats, printing
from jitgrad.arena import columns as col
from jitgrad.arena import engine
from jitgrad.arena.engine import call, entry
from jitgrad.arena.header import Fault, header
from jitgrad.devices import CPU, CUDA, device, usable
from jitgrad.size import Size


def _fits(gradient: Any, x: Tensor) -> bool:
    """Whether a value can be the gradient of ``x`` as it is."""
    return (
        isinstance(gradient, Tensor)
        and entry.shape(gradient) == entry.shape(x)
        and entry.word(gradient, col.DTYPE) == entry.word(x, col.DTYPE)
    )


class Tensor:
    """A multi-dimensional array that remembers how it was computed.

    Made by `jitgrad.tensor`, `jitgrad.zeros`, ... and by every op.  A Tensor holds one number, its row in
    the arena; the row holds the rest.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__dict__", "__weakref__", "_row")

    # NumPy's operators leave mixed expressions to ours.
    __array_priority__ = 1000

    if TYPE_CHECKING:
        # What `jitgrad.methods` attaches, as type checkers see it.
        def __getattr__(self, name: str) -> Any:
            """The ops: each function of the namespace that PyTorch has as a method."""

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        """``Tensor(2, 3)``: uninitialised of that shape; ``Tensor([1.0])``: from data (default dtype)."""
        from jitgrad import creation

        if not args:
            made = creation.empty(0)
        elif len(args) == 1 and not isinstance(args[0], int):
            if isinstance(args[0], (float, bool, complex)):
                raise TypeError(f"new(): data must be a sequence (got {type(args[0]).__name__})")
            given = args[0].detach() if isinstance(args[0], Tensor) else args[0]
            made = creation.as_tensor(given, dtype=creation.get_default_dtype())
        else:
            made = creation.empty(*args)
        return made

    # ------------------------------------------------------------ what it is
    @property
    def shape(self) -> Size:
        """Its sizes."""
        return Size(entry.shape(self))

    def size(self, dim: int | None = None) -> Any:
        """Its sizes, or the size of one dim."""
        sizes = entry.shape(self)
        return Size(sizes) if dim is None else _of_dim(sizes, dim)

    def stride(self, dim: int | None = None) -> Any:
        """Steps between neighbours, in elements: of each dim, or of one."""
        strides = entry.stride(self)
        return strides if dim is None else _of_dim(strides, dim)

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return entry.word(self, col.NDIM)

    def dim(self) -> int:
        """Number of dims."""
        return entry.word(self, col.NDIM)

    ndimension = dim

    def numel(self) -> int:
        """Number of elements."""
        return entry.word(self, col.NUMEL)

    nelement = numel

    @property
    def dtype(self) -> dtypes.dtype:
        """Its element type."""
        return dtypes.ALL[entry.word(self, col.DTYPE)]

    @property
    def device(self) -> device:
        """Where it is."""
        return CUDA if entry.memory(self) >> col.GPU_BIT else CPU

    @property
    def is_cuda(self) -> bool:
        """Whether it is on the GPU."""
        return bool(entry.memory(self) >> col.GPU_BIT)

    def get_device(self) -> int:
        """The number of its GPU, or -1."""
        return 0 if self.is_cuda else -1

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    def element_size(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel() * self.dtype.itemsize

    def storage_offset(self) -> int:
        """Position of the first element in the storage, in elements."""
        return entry.word(self, col.OFFSET)

    def data_ptr(self) -> int:
        """Address of the first element; 0 if there is none."""
        if self.is_cuda and self.numel():
            from jitgrad.cuda import memory

            return memory.real_address(entry.address(self))
        return entry.address(self) if self.numel() else 0

    def is_contiguous(
        self, memory_format: formats.memory_format = formats.contiguous_format
    ) -> bool:
        """Whether the elements lie row by row, or in the order of a memory format, without gaps."""
        if memory_format.order:
            return formats.is_laid_out(self, memory_format)
        return bool(entry.word(self, col.FLAGS) & col.F_CONTIGUOUS)

    def is_floating_point(self) -> bool:
        """Whether its dtype is a floating-point one."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """False: there are no complex dtypes."""
        return False

    def is_signed(self) -> bool:
        """Whether its dtype has negative numbers."""
        return self.dtype.is_signed

    @property
    def _version(self) -> int:
        version = entry.version(self)
        if version < 0:
            raise RuntimeError("Inference tensors do not track version counter.")
        return version

    @property
    def output_nr(self) -> int:
        """Which output of its `grad_fn` it is."""
        return entry.word(self, col.OUTNR)

    def is_inference(self) -> bool:
        """Whether its memory was made in `inference_mode`."""
        return entry.version(self) < 0

    # ------------------------------------------------------------ autograd
    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded."""
        flags = entry.word(self, col.FLAGS)
        if flags & col.F_VIEW:
            flags |= entry.base_flags(self)
        return bool(flags & col.F_REQUIRES_GRAD)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and not self.dtype.is_floating_point:
            raise RuntimeError(
                "only Tensors of floating point and complex dtype can require gradients"
            )
        if not self.is_leaf:
            text = "you can only change requires_grad flags of leaf variables."
            if not value:
                text += (
                    " If you want to use a computed variable in a subgraph that doesn't require"
                    " differentiation use var_no_grad = var.detach()."
                )
            raise RuntimeError(text)
        if value and self.is_inference() and not engine.inference_mode():
            raise RuntimeError(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
            )
        entry.flag(self, col.F_REQUIRES_GRAD, int(bool(value)))

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad`; returns the tensor."""
        if requires_grad and not self.dtype.is_floating_point:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if not requires_grad or self.is_leaf:
            self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user rather than by a recorded op."""
        if entry.word(self, col.FLAGS) & col.F_VIEW:
            call(entry.refresh, self, 0)
        return entry.word(self, col.OP) == col.LEAF

    @property
    def grad_fn(self) -> Any:
        """The node of the graph that made it; None for a leaf."""
        return None if self.is_leaf else node.grad_fn(self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> hooks.RemovableHandle:
        """Have ``hook(gradient)`` called when a backward pass has this tensor's whole gradient.

        What the hook returns, unless None, is used in its place.  Hooks run in the order of registration,
        before the gradient is accumulated or sent on.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` takes the hook away.

        Raises
        ------
        RuntimeError
            If the tensor does not require grad; in backward, if a hook returns another shape or no Tensor.

        Examples
        --------
        >>> import jitgrad
        >>> x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
        >>> handle = x.register_hook(lambda g: g * 10)
        >>> x.sum().backward()
        >>> x.grad
        tensor([10., 10.])
        """
        return hooks.register(self, hook)

    def register_post_accumulate_grad_hook(
        self, hook: Callable[[Tensor], None]
    ) -> hooks.RemovableHandle:
        """Have ``hook(tensor)`` called after a backward pass has added to the ``.grad`` of this leaf.

        Raises
        ------
        RuntimeError
            If it is no leaf, or does not require grad.
        """
        return hooks.register_post_accumulate(self, hook)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward passes have accumulated, or None."""
        found = entry.grad(self)
        if found is None:
            flags = entry.word(self, col.FLAGS)
            if entry.word(self, col.OP) != col.LEAF and not flags & col.F_RETAIN:
                warnings.warn(
                    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its"
                    " .grad attribute won't be populated during autograd.backward(). If you indeed"
                    " want the .grad field to be populated for a non-leaf Tensor, use .retain_grad()"
                    " on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure"
                    " you access the leaf Tensor instead. See github.com/pytorch/pytorch/pull/30531"
                    " for more information.",
                    UserWarning,
                    stacklevel=2,
                )
        return found

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is None:
            entry.set_grad(self, None)
            return
        if not isinstance(value, Tensor):
            raise TypeError(
                f"assigned grad expected to be a Tensor or None but got grad of type"
                f" {type(value).__name__}"
            )
        if value is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if value.dtype is not self.dtype:
            raise RuntimeError(
                f"attempting to assign a gradient with dtype '{value.dtype.c_name}' to a tensor with"
                f" grad_dtype '{self.dtype.letter}'. The gradient must match the tensor's dtype."
            )
        if value.is_cuda != self.is_cuda:
            raise RuntimeError(
                f"assigned grad has data located on a different device: {value.device} for {self.device}"
            )
        if value.shape != self.shape:
            raise RuntimeError(
                f"attempting to assign a gradient of size '{errors.sizes(value.shape)}' to a tensor of"
                f" size '{errors.sizes(self.shape)}'. Please ensure that the gradient and the tensor are"
                " the same size"
            )
        entry.set_grad(self, value)

    @grad.deleter
    def grad(self) -> None:
        entry.set_grad(self, None)

    def retain_grad(self) -> None:
        """Keep the gradient of a non-leaf in `grad` as well.

        Raises
        ------
        RuntimeError
            If it does not require grad.
        """
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if not self.is_leaf:
            entry.flag(self, col.F_RETAIN, 1)

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called on a non-leaf."""
        return bool(entry.word(self, col.FLAGS) & col.F_RETAIN)

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Compute the gradient of this tensor and add it to the ``.grad`` of the leaves.

        Parameters
        ----------
        gradient : Tensor, optional
            The weight of each element (same shape and dtype); needed unless there is one element.
        retain_graph : bool, optional
            Keep what the graph saved, so that it can be run again.

        Raises
        ------
        RuntimeError
            If it has no history, has more than one element and no gradient is given, the gradient's
            shape differs, the graph was freed, or a saved value was changed in place.

        Examples
        --------
        >>> import jitgrad
        >>> x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * 3).backward(jitgrad.tensor([1.0, 10.0]))
        >>> x.grad
        tensor([ 3., 30.])
        """
        plain = inputs is None and not create_graph and not anomaly.on and not engine.watched
        if plain and (gradient is None or _fits(gradient, self)):
            mode = engine.DIRECT | engine.RETAIN if retain_graph else engine.DIRECT
            try:
                entry.backward(mode, 1, self, gradient)
            except Fault as error:
                engine.go_on(mode, (1, self, gradient), error.args)
        else:
            autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """The same memory without history."""
        return record.view(views.DETACH, self)

    def detach_(self) -> Tensor:
        """Forget its history, in place; not for views (RuntimeError)."""
        if self._is_view():
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead. If you are using"
                " DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set as True,"
                " gradients are views of DDP buckets, and hence detach_() cannot be called on these"
                " gradients. To fix this error, please refer to the Optimizer.zero_grad() function in"
                " torch/optim/optimizer.py as the solution."
            )
        return call(entry.forget, self)

    @property
    def data(self) -> Tensor:
        """The same memory without history; changes through it are not noticed by autograd."""
        return call(entry.data, self)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if entry.shape(value) == entry.shape(self) and value.dtype is self.dtype:
            call(entry.set_data, self, value)
            return
        if self.requires_grad and not value.dtype.is_floating_point:
            raise RuntimeError(
                "data set to a tensor that requires gradients must be floating point or"
                " complex dtype"
            )
        if not self.is_leaf or entry.grad(self) is not None:
            raise RuntimeError(
                f"data of shape {errors.sizes(value.shape)} and {value.dtype} can't be assigned to a"
                f" tensor of shape {errors.sizes(self.shape)} and {self.dtype} that has a history or a"
                " gradient; set .grad to None, or make a new tensor"
            )
        call(entry.take_data, self, value)

    # ------------------------------------------------------------ as Python data
    def item(self) -> Any:
        """The one element as a Python number.

        Raises
        ------
        RuntimeError
            If there is not exactly one element.
        """
        value = _item(self)
        if value is None:
            raise RuntimeError(
                f"a Tensor with {self.numel()} elements cannot be converted to Scalar"
            )
        return value

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self._values().tolist()

    def _array(self) -> np.ndarray[Any, Any]:
        """The elements as an array over the memory; of bfloat16, which NumPy has not, a float32 copy."""
        found = self._memory()
        return self.float()._memory() if self.dtype is dtypes.bfloat16 else found

    def _memory(self) -> np.ndarray[Any, Any]:
        """The memory as an array; that of bfloat16 holds its bits."""
        found: np.ndarray[Any, Any] | None = entry.array(self)
        if found is None:
            frame = sys._getframe(1)
            # The function that the user called: not its helpers, nor those of all ops, nor the class of
            # its gradient.
            while frame.f_back is not None and (
                frame.f_code.co_name.startswith(("_", "<"))
                or frame.f_code.co_name in ("forward", "wrapper")
                or frame.f_globals["__name__"]
                in ("jitgrad.ops.operands", "jitgrad.autograd.function", "jitgrad.linalg.checks")
            ):
                frame = frame.f_back
            raise errors.no_cuda_kernel(frame.f_code.co_name)
        return found

    def _values(self) -> np.ndarray[Any, Any]:
        """The elements, to be read: the memory itself or a copy from the GPU."""
        return self.detach().cpu()._array() if self.is_cuda else self._array()

    def numpy(self, *, force: bool = False) -> np.ndarray[Any, Any]:
        """A NumPy array over the same memory.

        Raises
        ------
        RuntimeError
            If it requires grad (use ``detach().numpy()``, or ``force=True``).
        """
        if self.requires_grad and not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
            )
        if self.is_cuda:
            if force:
                return self._values()
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the"
                " tensor to host memory first."
            )
        if self.dtype is dtypes.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._array()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        """Lend the memory to another library through DLPack."""
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __bool__(self) -> bool:
        value = _item(self)
        if value is None:
            if self.numel() == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(value)

    def __float__(self) -> float:
        return float(self._scalar())

    def __int__(self) -> int:
        return int(self._scalar())

    def __complex__(self) -> complex:
        return complex(self._scalar())

    def _scalar(self) -> Any:
        value = _item(self)
        if value is None:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return value

    def __index__(self) -> int:
        if self.numel() != 1 or self.dtype.is_floating_point:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(_item(self))

    def __len__(self) -> int:
        sizes = entry.shape(self)
        if not sizes:
            raise TypeError("len() of a 0-d tensor")
        return sizes[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(views.unbind(self, 0))

    def __reversed__(self) -> Tensor:
        return self.flip(0) if self.ndim else self

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, (Tensor, int, float, complex, np.generic)):
            raise RuntimeError(
                "Tensor.__contains__ only supports Tensor or scalar, but you passed in a"
                f" {type(value)}."
            )
        return bool((self == value).any())

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        made_by = None
        try:
            if not self.is_leaf:
                made_by = type(self.grad_fn).__name__
        except RuntimeError:
            # A view that was overtaken by a change that can't be recorded.
            made_by = "Invalid"
        return printing.tensor_repr(
            self._values(),
            dtype_name=self.dtype.name,
            default_dtype_name=dtypes.ALL[int(header[col.H_DEFAULT_DTYPE])].name,
            requires_grad=self.requires_grad,
            grad_fn_name=made_by,
            device=str(self.device),
        )

    def __format__(self, spec: str) -> str:
        if self.ndim == 0:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    # ------------------------------------------------------------ copies
    __deepcopy__ = copying.deep_copy
    __reduce_ex__ = copying.reduce_ex

    def clone(self, *, memory_format: formats.memory_format = formats.preserve_format) -> Tensor:
        """A copy, in a memory format or row by row; gradients flow through it to the original."""
        if memory_format.order:
            return formats.laid_out(self, memory_format)
        return record.pointwise(arithmetic.CLONE, self)

    def contiguous(
        self, memory_format: formats.memory_format = formats.contiguous_format
    ) -> Tensor:
        """Itself if its elements lie row by row, or as a memory format says, else a copy that does."""
        if self.is_contiguous(memory_format):
            return self
        return self.clone(memory_format=memory_format)

    # ------------------------------------------------------------ dtypes
    def to(self, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        """In another dtype or on another device: ``to(dtype)``, ``to("cuda")``, ``to(other)``, both.

        A copy unless it is that already; gradients flow through it.

        Raises
        ------
        RuntimeError
            If there is no such device.
        """
        dtype = kwargs.pop("dtype", None)
        place = None
        if "device" in kwargs:
            place = kwargs.pop("device")
        kwargs.pop("non_blocking", None)
        form = kwargs.pop("memory_format", None) or formats.preserve_format
        if kwargs:
            raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
        for arg in args:
            if isinstance(arg, (dtypes.dtype, type)):
                dtype = arg
            elif isinstance(arg, Tensor):
                dtype, place = arg.dtype, arg.device
            elif isinstance(arg, bool):
                continue
            elif isinstance(arg, (str, device, int)):
                place = arg
            else:
                raise TypeError(f"to() received an invalid argument {arg!r}")
        dtype = self.dtype if dtype is None else dtypes.of(dtype)
        found = self if dtype is self.dtype else call(entry.convert, self, dtype.code)
        if place is not None and usable(place) != found.device:
            from jitgrad.cuda import transfers

            return transfers.ToCopy.apply(found)
        if form.order and not found.is_contiguous(form):
            return found.clone(memory_format=form)
        return found.clone() if copy and found is self else found

    def type(self, dtype: Any = None) -> Any:
        """In a dtype; without an argument the name of its own, as PyTorch writes it."""
        if dtype is None:
            return f"torch.{self.dtype.letter}Tensor"
        from jitgrad import typed

        if isinstance(dtype, str):
            return self.to(typed.dtype_of(dtype))
        return self.to(getattr(dtype, "dtype", dtype))

    def type_as(self, other: Tensor) -> Tensor:
        """In the dtype of ``other``."""
        return self.to(other.dtype)

    def cpu(self) -> Tensor:
        """On the CPU: itself if it is there, else a copy that waits for what computes it."""
        return self.to(CPU) if self.is_cuda else self

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Tensor:
        """On the GPU: itself if it is there, else a copy."""
        return self.to(CUDA if device is None else device)

    def record_stream(self, stream: Any) -> None:
        """Say that a stream of the GPU uses it: its memory is not used for anything else before that is done.

        Needed only where something else than jitgrad launches on it.

        Raises
        ------
        NotImplementedError
            If it is on the CPU.
        """
        if not self.is_cuda:
            raise NotImplementedError("record_stream: a tensor of the CPU is used by no stream")
        if self.numel():
            from jitgrad.cuda import memory

            memory.used_by(entry.address(self), stream.stream_id)

    def _is_view(self) -> bool:
        return bool(entry.word(self, col.FLAGS) & col.F_VIEW)

    @property
    def _base(self) -> Tensor | None:
        return call(entry.base, self)

    # ------------------------------------------------------------ shapes
    @property
    def T(self) -> Tensor:  # noqa: N802
        """All dims reversed (a view)."""
        if self.ndim > 2 or self.ndim == 1:
            warnings.warn(
                "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated"
                " and it will throw an error in a future release. Consider `x.mT` to transpose batches of"
                " matrices or `x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the dimensions of"
                " a tensor.",
                UserWarning,
                stacklevel=2,
            )
        return views.adjoint_t(self)

    @property
    def mT(self) -> Tensor:  # noqa: N802 - PyTorch's name
        """The last two dims exchanged (a view)."""
        return views.matrix_t(self)

    @property
    def H(self) -> Tensor:  # noqa: N802
        """The transpose of a matrix (numbers here are real)."""
        if self.ndim not in (0, 2):
            raise RuntimeError(
                f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor."
                + " For batches of matrices, consider using tensor.mH" * (self.ndim > 2)
            )
        return views.matrix_t(self)

    def view(self, *shape: Any, size: Any = None, dtype: dtypes.dtype | None = None) -> Tensor:
        """The same memory in another shape, or with its bits as another dtype's (without history)."""
        if shape and type(shape[0]) is int and size is None and dtype is None:
            try:
                return entry.view(views.VIEW.number, self, *shape)
            except Fault:
                pass
        if len(shape) == 1 and isinstance(shape[0], dtypes.dtype):
            dtype = shape[0]
        if dtype is not None:
            return views.bits_as(self, dtype)
        if size is not None:
            shape = (size,)
        elif not shape:
            raise TypeError(
                "view() received an invalid combination of arguments - got (), but expected one of:\n"
                " * (torch.dtype dtype)\n * (tuple of ints size)\n"
            )
        return views.view(self, *shape)

    def view_as(self, other: Tensor) -> Tensor:
        """`view` in the shape of ``other``."""
        return views.view(self, other.shape)

    def reshape_as(self, other: Tensor) -> Tensor:
        """`reshape` to the shape of ``other``."""
        return views.reshape(self, other.shape)

    def expand_as(self, other: Tensor) -> Tensor:
        """`expand` to the shape of ``other``."""
        return views.expand(self, other.shape)

    def __getitem__(self, index: Any) -> Tensor:
        return indexing.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        indexing.setitem(self, index, value)


def _of_dim(numbers: tuple[int, ...], dim: int) -> int:
    """The size or stride of a dim."""
    n = len(numbers)
    if not n:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    if not -n <= dim < n:
        raise errors.dim_out_of_range(dim, n)
    return numbers[dim]


def _item(x: Tensor) -> Any:
    """The one element, None if there are more or none; of the GPU, a copy."""
    try:
        return entry.item(x)
    except Fault:
        return call(entry.item, x)


# Its name in pickles that were made when it stood here.
_rebuild = copying.rebuild

for _dtype, _names in {
    dtypes.float32: "float",
    dtypes.float64: "double",
    dtypes.float16: "half",
    dtypes.bfloat16: "bfloat16",
    dtypes.int64: "long",
    dtypes.int32: "int",
    dtypes.int16: "short",
    dtypes.int8: "char",
    dtypes.uint8: "byte",
    dtypes.bool: "bool",
}.items():

    def _convert(self: Tensor, _dtype: dtypes.dtype = _dtype) -> Tensor:
        return self.to(_dtype)

    _convert.__name__ = _names
    _convert.__doc__ = f"In {_dtype.name}; itself if it is that already."
    setattr(Tensor, _names, _convert)

# Where users find it.
Tensor.__module__ = "jitgrad"
# The slot that holds the row is hidden: nobody but the arena can set it.
engine.bind(Tensor, Tensor.__dict__["_row"])
delattr(Tensor, "_row")

from jitgrad import autograd  # noqa: E402 - these need Tensor
from jitgrad.autograd import anomaly, hooks, node  # noqa: E402
from jitgrad.ops import arithmetic, indexing, record, views  # noqa: E402
