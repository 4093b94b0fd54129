"""What the user is told: faults of the arena as Python exceptions, in PyTorch's words.

Jitted code only stages a code and three numbers; the shapes, dtypes and names are looked up here, from the
arguments of the call that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.ops.table import OPS


def sizes(shape: Sequence[int]) -> str:
    """A shape as PyTorch writes it in messages: ``[2, 3]``."""
    return "[" + ", ".join(str(int(n)) for n in shape) + "]"


def _tensors(args: tuple[Any, ...]) -> list[Any]:
    from jitgrad.tensor import Tensor

    return [a for a in args if isinstance(a, Tensor)]


def _name(number: int) -> str:
    return OPS[number].name


def _broadcast(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    result: list[int] = []
    for tensor in _tensors(args):
        shape = list(tensor.shape)
        width = max(len(result), len(shape))
        left = [1] * (width - len(result)) + result
        right = [1] * (width - len(shape)) + shape
        for d in range(width - 1, -1, -1):
            if left[d] != right[d] and 1 not in (left[d], right[d]):
                return RuntimeError(
                    f"The size of tensor a ({left[d]}) must match the size of tensor b ({right[d]})"
                    f" at non-singleton dimension {d} (shapes"
                    f" {' and '.join(sizes(t.shape) for t in _tensors(args))})"
                )
        result = [r if n == 1 else n for n, r in zip(left, right, strict=True)]
    return RuntimeError("shapes do not broadcast")


def _memory(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return MemoryError(
        "jitgrad: out of memory, or a tensor of more elements than fit into memory;"
        " jitgrad.empty_cache() gives unused buffers back to the system"
    )


def _dtype(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    name, dtype = _name(a), dtypes.ALL[b]
    if name == "neg":
        return RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to"
            " invert a mask, use the `~` or `logical_not()` operator instead."
        )
    if (
        name.startswith("sub")
        and all(x.dtype is dtypes.bool for x in _tensors(args)[:2])
        and (len(_tensors(args)) > 1)
    ):
        return RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or"
            " `logical_xor()` operator instead."
        )
    if name.startswith("sub") and dtype is dtypes.bool:
        return RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying"
            " to invert a mask, use the `~` or `logical_not()` operator instead."
        )
    if name == "relu":
        return RuntimeError("Boolean inputs not supported for relu")
    if name in ("var", "std"):
        return RuntimeError(
            f"std and var only support floating point and complex dtypes; got {dtype.letter}"
        )
    if name == "norm":
        return RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got"
            f" {dtype.letter}"
        )
    if name in ("mean", "logsumexp"):
        return RuntimeError(
            f"{name}(): could not infer output dtype. Input dtype must be either a floating point or"
            f" complex dtype. Got: {dtype.letter}"
        )
    return not_implemented(name, dtype)


#: How PyTorch calls the kernels that refuse a dtype, where not as the op.
_KERNELS = {
    "celu": "elu_cpu",
    "elu": "elu_cpu",
    "gelu": "GeluKernelImpl",
    "gelu_tanh": "GeluKernelImpl",
    "hardshrink": "hardshrink_cpu",
    "hardsigmoid": "hardsigmoid_cpu",
    "hardswish": "hardswish_cpu",
    "leaky_relu": "leaky_relu_cpu",
    "log_softmax": "log_softmax_lastdim_kernel_impl",
    "logsigmoid": "log_sigmoid_cpu",
    "mish": "mish_cpu",
    "rrelu": "leaky_relu_cpu",
    "selu": "elu_cpu",
    "silu": "silu_cpu",
    "softmax": "softmax_lastdim_kernel_impl",
    "softplus": "softplus_cpu",
    "softshrink": "softshrink_check",
}


def not_implemented(op: str, dtype: dtypes.dtype) -> NotImplementedError:
    """An op that there is not for a dtype."""
    return NotImplementedError(f"\"{_KERNELS.get(op, op)}\" not implemented for '{dtype.letter}'")


def _type(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    bad = [x for x in args[1:] if not isinstance(x, (bool, int, float))]
    from jitgrad.tensor import Tensor

    kinds = [type(x).__name__ for x in bad if not isinstance(x, Tensor)]
    places = [i for i, x in enumerate(args[1:]) if x in bad] if len(args) < 4 and kinds else []
    if places:
        return TypeError(
            f"{_name(int(args[0]))}(): argument '{('input', 'other')[places[0]]}' (position"
            f" {places[0] + 1}) must be Tensor, not {kinds[0]}"
        )
    return TypeError(
        f"argument must be Tensor or a number, not {kinds[0] if kinds else 'an empty Tensor object'}"
    )


def _cast(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        f"result type {dtypes.ALL[a].letter} can't be cast to the desired output type"
        f" {dtypes.ALL[b].letter}"
    )


def _leaf(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        "a leaf Variable that requires grad is being used in an in-place operation."
    )


def _freed(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        "Trying to backward through the graph a second time (or directly access saved tensors after"
        " they have already been freed). Saved intermediate values of the graph are freed when you"
        " call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward"
        " through the graph a second time or if you need to access saved tensors after calling"
        " backward."
    )


def _version(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    from jitgrad.arena.inspect import row

    columns = row(a)
    letter = dtypes.ALL[columns["dtype"]].letter
    name = _producer(columns) if columns["op"] else ""
    if not (columns["saved"] & col.SAVED_OUT and columns["outver"] == c):
        # Of a saved operand PyTorch names what made the tensor as it is now: mostly, what changed it.
        columns = _shown_now(columns) or columns
        if columns["op"]:
            name = "AsStrided" if columns["flags"] & col.F_VIEW else _producer(columns)
    made = f", which is output {columns['outnr']} of {name}," if name else ""
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace"
        f" operation: [torch.{letter}Tensor {sizes(columns['shape'])}]{made} is at version {b};"
        f" expected version {c} instead. Hint: enable anomaly detection to find the operation that"
        " failed to compute its gradient, with torch.autograd.set_detect_anomaly(True, check_nan=False)."
    )


def _shown_now(columns: dict[str, Any]) -> dict[str, Any] | None:
    """The row of a Tensor that shows now, changed in place, what a row showed; None if there is none."""
    from jitgrad.arena.inspect import row, row_numbers, rows

    every = rows()[row_numbers()]
    wanted = (every[:, col.GEN] % 2 == 1) & (every[:, col.OWNER] != 0) & (every[:, col.OP] != 0)
    for column, name in ((col.STORAGE, "storage"), (col.OFFSET, "offset"), (col.NDIM, "ndim")):
        wanted &= every[:, column] == columns[name]
    for number in every.numbers[wanted].tolist():
        found = row(number)
        if found["shape"] == columns["shape"] and found["stride"] == columns["stride"]:
            return found
    return None


def _output_shape(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    from numpy import broadcast_shapes

    tensors = _tensors(args)
    shape = broadcast_shapes(*(tuple(t.shape) for t in tensors))
    return RuntimeError(
        f"output with shape {sizes(tensors[0].shape)} doesn't match the broadcast shape"
        f" {sizes(shape)}"
    )


def _overlap(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return overlap(bool(b))


def overlap(with_input: bool) -> RuntimeError:
    """PyTorch's error for memory that is written twice, or read while it is written."""
    if with_input:
        what = "some elements of the input tensor and the written-to tensor refer"
    else:
        what = "more than one element of the written-to tensor refers"
    return RuntimeError(
        f"unsupported operation: {what} to a single memory location. Please clone() the tensor before"
        " performing the operation."
    )


