"""Running sums on the GPU, and what is made of them: where elements are not zero.

A block has a part of a lane and goes through it in steps as wide as itself: the sums within a step double
their reach in shared memory until it is the whole step, and what came before is added.  Long lanes are cut
into parts, of which the totals are made and summed first.  The order of additions never changes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jitgrad import dtypes
from jitgrad.cuda import copies, launching, memory, reductions
from jitgrad.cuda.copies import dense
from jitgrad.cuda.each import Each, accumulator
from jitgrad.cuda.geometry import Geometry, dense_strides
from jitgrad.cuda.kernel import Argument, Kernel, Pointer, made
from jitgrad.cuda.lanes import Fold, Lanes
from jitgrad.cuda.reductions import DST, A, B, G, R, X
from jitgrad.cuda.target import CASTS, INT64

# `write`: 0: the total of each part; 1: running sums on top of `start`, the sums up to and with each part.
_SOURCE = """
def kernel(lanes, R, B, S, C, out, x, start, write, backwards):
    shared = cuda.shared.array(WIDTH, A)
    me = L(cuda.threadIdx.x)
    lane = L(cuda.blockIdx.x)
    while lane < lanes:
        rest = lane // B
        b = lane - rest * B
        a = rest // S
        s = rest - a * S
        first = s * C
        end = min(first + C, R)
        before = A(0)
        if write != 0 and s > 0:
            before = start[lane - B]
        while first < end:
            r = first + me
            place = (a * R + (R - 1 - r if backwards != 0 else r)) * B + b
            total = A(0)
            if r < end:
                total = A(EACH)
            shared[me] = total
            cuda.syncthreads()
            reach = 1
            while reach < WIDTH:
                if me >= reach:
                    total = shared[me - reach] + total
                cuda.syncthreads()
                shared[me] = total
                cuda.syncthreads()
                reach *= 2
            if write != 0 and r < end:
                out[place] = before + total
            before += shared[WIDTH - 1]
            cuda.syncthreads()
            first += WIDTH
        if write == 0 and me == 0:
            out[lane] = before
        lane += L(cuda.gridDim.x)
"""
#: What is summed, by the kernel's name.
_EACH = {"running": "x[place]", "counting": "x[place] != 0"}


@functools.cache
def scan(name: str, dtype: int) -> Kernel:
    """The kernel for a dtype: ``running`` or ``counting`` (of what is not zero)."""
    sums = INT64 if name == "counting" else accumulator(dtype)
    space = {"WIDTH": memory.width(), "A": CASTS[sums], "L": CASTS[INT64]}
    numbers: list[Argument] = [INT64] * 5
    pointers = [Pointer(sums), Pointer(dtype), Pointer(sums)]
    signature = (*numbers, *pointers, INT64, INT64)
    source = _SOURCE.replace("EACH", _EACH[name])
    return Kernel(f"{name}_{dtypes.ALL[dtype].name}", made(source, "kernel", space), signature)


@functools.cache
def alone(dtype: int) -> Each:
    """Running sums of many lanes side by side: a thread has a lane of its own."""
    text = """
a = i // B
b = i - a * B
total = A(0)
for k in range(R):
    place = (a * R + (R - 1 - k if backwards != 0 else k)) * B + b
    total += A(x[place])
    out[place] = total
