"""Matrix products; their kernels are in `jitgrad.kernels.products` and `jitgrad.kernels.linear`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from jitgrad.dtypes import bool as BOOL  # noqa: N812 - Python's is another
from jitgrad.dtypes import dtype
from jitgrad.errors import not_implemented, sizes
from jitgrad.ops import record
from jitgrad.ops.recipe import Gradients, Step, recipe, sum_to
from jitgrad.ops.table import KERNEL, Op, register
from jitgrad.ops.views import squeeze_, unsafe_view
from jitgrad.size import Size

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels."


def _product(name: str, node: str, kernel: str, *operands: str, reads: tuple[int, ...]) -> Op:
    """A product ("file:function"), its gradients for each operand ("function_operand") and what they read."""
    kernel = _KERNELS + kernel
    vjps = tuple(f"{kernel}_{operand}" for operand in operands)
    return register(Op(name, node, KERNEL, len(vjps), kernel, vjps, reads))


MM = _product("mm", "Mm", "products:bmm", "da", "db", reads=(2, 1))
BMM = _product("bmm", "Bmm", "products:bmm", "da", "db", reads=(2, 1))
MV = _product("mv", "Mv", "products:mv", "da", "db", reads=(2, 1))
DOT = _product("dot", "Dot", "products:dot", "dx", "dx", reads=(2, 1))
ADDMM = _product("addmm", "Addmm", "linear:addmm", "dc", "da", "db", reads=(0, 4, 2))
LINEAR = _product("linear", "Addmm", "linear:linear", "dx", "dw", "db", reads=(2, 1, 0))


#: What PyTorch says where dtypes differ: by their names in C, or as tensor types are called.
_OF_MATRICES = "expected m1 and m2 to have the same dtype, but got: {} != {}"
_OF_BATCHES = "expected scalar type {2} but found {3}"
_OF_MATRIX_AND_VECTOR = "addmv input tensors must have the same dtype, but got {3}, {2}, and {3}"
_OF_VECTORS = "dot : expected both vectors to have same dtype, but found {2} and {3}"
_OF_FACTORS = "mat1 and mat2 must have the same dtype, but got {2} and {3}"
_OF_SUM = "self and mat2 must have the same dtype, but got {2} and {3}"


#: How PyTorch calls the kernels that refuse bool.
_REFUSING = {_OF_BATCHES: "bmm", _OF_MATRIX_AND_VECTOR: "addmv_impl_cpu", _OF_VECTORS: "dot"}


def _check_dtypes(a: Tensor, b: Tensor, text: str = _OF_MATRICES) -> None:
    kind = a.dtype
    if kind is not b.dtype:
        if not isinstance(kind, dtype) or not isinstance(b.dtype, dtype):
            raise _no_tensor(a, b)
        raise RuntimeError(text.format(_c_name(a), _c_name(b), kind.letter, b.dtype.letter))
    if kind is BOOL and a.numel() and b.numel():
        raise not_implemented(_REFUSING.get(text, "addmm_impl_cpu_"), kind)


def _no_tensor(*operands: Any) -> TypeError:
    from jitgrad.tensor import Tensor

    kinds = [type(x).__name__ for x in operands if not isinstance(x, Tensor)]
    return TypeError(f"the operands of a matrix product must be Tensors, not {kinds[0]}")


_C_NAMES = {
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "int64": "long int",
    "int32": "int",
    "int16": "short",
    "int8": "signed char",
    "uint8": "unsigned char",
    "bool": "bool",
}


def _c_name(x: Tensor) -> str:
    return _C_NAMES[x.dtype.name]


def _cannot_multiply(a: Sequence[int], b: Sequence[int]) -> RuntimeError:
    left, right = ("x".join(str(n) for n in s) for s in (a, b))
    return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({left} and {right})")


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, (n, k) and (k, m).

    Raises
    ------
    RuntimeError
        If they are no matrices, their sizes do not fit, or their dtypes differ.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.mm(jitgrad.ones(2, 3), jitgrad.ones(3, 1)).tolist()
    [[3.0], [3.0]]
    """
    a, b = input.shape, mat2.shape
    if len(a) != 2:
        raise RuntimeError(f"self must be a matrix, got {len(a)}-D")
    if len(b) != 2:
        raise RuntimeError(f"mat2 must be a matrix, got {len(b)}-D")
    if a[1] != b[0]:
        raise _cannot_multiply(a, b)
    _check_dtypes(input, mat2)
    return record.explicit(MM, (input, mat2), (a[0], b[1]))


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices, (b, n, k) and (b, k, m)."""
    a, b = input.shape, mat2.shape
    if len(a) != 3 or len(b) != 3:
        raise RuntimeError(f"batch1 and batch2 must be 3D tensors, got {sizes(a)} and {sizes(b)}")
    if a[0] != b[0] or a[2] != b[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{a[0]}, {a[2]}] but"
            f" got: [{b[0]}, {b[1]}]."
        )
    _check_dtypes(input, mat2, _OF_BATCHES)
    return record.explicit(BMM, (input, mat2), (a[0], a[1], b[2]))


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix (n, k) times a vector (k)."""
    a, b = input.shape, vec.shape
    if len(a) != 2 or len(b) != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {len(b)}, {len(a)}, {len(b)}")
    if a[1] != b[0]:
        raise RuntimeError(f"size mismatch, got input ({a[0]}), mat ({a[0]}x{a[1]}), vec ({b[0]})")
    _check_dtypes(input, vec, _OF_MATRIX_AND_VECTOR)
    return record.explicit(MV, (input, vec), (a[0],))


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors of one length."""
    a, b = input.shape, tensor.shape
    if len(a) != 1 or len(b) != 1:
        raise RuntimeError(f"1D tensors expected, but got {len(a)}D and {len(b)}D tensors")
    if a[0] != b[0]:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a[0]}] and src [{b[0]}] to have the same"
            f" number of elements, but got {a[0]} and {b[0]} elements respectively"
        )
    _check_dtypes(input, tensor, _OF_VECTORS)
    return record.explicit(DOT, (input, tensor), ())


def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input + alpha * mat1 @ mat2``, with ``input`` broadcast to the product."""
    a, b = mat1.shape, mat2.shape
    if len(a) != 2 or len(b) != 2:
        raise RuntimeError(f"mat1 and mat2 must be matrices, got {len(a)}-D and {len(b)}-D")
    if a[1] != b[0]:
        raise _cannot_multiply(a, b)
    _check_dtypes(mat1, mat2, _OF_FACTORS)
    _check_dtypes(input, mat1, _OF_SUM)
    shape = (a[0], b[1])
    c = input.shape
    if len(c) > 2 or any(n not in (1, m) for n, m in zip(c[::-1], shape[::-1], strict=False)):
        input = input.expand(shape)
    return record.explicit(ADDMM, (input, mat1, mat2), shape, (float(beta), float(alpha)))


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of the elements of two vectors, (n) and (m): (n, m)."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(
            f"outer: Expected 1-D argument self, but got {input.ndim}-D and {vec2.ndim}-D"
        )
    return input.unsqueeze(1) * vec2.unsqueeze(0)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: input (..., k), weight (n, k) or (k), bias (n).

    Raises
    ------
    RuntimeError
        If sizes or dtypes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.linear(jitgrad.ones(2, 3), jitgrad.ones(1, 3)).tolist()
    [[3.0], [3.0]]
    """
    x, w = input.shape, weight.shape
    if len(w) == 1:
        out = matmul(input, weight)
        return out if bias is None else out + bias
    if len(w) != 2 or len(x) == 0:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, but they are {len(x)}D and {len(w)}D"
        )
    if x[-1] != w[1]:
        rows = input.numel() // x[-1] if x[-1] else 0
        raise _cannot_multiply((rows if len(x) != 1 else 1, x[-1]), (w[1], w[0]))
    _check_dtypes(input, weight, _OF_MATRICES if bias is None else _OF_FACTORS)
    if bias is None:
        return record.explicit(LINEAR, (input, weight), (*x[:-1], w[0]))
    _check_dtypes(bias, weight, _OF_SUM)
    if bias.shape != (w[0],):
        raise RuntimeError(
            f"linear(): bias of shape {sizes(bias.shape)} does not fit weight {sizes(w)}"
        )
    return record.explicit(LINEAR, (input, weight, bias), (*x[:-1], w[0]))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product with NumPy's rules: vectors, matrices, and broadcast batches of matrices.

    Raises
    ------
    RuntimeError
        If an operand has no dims, or the sizes or dtypes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.matmul(jitgrad.ones(4, 2, 3), jitgrad.ones(3)).shape
    jitgrad.Size([4, 2])
    """
    try:
        na, nb = input.ndim, other.ndim
    except AttributeError:
        raise _no_tensor(input, other) from None
    if na == 2 and nb == 2:
        return mm(input, other)
    if na == 0 or nb == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {na}D and {nb}D"
        )
    if na == 1 and nb == 1:
        return dot(input, other)
    if na == 2 and nb == 1:
        return mv(input, other)
    if na == 1:
        return squeeze_(matmul(input.unsqueeze(0), other), -2)
    a, b = input.shape, other.shape
    if nb <= 2:
        # A batch times one matrix is one product with more rows.
        rows = input.reshape(-1, a[-1]) if input.numel() else input.reshape(prod(a[:-1]), a[-1])
        return unsafe_view((mm if nb == 2 else mv)(rows, other), (*a[:-1], *b[1:]))
    batch = broadcast_shapes(a[:-2], b[:-2])
    if a[-1] != b[-2]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{prod(batch)}, {a[-1]}]"
            f" but got: [{prod(batch)}, {b[-2]}]."
        )
    left = input.expand([*batch, *a[-2:]]).reshape(prod(batch), *a[-2:])
    right = other.expand([*batch, *b[-2:]]).reshape(prod(batch), *b[-2:])
    return unsafe_view(bmm(left, right), (*batch, a[-2], b[-1]))