def _bounds(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    offset, *geometry = args[2:]
    n = len(geometry) // 2
    return out_of_storage(geometry[:n], geometry[n:], offset, b, a)


def out_of_storage(
    shape: list[int], strides: list[int], offset: int, itemsize: int, room: int
) -> RuntimeError:
    """PyTorch's error for a geometry that a storage of ``room`` bytes does not hold."""
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    wanted = (offset + last + 1) * itemsize
    if wanted >= 1 << 63:
        return RuntimeError(
            f"Storage size calculation overflowed with sizes={shape} and strides={strides}"
        )
    return RuntimeError(
        f"setStorage: sizes {shape}, strides {strides}, storage offset {offset}, and itemsize"
        f" {itemsize} requiring a storage size of {wanted} are out of bounds for storage of size {room}"
    )


def _status(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    if OPS[a].forward.startswith("custom:"):
        return RuntimeError(
            f"a function of {OPS[a].name.removeprefix('custom_')} raised an exception in compiled code; call"
            " it on NumPy arrays to see which"
        )
    return RuntimeError(f"ZeroDivisionError: integer division or modulo by zero in {_name(a)}")


def _mask(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    name = _name(a)
    got = args[1 + b] if len(args) > 1 + b else None
    dtype = getattr(got, "dtype", None)
    if dtype is None:
        return TypeError(f"{name}(): the condition must be a bool Tensor, not {type(got).__name__}")
    if name == "where":
        return RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype"
            f" {dtype.letter}"
        )
    return RuntimeError(f"{name} only supports boolean masks, but got mask with dtype {dtype}")


def _dims(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        f"a tensor of {a} dims: jitgrad's arena holds tensors of at most {col.MAX_DIMS} dims"
    )


def _dim(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return dim_out_of_range(a, b)


def dim_out_of_range(dim: int, ndim: int) -> IndexError:
    """PyTorch's error for a dim that a tensor of ``ndim`` (at least 1) dims does not have."""
    return IndexError(
        f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got {dim})"
    )


def _empty(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    name = _name(a)
    return IndexError(
        f"{name}(): Expected reduction dim {b} to have non-zero size. (shape"
        f" {sizes(_tensors(args)[0].shape)})"
    )


def _view_inplace(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    if b == col.NONE:
        why = "it was found in a graph, or its base's data was replaced, so its base is not known"
    else:
        why = "its elements lie in the base's memory as no strides of the base's gradient describe"
    return RuntimeError(
        "a view that was modified by an inplace operation, itself or through its base, has no history:"
        f" {why}; clone() the tensor first"
    )


def _view_leaf(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        "a view of a leaf Variable that requires grad is being used in an in-place operation."
    )


def _view_made(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    from jitgrad.arena.inspect import row

    columns = row(a)
    flags = columns["flags"]
    modified = "its base or another view of its base has been" if b else "is being"
    no_grad = flags & col.F_VIEW_NO_GRAD
    origin = f"Output {columns['outnr']} of {_producer(columns)} is a view"
    if no_grad or columns["op"] == col.LEAF:
        start = origin + " of a view which was created" if columns["op"] else "A view was created"
        text = f"{start} in no_grad mode and {modified} modified inplace with grad mode enabled."
    else:
        text = f"{origin} and {modified} modified inplace."
    if flags & col.F_VIEW_SEVERAL:
        why = (
            "This view is the output of a function that returns multiple views. Such functions do not"
            " allow the output views to be modified inplace. You should replace the inplace operation by"
            " an out-of-place one."
        )
    elif no_grad:
        why = (
            "Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify"
            " your code by moving both the view and the inplace either both inside the no_grad block (if"
            " you don't want the inplace to be tracked) or both outside (if you want the inplace to be"
            " tracked)."
        )
    else:
        why = (
            "This view was created inside a custom Function (or because an input was returned as-is) and"
            " the autograd logic to handle view+inplace would override the custom backward associated"
            " with the custom Function, leading to incorrect gradients. This behavior is forbidden. You"
            " can fix this by cloning the output of the custom Function."
        )
    return RuntimeError(f"{text} {why}")


def _producer(columns: dict[str, Any]) -> str:
    """What messages call the op of a row: its node's name without ``Backward`` and what follows."""
    import ctypes

    from jitgrad.arena.inspect import row
    from jitgrad.ops.table import OUTPUT

    if columns["op"] == OUTPUT.number:
        held = row(columns["input"][0])["held"]
        return type(ctypes.cast(held, ctypes.py_object).value).__name__.removesuffix("Backward")
    node = OPS[columns["op"]].node
    return f"torch::autograd::{node}" if node in UNGENERATED else node.removesuffix("0")


def _root(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(f"element {a} of tensors does not require grad and does not have a grad_fn")


def _no_grad(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        f"One of the differentiated Tensors does not require grad (input {a} of those given)"
    )


def _not_saved(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(f"row {a} has not saved value {b}: its gradient does not read it")


def _scalar(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        "grad can be implicitly created only for scalar outputs"
        f" (this one has shape {sizes(args[2 * a].shape)}; pass gradient=)"
    )


def _index(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    if c == col.NONE:
        return IndexError("select() cannot be applied to a 0-dim tensor.")
    return IndexError(f"index {b} is out of bounds for dimension {a} with size {c}")


def _fit(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    param, state, keys = args[4][a], args[5], args[6]
    other = param.grad if b == col.NONE else state[param][keys[b]]
    what = f"parameter {a} of the group, {param.dtype} {sizes(param.shape)}"
    name = "gradient" if b == col.NONE else f"state {keys[b]!r}"
    if c:
        return TypeError(f"the {name} of {what} must be a Tensor, not {type(other).__name__}")
    return RuntimeError(
        f"the {name} of {what} is {other.dtype} {sizes(other.shape)}: its size must match the size of"
        " the parameter, and its dtype too"
        if b == col.NONE or b < args[7]
        else f"the {name} of {what} must be one floating point number, not {other.dtype}"
        f" {sizes(other.shape)}"
    )


def _inference(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode"
        " in computation tracked by autograd. To work around this, you can make a clone to get a normal"
        " tensor and use it in autograd, or use `jitgrad.no_grad()` instead of `jitgrad.inference_mode()`."
    )


def _inference_inplace(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to"
        " get a normal tensor before doing inplace update."
    )


def _two_devices(a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    return RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
    )


#: Nodes that PyTorch has written by hand: their names hold the namespace.
UNGENERATED = ("AccumulateGrad", "CopySlices", "CopyBackwards")

_MESSAGES: dict[int, Callable[[int, int, int, tuple[Any, ...]], Exception]] = {
    col.X_BROADCAST: _broadcast,
    col.X_DEVICE: _two_devices,
    col.X_MEMORY: _memory,
    col.X_DTYPE: _dtype,
    col.X_TYPE: _type,
    col.X_CAST: _cast,
    col.X_LEAF: _leaf,
    col.X_FREED: _freed,
    col.X_VERSION: _version,
    col.X_OUTPUT_SHAPE: _output_shape,
    col.X_OVERLAP: _overlap,
    col.X_BOUNDS: _bounds,
    col.X_STATUS: _status,
    col.X_MASK: _mask,
    col.X_DIMS: _dims,
    col.X_DIM: _dim,
    col.X_EMPTY: _empty,
    col.X_VIEW_INPLACE: _view_inplace,
    col.X_INDEX: _index,
    col.X_ROOT: _root,
    col.X_VIEW_LEAF: _view_leaf,
    col.X_VIEW_MADE: _view_made,
    col.X_SCALAR: _scalar,
    col.X_FIT: _fit,
    col.X_NO_GRAD: _no_grad,
    col.X_NOT_SAVED: _not_saved,
    col.X_INFERENCE: _inference,
    col.X_INFERENCE_INPLACE: _inference_inplace,
}


def no_cuda_kernel(name: str) -> NotImplementedError:
    """The error of an operation, by name, that the GPU has no kernel for."""
    return NotImplementedError(
        f"{name!r} has no CUDA kernel: move its operands to the CPU with .cpu(), and what comes out"
        " back with .cuda()"
    )


def from_fault(code: int, a: int, b: int, c: int, args: tuple[Any, ...]) -> Exception:
    """The exception for a fault code, its three details and the arguments of the call."""
    make = _MESSAGES.get(code)
    if make is None:
        return RuntimeError(f"jitgrad: internal fault {code} ({a}, {b}, {c}); please report it")
    return make(a, b, c, args)


def not_floating() -> RuntimeError:
    """PyTorch's error for an integer tensor that is asked to require gradients, at creation."""
    return RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
