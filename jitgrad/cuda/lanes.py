"""Kernels along dims: each lane is folded once or several times, then a value or one per element is written.

The arena shows an op along dims its operands as contiguous (A, R, B): a lane is (a, b), its elements are r.
There are two forms.  Where B is 1 the threads of a block share a lane: each folds every so-manieth element,
and what they have found is joined pairwise, in an order that never changes.  Otherwise a
thread has a lane of its own and neighbours read neighbouring elements.

A lane may be cut into S parts of C elements, as if the operand were (A, S, C, B); a second launch joins the
parts.  The texts are formulas (`jitgrad.kernels.formula`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jitgrad import dtypes
from jitgrad.cuda import formulas, launching, memory
from jitgrad.cuda.kernel import Argument, Kernel, Pointer, made
from jitgrad.cuda.target import CASTS, INT64, SIMULATED


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
    alongs : list of (str, int)
        Operands with a value for each place of a lane, the same for all lanes.
    numbers : list of str
        Integers that ``load`` reads.
    load : list of str, optional
        Code that gives the elements their values, from the pointers ``_p_name``, where a lane's elements
        are not (A, R, B): ``_lane`` or ``_a`` and ``_b`` say which lane it is, ``_r`` which element.
    more : list of str
        What else is written for each lane, each in a row of results of its own.
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
    alongs: list[tuple[str, int]] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    load: list[str] | None = None
    more: list[str] = field(default_factory=list)
    _forms: dict[bool, Kernel] = field(default_factory=dict, repr=False)

    def form(self, together: bool) -> Kernel:
        """The kernel in which a block shares a lane, or a thread has its own."""
        if together not in self._forms:
            self._forms[together] = self._made(together)
        return self._forms[together]

    def kernels(self) -> Iterator[Kernel]:
        """Both forms, for the inventory."""
        yield self.form(True)
        yield self.form(False)

    def launch(
        self,
        counts: tuple[int, int, int],
        addresses: Sequence[int],
        values: Sequence[float] = (),
        part: int | None = None,
        numbers: Sequence[int] = (),
    ) -> None:
        """Run it over (A, R, B): ``addresses`` of the result, the elements, the singles, the alongs.

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
        arguments = [lanes, r, b, parts, part, *addresses, *values, *numbers]
        self.form(together).launch(*shape, arguments)

    def _made(self, together: bool) -> Kernel:
        signature: list[Argument] = [INT64] * 5
        signature += [Pointer(self.result)]
        operands = [*self.elements, *self.singles, *self.alongs]
        signature += [Pointer(code) for _, code in operands]
        signature += [dtypes.float64.code] * len(self.values) + [INT64] * len(self.numbers)
        names = [name for name, _ in operands]
        parameters = ["_lanes", "_R", "_B", "_S", "_C", "_out", *(f"_p_{n}" for n in names)]
        parameters += [*(f"_v_{n}" for n in self.values), *self.numbers]
        space: dict[str, Any] = {"_W": CASTS[self.result], "_L": CASTS[INT64]}
        space["_N"] = CASTS[dtypes.int32.code]
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
            value = "_value != 0" if self.result == dtypes.bool.code else "_value"
            written = []
            for k, text in enumerate([self.write, *self.more]):
                row = f" + {k} * _lanes" if k else ""
                written += [*_typed(text, self.dtype, "_T0"), f"_out[_lane{row}] = _W({value})"]
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
        along = [f"{n} = {self._loaded(n, code, '_r')}" for n, code in self.alongs]
        if self.load is not None:
            return self.load + along
        place = ["_i = (_a * _R + _r) * _B + _b"]
        place += [f"{n} = {self._loaded(n, code, '_i')}" for n, code in self.elements]
        return place + along

    def _fold(self, k: int, fold: Fold, first: str, step: str, together: bool) -> list[str]:
        t = f"_T{k + 1}"
        lines = [*_typed(fold.start, fold.dtype, t), f"{fold.name} = {t}(_value)"]
        lines += [f"_r = _begin + {first}", "while _r < _end:"]
        lines += [f" {line}" for line in self._place()]
        lines += [f" {line}" for line in ["r = _r", *_typed(fold.each, fold.dtype, t)]]
        lines += [f" a = {fold.name}", f" b = {t}(_value)"]
        lines += [f" {line}" for line in _typed(fold.join, fold.dtype, t)]
        lines += [f" {fold.name} = {t}(_value)", f" _r += {step}"]
        return [*lines, *_joined(k, fold, t)] if together else lines


def _joined(k: int, fold: Fold, t: str) -> list[str]:
    """Join what the threads of a block have found, each with the one half as far away at every step.

    The last steps, within a warp, go from register to register on a GPU; the simulator has no shuffles and
    takes them through shared memory as well.  Pairs and order are the same.
    """
    warp = 0 if SIMULATED else 32
    join = _typed(fold.join, fold.dtype, t)
    lines = [f"_sh{k}[_me] = {fold.name}", "cuda.syncthreads()", "_w = _width // 2"]
    lines += [f"while _w > {warp // 2}:", " if _me < _w:", f"  a = _sh{k}[_me]"]
    lines += [f"  b = _sh{k}[_me + _w]", *(f"  {line}" for line in join)]
    lines += [f"  _sh{k}[_me] = {t}(_value)", " cuda.syncthreads()", " _w = _w // 2"]
    if warp:
        # Shuffles move 4 or 8 bytes.
        narrow = dtypes.ALL[fold.dtype].itemsize < 4
        moved = "_N(_own)" if narrow else "_own"
        lines += [f"if _me < {warp}:", f" _own = _sh{k}[_me]", " while _w > 0:", "  a = _own"]
        lines += [f"  b = {t}(cuda.shfl_down_sync(0xFFFFFFFF, {moved}, _w))"]
        lines += [f"  {line}" for line in join]
        lines += [f"  _own = {t}(_value)", "  _w = _w // 2"]
        lines += [" if _me == 0:", f"  _sh{k}[0] = _own", "cuda.syncthreads()"]
    return [*lines, f"{fold.name} = _sh{k}[0]", "cuda.syncthreads()"]


def _typed(text: str, dtype: int, cast: str) -> list[str]:
    return [line.replace("_T(", f"{cast}(") for line in formulas.lines(text, dtype)]
