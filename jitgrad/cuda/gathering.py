"""gather and scatter on the GPU: an index that names, for each of its places, one along a dim.

The part of a tensor that an index of smaller sizes reaches is seen as (A, K, B), the index as (A, n, B).
Scattering is putting or adding single elements at flat positions (`jitgrad.cuda.picking`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from math import prod

from jitgrad.cuda import copies, memory, picking
from jitgrad.cuda.copies import dense, itemsize
from jitgrad.cuda.each import Each, Run, launcher
from jitgrad.cuda.geometry import Geometry, dense_strides
from jitgrad.cuda.target import INT64


@functools.cache
def gathered(dtype: int) -> Each:
    """The elements that an index names."""
    text = """
block = i // B
a = block // n
k = names[i]
value = T(0)
if k >= 0 and k < K:
    value = x[(a * K + k) * B + i - block * B]
else:
    fault[0] = 1
out[i] = value
"""
    return Each(
        "gathered", dtype, "T* out, T* x, int* names, int* fault, int K, int n, int B", text
    )


@functools.cache
def aimed(dtype: int) -> Each:
    """Flat positions from an index; as many as there are elements for those out of range."""
    text = """
block = i // B
a = block // n
k = names[i]
if k >= 0 and k < K:
    out[i] = (a * K + k) * B + i - block * B
else:
    fault[0] = 1
    out[i] = A * K * B
"""
    parameters = "int* out, int* names, int* fault, int A, int K, int n, int B"
    return Each("aimed", dtype, parameters, text)


def _part(x: Geometry, index: Geometry, d: int) -> Geometry:
    """What of a tensor an index reaches."""
    shape = tuple(
        n if e == d else m for e, (n, m) in enumerate(zip(x.shape, index.shape, strict=True))
    )
    return Geometry(x.address, x.dtype, prod(shape), shape, x.strides)


def _sizes(part: Geometry, index: Geometry, d: int) -> tuple[int, int, int, int]:
    """A, K, n, B."""
    n, k = (index.shape[d], part.shape[d]) if index.shape else (1, 1)
    return prod(index.shape[:d]), k, n, prod(index.shape[d + 1 :])


def _gather(
    dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
) -> None:
    x, index = inputs
    d = attributes[0]
    if out.numel == 0:
        return
    part = _part(x, index, d)
    _, k, n, b = _sizes(part, index, d)
    source, names = dense(part), dense(index, 1)
    gathered(dtype).launch(out.numel, out.address, source, names, memory.fault(), k, n, b)


def _scatter(act: Callable[..., None]) -> Run:
    def run(
        dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
    ) -> None:
        x, index, source = inputs
        d = attributes[0]
        size, strides = itemsize(out), dense_strides(out.shape)
        part = x if index.numel == 0 else _part(x, index, d)
        whole = part.shape == x.shape
        if index.numel == 0 or not whole:
            copies.copy(size, x.shape, out.address, strides, x.address, x.strides)
        if index.numel == 0 or part.numel == 0:
            return
        each = int(source.shape != () or index.shape == ())
        a, k, n, b = _sizes(part, index, d)
        names = copies.room(index.numel * 8, 4)
        aimed(INT64).launch(index.numel, names, dense(index, 1), memory.fault(), a, k, n, b)
        of = dense(part)
        values = source.address
        if source.shape:
            values = dense(source._replace(shape=index.shape, numel=index.numel), 2)
        to = out.address if whole else copies.room(part.numel * size, 6)
        act(dtype, to, of, values, each, names, (1, part.numel, index.numel, 1))
        if not whole:
            copies.copy(size, part.shape, out.address, strides, to, dense_strides(part.shape))

    return run


_PUT = launcher(_scatter(picking.put_at), picking.put, places=(aimed, *picking.PUTTING))
_ADD = launcher(_scatter(picking.add_at), picking.added, places=(aimed, *picking.ADDING))
LAUNCHERS = {
    "gather": launcher(_gather, gathered),
    "max_dim": launcher(_gather, gathered),
    "min_dim": launcher(_gather, gathered),
    "scatter": _PUT,
    "scatter_value": _PUT,
    "scatter_add": _ADD,
}