def broadcast_shapes(*shapes: Sequence[int]) -> Size:
    """The shape that tensors of these shapes broadcast to.

    Raises
    ------
    RuntimeError
        If they do not.
    """
    result: list[int] = []
    for shape in shapes:
        width = max(len(result), len(shape))
        left = [1] * (width - len(result)) + result
        right = [1] * (width - len(shape)) + list(shape)
        for d, (n, m) in enumerate(zip(left, right, strict=True)):
            if n != m and 1 not in (n, m):
                raise RuntimeError(
                    f"The size of tensor a ({n}) must match the size of tensor b ({m}) at"
                    f" non-singleton dimension {d}"
                )
        result = [m if n == 1 else n for n, m in zip(left, right, strict=True)]
    return Size(result)


# ---------------------------------------------------------------- recipes (`jitgrad.ops.recipe`)
@recipe(MM, BMM)
def _mm_recipe(step: Step, g: Tensor) -> Gradients:
    return (
        matmul(g, step.saved(1).transpose(-1, -2)) if step.wants(0) else None,
        matmul(step.saved(0).transpose(-1, -2), g) if step.wants(1) else None,
    )


@recipe(MV)
def _mv_recipe(step: Step, g: Tensor) -> Gradients:
    return (
        outer(g, step.saved(1)) if step.wants(0) else None,
        mv(step.saved(0).t(), g) if step.wants(1) else None,
    )


