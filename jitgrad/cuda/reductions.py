"""Reductions, softmax and their like on the GPU: what is folded along a lane, and what is written."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.cuda import memory
from jitgrad.cuda.kernel import Kernel
from jitgrad.cuda.lanes import Fold, Lanes
from jitgrad.cuda.pointwise import Operand, Pointwise
from jitgrad.cuda.target import INT64

if TYPE_CHECKING:
    from jitgrad.cuda.geometry import Plan

# The words of a lanes command (`jitgrad.arena.lanes`), and the most parts a lane is cut into.
DST, X, G, Y, A, R, B, _TYPE, ATTR = range(9)
MOST_PARTS = 1024


@dataclass
class Reduction:
    """A lane folded to one value: at once, or in parts that are folded in their turn."""

    once: Lanes
    parts: Lanes
    rest: Lanes

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        for made in (self.once, self.parts, self.rest):
            yield from made.kernels()

    def launch(self, words: Sequence[int]) -> None:
        """Run it on the words of a lanes command."""
        a, r, b = words[A], words[R], words[B]
        self.run((a, r, b), words[X], words[DST], [float(r), _number(words[ATTR])])

    def run(self, counts: tuple[int, int, int], x: int, out: int, values: list[float]) -> None:
        """Reduce (A, R, B) at ``x`` to (A, B) at ``out``."""
        a, r, b = counts
        part = self.part(counts)
        if part >= r:
            self.once.launch(counts, [out, x], values)
            return
        parts = -(-r // part)
        item = dtypes.ALL[self.parts.result].itemsize
        between = memory.scratch(a * parts * b * item)
        self.parts.launch(counts, [between, x], values, part)
        self.rest.launch((a, parts, b), [out, between], values)

    @staticmethod
    def part(counts: tuple[int, int, int]) -> int:
        """How many elements of a lane one part has: fewer only if there are few lanes and they are long."""
        a, r, b = counts
        least = 16 * memory.width()
        if a * b >= MOST_PARTS or r <= least:
            return max(r, 1)
        return max(least, -(-r // MOST_PARTS))


@dataclass
class OneLaunch:
    """A kernel along dims that is never cut into parts."""

    kernel: Lanes
    operands: tuple[int, ...]
    values: Callable[[Sequence[int]], list[float]]

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        yield from self.kernel.kernels()

    def launch(self, words: Sequence[int]) -> None:
        """Run it on the words of a lanes command."""
        addresses = [words[DST], *(words[i] for i in self.operands)]
        self.kernel.launch((words[A], words[R], words[B]), addresses, self.values(words))


def _number(bits: int) -> float:
    return struct.unpack("d", struct.pack("q", bits))[0]


def _no_values(words: Sequence[int]) -> list[float]:
    return []


# ---------------------------------------------------------------- folds to one value
#: The smallest and the largest number of each dtype, as texts.
LOWEST = {d.code: "-1e309" for d in dtypes.ALL if d.is_floating_point}
HIGHEST = {d.code: "1e309" for d in dtypes.ALL if d.is_floating_point}
for _d in dtypes.ALL:
    if not _d.is_floating_point:
        _bits = 8 * _d.itemsize - (1 if _d.is_signed else 0)
        _most = 1 if _d is dtypes.bool else (1 << _bits) - 1
        HIGHEST[_d.code] = str(_most)
        LOWEST[_d.code] = f"-{_most} - 1" if _d.is_signed else "0"


def _reduction(
    name: str, dtype: int, acc: int, fold: tuple[str, str, str], write: str, result: int
) -> Reduction:
    start, each, join = fold
    values = ["n", "p"]
    kind = f"{name}_{dtypes.ALL[dtype].name}"

    def kernel(suffix: str, x: int, text: str, end: str, out: int) -> Lanes:
        folded = Fold("y", acc, start, text, join)
        return Lanes(f"{kind}{suffix}", acc, [("x", x)], [folded], end, out, values=values)

    return Reduction(
        kernel("", dtype, each, write, result),
        kernel("_parts", dtype, each, "y", acc),
        kernel("_rest", acc, "x", write, result),
    )


def _sum(name: str, write: str) -> Callable[[int], Any]:
    def make(dtype: int) -> Any:
        acc = dtype if dtype >= dtypes.FIRST_FLOAT else INT64
        return _reduction(name, dtype, acc, ("0", "x", "a + b"), write, acc)

    return make


def _prod(dtype: int) -> Any:
    acc = dtype if dtype >= dtypes.FIRST_FLOAT else INT64
    return _reduction("prod", dtype, acc, ("1", "x", "a * b"), "y", acc)


def _extreme(name: str, join: str, start: dict[int, str]) -> Callable[[int], Any]:
    return lambda dtype: _reduction(
        name, dtype, dtype, (start[dtype], "x", f"{join}(a, b)"), "y", dtype
    )


def _truth(name: str, start: str, join: str) -> Callable[[int], Any]:
    def make(dtype: int) -> Any:
        result = dtypes.uint8.code if dtype == dtypes.uint8.code else dtypes.bool.code
        fold = Fold("y", result, start, "where(x != 0, 1, 0)", join)
        return OneLaunch(
            Lanes(f"{name}_{dtypes.ALL[dtype].name}", dtype, [("x", dtype)], [fold], "y", result),
            (X,),
            _no_values,
        )

    return make


def _position(name: str, join: str, start: dict[int, str]) -> Callable[[int], Any]:
    def make(dtype: int) -> Any:
        most = Fold("m", dtype, start[dtype], "x", f"{join}(a, b)")
        where = Fold(
            "y",
            INT64,
            HIGHEST[INT64],
            f"where((x == m) | ((x != x) & (m != m)), r, {HIGHEST[INT64]})",
            "minimum(a, b)",
        )
        kind = f"{name}_{dtypes.ALL[dtype].name}"
        return OneLaunch(
            Lanes(kind, dtype, [("x", dtype)], [most, where], "y", INT64), (X,), _no_values
        )

    return make


# ---------------------------------------------------------------- several folds
def _spread(name: str, write: str) -> Callable[[int], Any]:
    def make(dtype: int) -> Any:
        folds = [
            Fold("t", dtype, "0", "x", "a + b"),
            Fold("s", dtype, "0", "d = x - t / n; d * d", "a + b"),
        ]
        return OneLaunch(
            Lanes(
                f"{name}_{dtypes.ALL[dtype].name}",
                dtype,
                [("x", dtype)],
                folds,
                write,
                dtype,
                values=["n", "p"],
            ),
            (X,),
            lambda words: [float(words[R]), _number(words[ATTR])],
        )

    return make


@dataclass
class Norm:
    """A vector norm: what is folded depends on its order."""

    dtype: int

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        for made in _norms(self.dtype).values():
            yield from made.kernels()

    def launch(self, words: Sequence[int]) -> None:
        """Run it on the words of a lanes command."""
        order = _number(words[ATTR])
        self.kernel(order).launch(words)

    def kernel(self, order: float) -> Any:
        """The kernel of an order."""
        known = {0.0: "zero", 1.0: "one", 2.0: "two", float("inf"): "most", -float("inf"): "least"}
        return _norms(self.dtype)[known.get(order, "any")]


_NORMS = {
    "zero": ("0", "where(x != 0, 1, 0)", "a + b", "y"),
    "one": ("0", "abs(x)", "a + b", "y"),
    "two": ("0", "x * x", "a + b", "sqrt(y)"),
    "most": ("0", "abs(x)", "maximum(a, b)", "y"),
    "least": ("1e309", "abs(x)", "minimum(a, b)", "y"),
    "any": ("0", "pow(abs(x), p)", "a + b", "pow(y, 1 / p)"),
}
_made_norms: dict[int, dict[str, Any]] = {}


def _norms(dtype: int) -> dict[str, Any]:
    if dtype not in _made_norms:
        _made_norms[dtype] = {
            kind: _reduction(f"norm_{kind}", dtype, dtype, (start, each, join), write, dtype)
            for kind, (start, each, join, write) in _NORMS.items()
        }
    return _made_norms[dtype]


def _largest(dtype: int) -> Fold:
    return Fold("m", dtype, "-1e309", "x", "maximum(a, b)")


# Where the largest is infinite nothing is subtracted: inf - inf would be NaN.
_EXPONENTIALS = ("0", "exp(x - where(isinf(m), 0, m))", "a + b")


def _logsumexp(dtype: int) -> Any:
    folds = [_largest(dtype), Fold("s", dtype, *_EXPONENTIALS)]
    write = "where(isinf(m), m, log(s) + m)"
    return OneLaunch(
        Lanes(f"logsumexp_{dtypes.ALL[dtype].name}", dtype, [("x", dtype)], folds, write, dtype),
        (X,),
        _no_values,
    )


def _soft(name: str, write: str) -> Callable[[int], Any]:
    def make(dtype: int) -> Any:
        folds = [_largest(dtype), Fold("s", dtype, "0", "exp(x - m)", "a + b")]
        kind = f"{name}_{dtypes.ALL[dtype].name}"
        return OneLaunch(
            Lanes(kind, dtype, [("x", dtype)], folds, write, dtype, whole=True), (X,), _no_values
        )

    return make


def _soft_dx(name: str, each: str, write: str) -> Callable[[int], Any]:
    def make(dtype: int) -> Any:
        folds = [Fold("s", dtype, "0", each, "a + b")]
        kind = f"{name}_{dtypes.ALL[dtype].name}_dx"
        operands = [("g", dtype), ("y", dtype)]
        return OneLaunch(
            Lanes(kind, dtype, operands, folds, write, dtype, whole=True), (G, Y), _no_values
        )

    return make


#: The kernels of ops along dims by the op's name: forward, and the gradient where it is no formula.
FORWARD: dict[str, Callable[[int], Any]] = {
    "sum": _sum("sum", "y"),
    "mean": _sum("mean", "y / n"),
    "prod": _prod,
    "amax": _extreme("amax", "maximum", LOWEST),
    "amin": _extreme("amin", "minimum", HIGHEST),
    "max": _extreme("max", "maximum", LOWEST),
    "min": _extreme("min", "minimum", HIGHEST),
    "argmax": _position("argmax", "maximum", LOWEST),
    "argmin": _position("argmin", "minimum", HIGHEST),
    "all": _truth("all", "1", "where((a != 0) & (b != 0), 1, 0)"),
    "any": _truth("any", "0", "where((a != 0) | (b != 0), 1, 0)"),
    "var": _spread("var", "s / maximum(n - p, 0)"),
    "std": _spread("std", "sqrt(s / maximum(n - p, 0))"),
    "norm": Norm,
    "logsumexp": _logsumexp,
    "softmax": _soft("softmax", "exp(x - m) / s"),
    "log_softmax": _soft("log_softmax", "x - m - log(s)"),
}
BACKWARD: dict[str, Callable[[int], Any]] = {
    "softmax": _soft_dx("softmax", "g * y", "(g - s) * y"),
    "log_softmax": _soft_dx("log_softmax", "g", "g - exp(y) * s"),
}


# ---------------------------------------------------------------- gradients of what was broadcast
_sums: dict[int, Reduction] = {}
_scales: dict[int, Pointwise] = {}


def sum_to(plan: Plan, m: int, uniform: bool) -> None:
    """Sum operand 0 over the dims along which operand 1, of ``m`` elements, stands still.

    Where the operand is ``uniform`` its one element counts as often as it stands there.
    """
    source, out = plan.operands
    dtype = dtypes.float32.code if plan.sizes[0] == 4 else dtypes.float64.code
    if m == 0:
        return
    if plan.n == 0 or uniform:
        if dtype not in _scales:
            name = f"scale_{dtypes.ALL[dtype].name}"
            _scales[dtype] = Pointwise(name, "x * z", [("x", dtype), ("z", dtype)], dtype, dtype)
        times = float(plan.n) / m
        bits = struct.pack("<f" if dtype == dtypes.float32.code else "<d", times).ljust(8, b"\0")
        number = Operand(struct.unpack("<q", bits)[0], True, (0,))
        # Without elements to read, the number itself, 0, stands for the source.
        read = number if plan.n == 0 else Operand(source.address, False, (0,))
        _scales[dtype].launch(m, (m,), Operand(out.address, False, (1,)), [read, number])
        return
    if dtype not in _sums:
        _sums[dtype] = FORWARD["sum"](dtype)
    shape = list(plan.shape)
    summed = [d for d, step in enumerate(out.strides) if step == 0 and shape[d] != 1]
    if not summed:
        # Nothing was broadcast after all: a sum along a dim of size 1 is a copy.
        _sums[dtype].run((m, 1, 1), source.address, out.address, [0.0, 0.0])
        return
    address = source.address
    item = dtypes.ALL[dtype].itemsize
    for i, d in enumerate(summed):
        a, b = _product(shape[:d]), _product(shape[d + 1 :])
        last = i == len(summed) - 1
        to = out.address if last else memory.scratch(a * b * item, 1 + i % 2)
        _sums[dtype].run((a, shape[d], b), address, to, [0.0, 0.0])
        shape[d] = 1
        address = to


def _product(sizes: Sequence[int]) -> int:
    n = 1
    for size in sizes:
        n *= size
    return n