"""
    return Each("running_alone", dtype, "A* out, T* x, int R, int B, int backwards", text)


#: From so many lanes that are side by side on a thread has its own.
_MANY = 1024


def running(
    name: str, dtype: int, x: int, counts: tuple[int, int, int], out: int, backwards: bool = False
) -> None:
    """Write the running sums of contiguous (A, R, B) along R."""
    a, r, b = counts
    if a * r * b == 0:
        return
    if b > 1 and a * b >= _MANY and name == "running":
        alone(dtype).launch(a * b, out, x, r, b, int(backwards))
        return
    part = reductions.Reduction.part(counts)
    parts = -(-r // part)
    kernel = scan(name, dtype)
    start = out
    if parts > 1:
        start = copies.room(a * parts * b * 8, 6)
        arguments = [a * parts * b, r, b, parts, part, start, x, start, 0, int(backwards)]
        kernel.launch(*launching.lanes(a * parts * b), arguments)
        sums = kernel.signature[5]
        assert isinstance(sums, Pointer)
        again = scan("running", sums.dtype)
        arguments = [a * b, parts, b, 1, parts, start, start, start, 1, 0]
        again.launch(*launching.lanes(a * b), arguments)
    arguments = [a * parts * b, r, b, parts, part, out, x, start, 1, int(backwards)]
    kernel.launch(*launching.lanes(a * parts * b), arguments)


@dataclass
class Running:
    """cumsum for a dtype, or its gradient: the running sum from the other end."""

    dtype: int
    backwards: bool

    def launch(self, words: Sequence[int]) -> None:
        """Run it on the words of a lanes command."""
        x = words[G] if self.backwards else words[X]
        counts = (words[A], words[R], words[B])
        running("running", self.dtype, x, counts, words[DST], self.backwards)

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        yield scan("running", self.dtype)
        yield scan("running", accumulator(self.dtype))
        yield alone(self.dtype).kernel


# ---------------------------------------------------------------- what is not zero
@functools.cache
def _counts(dtype: int) -> reductions.Reduction:
    def kernel(suffix: str) -> Lanes:
        fold = Fold("y", INT64, "0", "where(x != 0, 1, 0)", "a + b")
        name = f"count_nonzero_{dtypes.ALL[dtype].name}{suffix}"
        return Lanes(name, dtype, [("x", dtype)], [fold], "y", INT64, values=["n", "p"])

    return reductions.Reduction(kernel(""), kernel("_parts"), reductions.FORWARD["sum"](INT64).rest)


@dataclass
class CountNonzero:
    """How many elements are not zero."""

    dtype: int

    def launch(self, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
        """Launch it for rows of the arena."""
        counts = (1, inputs[0].numel, 1)
        _counts(self.dtype).run(counts, dense(inputs[0]), out.address, [0.0, 0.0])

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        yield from _counts(self.dtype).kernels()


@functools.cache
def noted(dtype: int) -> Each:
    """Each element that is not zero writes its place, after those of the elements before it."""
    text = """
k = counts[i] - 1
if x[i] != 0 and k < rows:
    out[k] = i
"""
    return Each("noted", dtype, "int* out, T* x, int* counts, int rows", text)


@functools.cache
def coordinate(dtype: int) -> Each:
    """A dim's coordinate of flat positions."""
    text = "out[i * dims + d] = places[i] // step % size"
    parameters = "int* out, int* places, int dims, int d, int step, int size"
    return Each("coordinate", dtype, parameters, text)


@dataclass
class Nonzero:
    """Where elements are not zero: flat positions, or coordinates if attribute 0 is set."""

    dtype: int

    def launch(self, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
        """Launch it for rows of the arena."""
        if out.numel == 0:
            return
        source = inputs[0]
        x, n = dense(source), source.numel
        counts = copies.room(n * 8, 3)
        running("counting", self.dtype, x, (1, n, 1), counts)
        rows, dims = out.shape[0], len(source.shape)
        flat = copies.room(rows * 8, 4) if attributes[0] else out.address
        noted(self.dtype).launch(n, flat, x, counts, rows)
        if attributes[0]:
            for d, step in enumerate(dense_strides(source.shape)):
                arguments = (out.address, flat, dims, d, step, source.shape[d])
                coordinate(INT64).launch(rows, *arguments)

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        yield scan("counting", self.dtype)
        yield scan("running", INT64)
        yield noted(self.dtype).kernel
        yield coordinate(INT64).kernel


# ---------------------------------------------------------------- running extremes
def _best(largest: bool) -> Callable[[int], Each]:
    @functools.cache
    def make(dtype: int) -> Each:
        better = f"v {'>' if largest else '<'}= best"
        if dtype >= dtypes.FIRST_FLOAT:
            # The last of equal ones, and the last NaN once there is one.
            better = f"v != v or {better}"
        text = f"""
a = i // B
b = i - a * B
best = x[a * R * B + b]
found = L(0)
for k in range(R):
    v = x[(a * R + k) * B + b]
    if {better}:
        best = v
        found = L(k)
    out[(a * R + k) * B + b] = found
"""
        name = "largest_so_far" if largest else "smallest_so_far"
        return Each(name, dtype, "int* out, T* x, int R, int B", text)

    return make


largest_so_far, smallest_so_far = _best(True), _best(False)

FORWARD = {"cumsum": lambda dtype: Running(dtype, False)}
BACKWARD = {"cumsum": lambda dtype: Running(dtype, True)}
LAUNCHERS: dict[str, Callable[[int], CountNonzero | Nonzero]] = {
    "count_nonzero": CountNonzero,
    "nonzero": Nonzero,
}
