"""Matrix products by NVIDIA's cuBLAS, where its binding is installed: ``pip install jitgrad[cublas]``.

The binding is `nvmath.bindings.cublas` of nvmath-python, NVIDIA's own.  It is imported when a product is
first launched on a GPU.  ``JITGRAD_CUBLAS=0`` leaves all products to the kernel of `jitgrad.cuda.products`;
so does the simulator, whose memory is the host's.

BLAS takes matrices column by column, so it is asked for the transpose: what is a row here is a column there,
and ``out = x @ z`` is ``out' = z' @ x'``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jitgrad import dtypes, settings
from jitgrad.cuda import copies, memory, streams, target
from jitgrad.cuda.target import FLOAT32, FLOAT64

#: A matrix of a batch, as an address and its strides: of the batch, of a row, of a column.
Matrix = tuple[int, int, int, int]

#: For each dtype: its letter in BLAS' names, and the C type of numbers.
_KINDS: dict[int, tuple[str, Any]] = {
    FLOAT32: ("s", ctypes.c_float),
    FLOAT64: ("d", ctypes.c_double),
}
#: The binding, once it has been looked for, or None.
_found: list[Any] = []
#: The library's handle for each stream.  With one of its own each has a workspace of its own, without which
#: results could differ from run to run.
_handles: dict[int, int] = {}


def _why_not() -> str:
    """Why cuBLAS is not even looked for; empty if it is."""
    if target.SIMULATED:
        return "not in the simulator"
    if os.environ.get("JITGRAD_CUBLAS", "1") == "0":
        return "JITGRAD_CUBLAS=0"
    if importlib.util.find_spec("nvmath") is None:
        return "nvmath-python is not installed: pip install 'jitgrad[cublas]'"
    return ""


def text() -> str:
    """Whether products use cuBLAS, for people; imports nothing of it."""
    why = _why_not()
    if why:
        return f"not used ({why})"
    from importlib import metadata

    return f"nvmath-python {metadata.version('nvmath-python')}"


def binding() -> Any:
    """The module whose functions call cuBLAS; None where products do without."""
    if not _found:
        _found.append(None if _why_not() else _imported())
    return _found[0]


def _imported() -> Any:
    try:
        return importlib.import_module("nvmath.bindings.cublas")
    except (ImportError, OSError, RuntimeError) as error:
        _say_unusable(error)
        return None


def _say_unusable(error: Exception) -> None:
    warnings.warn(
        f"cuBLAS can't be used, products are slower: {type(error).__name__}: {error}"
        " (JITGRAD_CUBLAS=0 ends this warning)",
        RuntimeWarning,
        stacklevel=2,
    )


@contextmanager
def off() -> Iterator[None]:
    """Have products do without for the length of a block, to compare."""
    before, _found[:] = list(_found), [None]
    try:
        yield
    finally:
        _found[:] = before


def gemm(
    dtype: int,
    sizes: tuple[int, int, int, int],
    x: Matrix,
    z: Matrix,
    out: int,
    c: Matrix | None,
    alpha: float,
    beta: float,
) -> bool:
    """``out = alpha * x @ z + beta * c`` for a batch; ``sizes`` are the batch, M, N and K.

    Returns whether it has been launched: not where there is no cuBLAS, or nothing to multiply.

    Raises
    ------
    RuntimeError
        If cuBLAS fails, with the name of its status.
    """
    batch, m, n, k = sizes
    if dtype not in _KINDS or batch * m * n * k == 0 or binding() is None:
        return False
    blas, handle = _ready(dtype)
    if blas is None:
        return False
    if c is not None and beta != 0:
        _copy(dtype, (batch, m, n), out, (m * n, n, 1), c[0], c[1:])
    else:
        beta = 0.0
    letter, number = _KINDS[dtype]
    a, b = number(alpha), number(beta)
    left, right = _readable(dtype, batch, k, n, z, 1), _readable(dtype, batch, m, k, x, 2)
    place = memory.real_address
    # Every operand: its address, its leading dimension and, in a batch, from one matrix to the next.
    steps = [[step] if batch > 1 else [] for step in (left[3], right[3], m * n)]
    name = f"{letter}gemm_strided_batched_64" if batch > 1 else f"{letter}gemm_64"
    arguments = [
        *(left[0], right[0], n, m, k, ctypes.addressof(a)),
        *(place(left[1]), left[2], *steps[0]),
        *(place(right[1]), right[2], *steps[1]),
        ctypes.addressof(b),
        *(place(out), n, *steps[2]),
        *([batch] if batch > 1 else []),
    ]
    _call(blas, name, handle, *arguments)
    return True


def _ready(dtype: int) -> tuple[Any, int]:
    """The binding and this thread's handle, set for its stream and for how exact products are to be."""
    blas = binding()
    memory.device().enter()
    stream = streams.number()
    if stream not in _handles:
        try:
            made = _call(blas, "create")
        except RuntimeError as error:
            if isinstance(error, CublasError):
                raise
            # The binding is there and finds no library.
            _say_unusable(error)
            _found[:] = [None]
            return None, 0
        _call(blas, "set_pointer_mode", made, int(blas.PointerMode.HOST))
        _handles[stream] = made
    handle = _handles[stream]
    _call(blas, "set_stream", handle, streams.handle())
    fast = dtype == FLOAT32 and settings.get_float32_matmul_precision() != "highest"
    mode = blas.Math.TF32_TENSOR_OP_MATH if fast else blas.Math.DEFAULT_MATH
    _call(blas, "set_math_mode", handle, int(mode))
    return blas, handle


class CublasError(RuntimeError):
    """A function of cuBLAS failed."""


def _call(blas: Any, name: str, *arguments: int) -> Any:
    try:
        return getattr(blas, name)(*arguments)
    except Exception as error:  # any: the binding's errors are told by the name of the status
        status = getattr(error, "status", None)
        if status is None:
            raise
        try:
            said = blas.Status(status).name
        except ValueError:
            said = str(status)
        words = "".join(part.capitalize() for part in name.split("_") if part != "64")
        raise CublasError(
            f"CUDA error: CUBLAS_STATUS_{said} when calling `cublas{words}`"
        ) from error


def _readable(
    dtype: int, batch: int, rows: int, columns: int, matrix: Matrix, place: int
) -> tuple[int, int, int, int]:
    """How BLAS reads a matrix: transposed (1) or not (0), its address, leading dimension, batch stride.

    Rows that stand one after the other are its columns; columns that do, its columns transposed.  A matrix
    with neither is copied first.
    """
    address, step, down, across = matrix
    if columns == 1 or across == 1:
        leading = columns if rows == 1 else down
        if leading >= columns:
            return 0, address, leading, step
    if rows == 1 or down == 1:
        leading = rows if columns == 1 else across
        if leading >= rows:
            return 1, address, leading, step
    count = batch if step else 1
    to = copies.room(count * rows * columns * dtypes.ALL[dtype].itemsize, place)
    _copy(dtype, (count, rows, columns), to, (rows * columns, columns, 1), address, matrix[1:])
    return 0, to, columns, rows * columns if step else 0


def _copy(
    dtype: int,
    shape: tuple[int, int, int],
    to: int,
    to_strides: tuple[int, int, int],
    of: int,
    of_strides: tuple[int, int, int],
) -> None:
    copies.copy(dtypes.ALL[dtype].itemsize, shape, to, to_strides, of, of_strides)
