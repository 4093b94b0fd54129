"""Kernels with a thread for each element: a text says what is done for element ``i``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jitgrad import dtypes
from jitgrad.cuda import launching
from jitgrad.cuda.geometry import Geometry
from jitgrad.cuda.kernel import Argument, Kernel, Pointer, made
from jitgrad.cuda.target import CASTS, FLOAT64, INT64

#: What a parameter is, by the word before its name; ``T`` is the kernel's dtype.
_KINDS: dict[str, Argument] = {
    "int": INT64,
    "real": FLOAT64,
    "int*": Pointer(INT64),
    "real*": Pointer(FLOAT64),
}


def accumulator(dtype: int) -> int:
    """The dtype in which sums are made: floats in their own, all else in int64."""
    return dtype if dtype >= dtypes.FIRST_FLOAT else INT64


class Each:
    """A kernel over ``n`` elements.

    ``parameters`` reads like ``"T* out, int* names, int K, real alpha"``.  The text may call ``T`` (a cast
    to the dtype), ``A`` (to that of sums), ``L`` (to int64) and what ``space`` holds.  Numbers in it that
    meet floats are written as ``T(1)``: alone they would be float64.
    """

    def __init__(
        self, name: str, dtype: int, parameters: str, text: str, space: dict[str, Any] | None = None
    ) -> None:
        words = [part.split() for part in parameters.split(",")]
        kinds = {**_KINDS, "T*": Pointer(dtype), "A*": Pointer(accumulator(dtype))}
        lines = [
            f"def kernel(_n, {', '.join(name for _, name in words)}):",
            " i = cuda.grid(1)",
            " _step = cuda.gridsize(1)",
            " while i < _n:",
            *(f"  {line}" for line in text.strip("\n").splitlines()),
            "  i += _step",
        ]
        space = {
            "T": CASTS[dtype],
            "A": CASTS[accumulator(dtype)],
            "L": CASTS[INT64],
            **(space or {}),
        }
        signature = (INT64, *(kinds[kind] for kind, _ in words))
        full = f"{name}_{dtypes.ALL[dtype].name}"
        self.kernel = Kernel(full, made("\n".join(lines), "kernel", space), signature)

    def launch(self, n: int, *arguments: int | float) -> None:
        """Run it for ``n`` elements."""
        if n > 0:
            self.kernel.launch(*launching.over(n), [n, *arguments])


#: Computes an op's result: dtype of the kernels, the rows of result and inputs, attributes.
Run = Callable[[int, Geometry, Sequence[Geometry], Sequence[int]], None]


@dataclass(frozen=True)
class Launcher:
    """An explicit op for a dtype: how it is launched, and which kernels that takes."""

    dtype: int
    run: Run
    made: tuple[Callable[[int], Each], ...]
    places: tuple[Callable[[int], Each], ...] = ()

    def launch(self, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
        """Launch it for rows of the arena."""
        self.run(self.dtype, out, inputs, attributes)

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        for make in self.made:
            yield make(self.dtype).kernel
        for make in self.places:
            yield make(INT64).kernel


def only_floats(make: Callable[[int], Any]) -> Callable[[int], Any]:
    """What makes the launcher of an op that integers do not have."""
    return lambda dtype: make(dtype) if dtype >= dtypes.FIRST_FLOAT else None


def launcher(
    run: Run, *made: Callable[[int], Each], places: tuple[Callable[[int], Each], ...] = ()
) -> Callable[[int], Launcher]:
    """What makes the launcher of an op for a dtype; kernels in ``places`` work on positions, in int64."""
    return lambda dtype: Launcher(dtype, run, made, places)