@recipe(DOT)
def _dot_recipe(step: Step, g: Tensor) -> Gradients:
    return (
        g * step.saved(1) if step.wants(0) else None,
        g * step.saved(0) if step.wants(1) else None,
    )


@recipe(ADDMM)
def _addmm_recipe(step: Step, g: Tensor) -> Gradients:
    beta, alpha = step.real(0), step.real(1)
    scaled = g if alpha == 1 else g * alpha
    return (
        sum_to(g if beta == 1 else g * beta, step.input_shape(0)) if step.wants(0) else None,
        mm(scaled, step.saved(2).t()) if step.wants(1) else None,
        mm(step.saved(1).t(), scaled) if step.wants(2) else None,
    )


@recipe(LINEAR)
def _linear_recipe(step: Step, g: Tensor) -> Gradients:
    found: list[Tensor | None] = [None] * step.inputs
    if step.wants(0):
        found[0] = matmul(g, step.saved(1))
    rows = g.reshape(prod(g.shape[:-1]), g.shape[-1])
    if step.wants(1):
        x = step.saved(0)
        found[1] = mm(rows.t(), x.reshape(prod(x.shape[:-1]), x.shape[-1]))
    if step.inputs == 3 and step.wants(2):
        found[2] = rows.sum(0)
    return found
