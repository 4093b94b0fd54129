"""Matrix products on the GPU: by cuBLAS where it is (`jitgrad.cuda.cublas`), else by the kernel here.

Tiles of both operands go through shared memory.  One kernel serves all:
``out[b, i, j] = alpha * sum over k of x[b, i, k] * z[b, k, j] + beta * c[b, i, j]`` with any strides for x, z
and c, so that a transposed operand needs no copy.  A block of TILE x TILE threads computes a tile of the
result; sums run in the order of k, so results do not depend on the grid.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.cuda import copies, cublas, launching, memory
from jitgrad.cuda.cublas import Matrix
from jitgrad.cuda.kernel import Argument, Kernel, Pointer, made
from jitgrad.cuda.target import CASTS, FLOAT32, FLOAT64, INT64

if TYPE_CHECKING:
    from jitgrad.cuda.geometry import Geometry

_SOURCE = """
def kernel(M, N, K, tiles_n, tiles, x, xb, xi, xk, z, zb, zk, zj, c, cb, ci, cj, out, alpha, beta):
    xs = cuda.shared.array((TILE, TILE), T)
    zs = cuda.shared.array((TILE, TILE), T)
    tx = cuda.threadIdx.x
    ty = cuda.threadIdx.y
    b = L(cuda.blockIdx.y)
    tile = L(cuda.blockIdx.x)
    while tile < tiles:
        row = tile // tiles_n
        i = row * TILE + ty
        j = (tile - row * tiles_n) * TILE + tx
        total = A(0)
        first = L(0)
        while first < K:
            if i < M and first + tx < K:
                xs[ty, tx] = x[b * xb + i * xi + (first + tx) * xk]
            else:
                xs[ty, tx] = T(0)
            if j < N and first + ty < K:
                zs[ty, tx] = z[b * zb + (first + ty) * zk + j * zj]
            else:
                zs[ty, tx] = T(0)
            cuda.syncthreads()
            for k in range(TILE):
                total += A(xs[ty, k]) * A(zs[k, tx])
            cuda.syncthreads()
            first += TILE
        if i < M and j < N:
            value = A(alpha) * total
            if beta != 0:
                value += A(beta) * A(c[b * cb + i * ci + j * cj])
            out[(b * M + i) * N + j] = T(value)
        tile += L(cuda.gridDim.x)
