"""Kernels along dims: each lane is folded once or several times, then a value or one per element is written.

The arena shows an op along dims its operands as contiguous (A, R, B): a lane is (a, b), its elements are r.
There are two forms.  Where B is 1 the threads of a block share a lane: each folds every so-manieth element,
and what they have found is joined pairwise in shared memory, in an order that never changes.  Otherwise a
thread has a lane of its own and neighbours read neighbouring elements.

A lane may be cut into S parts of C elements, as if the operand were (A, S, C, B); a second launch joins the
parts.  The texts are formulas (`jitgrad.kernels.formula`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jitgrad import dtypes
from jitgrad.cuda import formulas, launching, memory
from jitgrad.cuda.kernel import Argument, Kernel, Pointer, made
from jitgrad.cuda.target import CASTS, INT64


class Fold(NamedTuple):
    """One walk along a lane: ``name`` becomes the join of ``each`` over the elements, from ``start`` on.

    ``each`` reads the operands, earlier folds and ``r``, the position; ``join`` joins ``a`` and ``b``.
    """

    name: str
    dtype: int
    start: str
    each: str
    join: str


@dataclass
class Lanes:
    """A kernel along dims.

    Attributes
    ----------
    name : str
        Name in tables and traces.
    dtype : int
        Code of the dtype that ``write`` computes in and that the operands are cast to.
    elements, singles : list of (str, int)
        Operands with a value for each element, and for each lane, and their dtypes.
    values : list of str
        Numbers (float64) that the texts read.
    folds : list of Fold
        The walks, in order.
    write : str
        What is written: for each element if ``whole``, else for each lane.
    result : int
        Code of the result's dtype.
    """

    name: str
    dtype: int
    elements: list[tuple[str, int]]
    folds: list[Fold]
    write: str
    result: int
    singles: list[tuple[str, int]] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    whole: bool = False
    _forms: dict[bool, Kernel] = field(default_factory=dict, repr=False)

    def form(self, together: bool) -> Kernel:
        """The kernel in which a block shares a lane, or a thread has its own."""
        if together not in self._forms:
            self._forms[together] = self._made(together)
        return self._forms[together]

    def launch(
        self,
        counts: tuple[int, int, int],
        addresses: Sequence[int],
        values: Sequence[float] = (),
        part: int | None = None,
    ) -> None:
        """Run it over (A, R, B): ``addresses`` of the result, the elements, the singles.

        ``part`` is how many elements of a lane a part has, all unless told.
        """
        a, r, b = counts
        part = max(r, 1) if part is None else part
        parts = max(1, -(-r // part))
        lanes = a * parts * b
        if lanes == 0:
            return
        together = b == 1
        shape = launching.lanes(lanes) if together else launching.over(lanes)
        self.form(together).launch(*shape, [lanes, r, b, parts, part, *addresses, *values])

    def _made(self, together: bool) -> Kernel:
        signature: list[Argument] = [INT64] * 5
        signature += [Pointer(self.result)]
        signature += [Pointer(code) for _, code in [*self.elements, *self.singles]]
        signature += [dtypes.float64.code] * len(self.values)
        names = [name for name, _ in [*self.elements, *self.singles]]
        parameters = ["_lanes", "_R", "_B", "_S", "_C", "_out", *(f"_p_{n}" for n in names)]
        parameters += [f"_v_{n}" for n in self.values]
        space: dict[str, Any] = {"_W": CASTS[self.result], "_L": CASTS[INT64]}
        first, step = ("cuda.threadIdx.x", "_width") if together else ("0", "1")
        lines = [
            f"def kernel({', '.join(parameters)}):",
            *(f" {n} = _T0(_v_{n})" for n in self.values),
        ]
        space["_T0"] = CASTS[self.dtype]
        if together:
            space["_width"] = memory.width()
            lines += [" _lane = _L(cuda.blockIdx.x)", " _step = _L(cuda.gridDim.x)"]
            lines.append(" _me = cuda.threadIdx.x")
        else:
            lines += [" _lane = cuda.grid(1)", " _step = cuda.gridsize(1)"]
        for k, fold in enumerate(self.folds):
            space[f"_T{k + 1}"] = CASTS[fold.dtype]
            if together:
                lines.append(f" _sh{k} = cuda.shared.array(_width, _T{k + 1})")
        body = ["_rest = _lane // _B", "_b = _lane - _rest * _B", "_a = _rest // _S"]
        body.append("_begin = (_rest - _a * _S) * _C")
        body.append("_end = min(_begin + _C, _R)")
        body += [f"{n} = {self._loaded(n, code, '_lane')}" for n, code in self.singles]
        for k, fold in enumerate(self.folds):
            body += self._fold(k, fold, first, step, together)
        if self.whole:
            body += [f"_r = _begin + {first}", "while _r < _end:"]
            body += [f" {line}" for line in self._place()]
            body += [f" {line}" for line in _typed(self.write, self.dtype, "_T0")]
            body += [" _out[_i] = _W(_value)", f" _r += {step}"]
        else:
            written = [*_typed(self.write, self.dtype, "_T0"), "_out[_lane] = _W(_value)"]
            if self.result == dtypes.bool.code:
                written[-1] = "_out[_lane] = _W(_value != 0)"
            if together:
                body += ["if _me == 0:", *(f" {line}" for line in written)]
            else:
                body += written
        lines += [" while _lane < _lanes:", *(f"  {line}" for line in body), "  _lane += _step"]
        for code in {self.dtype, *(fold.dtype for fold in self.folds)}:
            found = formulas.environment(code)
            found.pop("_T")
            space |= found
        name = f"{self.name}{' together' if together else ''}"
        return Kernel(name, made("\n".join(lines), "kernel", space), tuple(signature))

    def _loaded(self, name: str, code: int, place: str) -> str:
        if code == dtypes.bool.code:
            return f"_T0(_p_{name}[{place}] != 0)"
        return f"_T0(_p_{name}[{place}])"

    def _place(self) -> list[str]:
        place = ["_i = (_a * _R + _r) * _B + _b"]
        return place + [f"{n} = {self._loaded(n, code, '_i')}" for n, code in self.elements]

    def _fold(self, k: int, fold: Fold, first: str, step: str, together: bool) -> list[str]:
        t = f"_T{k + 1}"
        lines = [*_typed(fold.start, fold.dtype, t), f"{fold.name} = {t}(_value)"]
        lines += [f"_r = _begin + {first}", "while _r < _end:"]
        lines += [f" {line}" for line in self._place()]
        lines += [f" {line}" for line in ["r = _r", *_typed(fold.each, fold.dtype, t)]]
        lines += [f" a = {fold.name}", f" b = {t}(_value)"]
        lines += [f" {line}" for line in _typed(fold.join, fold.dtype, t)]
        lines += [f" {fold.name} = {t}(_value)", f" _r += {step}"]
        if together:
            lines += [f"_sh{k}[_me] = {fold.name}", "cuda.syncthreads()", "_w = _width // 2"]
            lines += ["while _w > 0:", " if _me < _w:", f"  a = _sh{k}[_me]"]
            lines += [f"  b = _sh{k}[_me + _w]"]
            lines += [f"  {line}" for line in _typed(fold.join, fold.dtype, t)]
            lines += [f"  _sh{k}[_me] = {t}(_value)", " cuda.syncthreads()", " _w = _w // 2"]
            lines += [f"{fold.name} = _sh{k}[0]", "cuda.syncthreads()"]
        return lines


def _typed(text: str, dtype: int, cast: str) -> list[str]:
    return [line.replace("_T(", f"{cast}(") for line in formulas.lines(text, dtype)]