"""


class Product:
    """The kernel for a dtype."""

    def __init__(self, dtype: int) -> None:
        self.dtype = dtype
        space = {"TILE": memory.tile(), "T": CASTS[dtype], "L": CASTS[INT64]}
        space["A"] = CASTS[dtype if dtype >= dtypes.FIRST_FLOAT else INT64]
        number = FLOAT64
        p = Pointer(dtype)
        operand: list[Argument] = [p, INT64, INT64, INT64]
        signature: tuple[Argument, ...] = (*[INT64] * 5, *operand * 3, p, number, number)
        name = f"product_{dtypes.ALL[dtype].name}"
        self.kernel = Kernel(name, made(_SOURCE, "kernel", space), signature)

    def run(
        self,
        sizes: tuple[int, int, int, int],
        x: Matrix,
        z: Matrix,
        out: int,
        c: Matrix | None = None,
        alpha: float = 1.0,
        beta: float = 0.0,
    ) -> None:
        """Multiply: ``sizes`` are the batch, M, N and K."""
        batch, m, n, k = sizes
        if batch * m * n == 0:
            return
        if cublas.gemm(self.dtype, sizes, x, z, out, c, alpha, beta):
            return
        if c is None:
            c, beta = (out, 0, 0, 0), 0.0
        tile = memory.tile()
        tiles_n = -(-n // tile)
        tiles = -(-m // tile) * tiles_n
        done = 0
        item = dtypes.ALL[self.dtype].itemsize
        # The second dim of a grid goes to 65,535.
        while done < batch:
            count = min(batch - done, 65535)
            moved = [(a + done * b * item, b, i, j) for a, b, i, j in (x, z, c)]
            to = out + done * m * n * item
            grid = (launching.blocks(tiles, 1, memory.device().GRID), count)
            arguments = [m, n, k, tiles_n, tiles, *moved[0], *moved[1], *moved[2], to, alpha, beta]
            self.kernel.launch(grid, (tile, tile), arguments)
            done += count


_products: dict[int, Product] = {}


def _product(dtype: int) -> Product:
    if dtype not in _products:
        _products[dtype] = Product(dtype)
    return _products[dtype]


def _real(bits: int) -> float:
    return struct.unpack("d", struct.pack("q", bits))[0]


def _matrix(g: Geometry) -> Matrix:
    """A matrix, or a batch of them."""
    strides = (0,) * (3 - len(g.strides)) + g.strides
    return (g.address, *strides)  # type: ignore[return-value]


def _rows(g: Geometry) -> Matrix:
    """All dims but the last as rows; copied first where they are not laid out as one."""
    if len(g.shape) <= 2:
        strides = (0,) * (2 - len(g.strides)) + g.strides
        return (g.address, 0, *strides)  # type: ignore[return-value]
    return (copies.dense(g), 0, g.shape[-1], 1)


class _Launcher:
    def __init__(self, dtype: int, run: Callable[..., None]) -> None:
        self.dtype, self._run = dtype, run

    def kernels(self) -> Iterator[Kernel]:
        """The kernel, for the inventory."""
        yield _product(self.dtype).kernel

    def launch(self, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
        """Launch it for rows of the arena."""
        self._run(_product(self.dtype), out, inputs, attributes)


def _mm(p: Product, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    x, z = inputs
    batch = out.shape[0] if len(out.shape) == 3 else 1
    sizes = (batch, x.shape[-2], z.shape[-1], x.shape[-1])
    p.run(sizes, _matrix(x), _matrix(z), out.address)


def _mv(p: Product, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    x, z = inputs
    vector = (z.address, 0, z.strides[0], 0)
    p.run((1, x.shape[0], 1, x.shape[1]), _matrix(x), vector, out.address)


def _dot(p: Product, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    x, z = inputs
    row, column = (x.address, 0, 0, x.strides[0]), (z.address, 0, z.strides[0], 0)
    p.run((1, 1, 1, x.shape[0]), row, column, out.address)


def _addmm(
    p: Product, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
) -> None:
    c, x, z = inputs
    lead = 2 - len(c.shape)
    steps = [0] * lead + [0 if n == 1 else step for n, step in zip(c.shape, c.strides, strict=True)]
    sizes = (1, x.shape[0], z.shape[1], x.shape[1])
    beta, alpha = _real(attributes[0]), _real(attributes[1])
    added = (c.address, 0, steps[0], steps[1])
    p.run(sizes, _matrix(x), _matrix(z), out.address, added, alpha, beta)


def _linear(
    p: Product, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
) -> None:
    x, w = inputs[:2]
    width = x.shape[-1]
    features = w.shape[0] if len(w.shape) == 2 else 1
    rows = math.prod(x.shape[:-1])
    turned = (w.address, 0, w.strides[-1], w.strides[0] if len(w.shape) == 2 else 0)
    bias = None
    if len(inputs) == 3:
        b = inputs[2]
        bias = (b.address, 0, 0, b.strides[0] if b.strides else 0)
    sizes = (1, rows, features, width)
    p.run(sizes, _rows(x), turned, out.address, bias, 1.0, 1.0)


_RUN: dict[str, Callable[..., None]] = {
    "mm": _mm,
    "bmm": _mm,
    "mv": _mv,
    "dot": _dot,
    "addmm": _addmm,
    "linear": _linear,
}


def _made(run: Callable[..., None]) -> Callable[[int], Any]:
    return lambda dtype: _Launcher(dtype, run) if dtype in (FLOAT32, FLOAT64, INT64) else None


LAUNCHERS = {name: _made(run) for name, run in _RUN.items()}
