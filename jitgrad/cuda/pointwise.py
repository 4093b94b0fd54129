"""Pointwise kernels of the GPU, made of the formulas of the op table.

A kernel has two forms: *flat*, where every operand lies in the order of the result, and *strided*, where
the place of an element is found from its number, dim by dim (a broadcast dim has stride 0).  An operand
that is a number of the host is an argument.  Forms are made when they are first launched.  Threads walk
over the elements in steps of the grid, so any number of elements is computed by any grid.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jitgrad import dtypes
from jitgrad.cuda import formulas, launching
from jitgrad.cuda.kernel import Argument, Kernel, Pointer, made
from jitgrad.cuda.target import CASTS, INT64


class Operand(NamedTuple):
    """An operand of a launch: its address (or the bits of a number) and its strides in elements."""

    address: int
    is_number: bool
    strides: tuple[int, ...]


def number(bits: int, dtype: int) -> int | float:
    """The number of a dtype in the low bytes of a word."""
    kind = dtypes.ALL[dtype]
    data = struct.pack("<q", bits)[: kind.itemsize]
    if kind.is_floating_point:
        return struct.unpack("<f" if kind.itemsize == 4 else "<d", data)[0]
    return int.from_bytes(data, "little", signed=kind.is_signed)


@dataclass
class Pointwise:
    """The kernel of a formula.

    Attributes
    ----------
    name : str
        Name in tables and traces.
    text : str
        The formula.
    operands : list of (str, int)
        Name and dtype code of each operand.
    dtype, result : int
        Codes of the dtype that is computed in, and of the result's.
    """

    name: str
    text: str
    operands: list[tuple[str, int]]
    dtype: int
    result: int
    _forms: dict[tuple[int, tuple[bool, ...]], Kernel] = field(default_factory=dict, repr=False)

    def kernels(self) -> Iterator[Kernel]:
        """The flat form, for the inventory."""
        yield self.form(0, (False,) * len(self.operands))

    def form(self, ndim: int, numbers: tuple[bool, ...]) -> Kernel:
        """The kernel over ``ndim`` dims (0: flat) where some operands are numbers."""
        key = (ndim, numbers)
        if key not in self._forms:
            self._forms[key] = self._made(ndim, numbers)
        return self._forms[key]

    def _made(self, ndim: int, numbers: tuple[bool, ...]) -> Kernel:
        signature: list[Argument] = [INT64, Pointer(self.result)]
        parameters = ["_n", "_out"]
        load = []
        for j, ((name, code), is_number) in enumerate(zip(self.operands, numbers, strict=True)):
            parameters.append(f"_p{j}")
            signature.append(code if is_number else Pointer(code))
            element = f"_p{j}" if is_number else f"_p{j}[_i{j}]" if ndim else f"_p{j}[_i]"
            load.append(f"{name} = {element}" + (" != 0" if code == dtypes.bool.code else ""))
        walk = []
        if ndim:
            strided = [j for j, is_number in enumerate(numbers) if not is_number]
            # The result's place is operand -1's.
            places = {-1: "_o"} | {j: f"_i{j}" for j in strided}
            for d in range(1, ndim):
                parameters.append(f"_s{d}")
            for j in places:
                parameters += [f"_t{'o' if j < 0 else j}_{d}" for d in range(ndim)]
            signature += [INT64] * (ndim - 1 + len(places) * ndim)
            walk.append("_rest = _i")
            for d in reversed(range(ndim)):
                if d:
                    walk += [f"_up = _rest // _s{d}", f"_at = _rest - _up * _s{d}", "_rest = _up"]
                else:
                    walk.append("_at = _rest")
                for j, place in places.items():
                    step = f"_at * _t{'o' if j < 0 else j}_{d}"
                    walk.append(f"{place} = {step}" if d == ndim - 1 else f"{place} += {step}")
        value = "_value"
        if self.result == dtypes.bool.code:
            value = "_value != 0"
        elif self.dtype >= dtypes.FIRST_FLOAT > self.result:
            # Through int64, as on the CPU: a cast of an out-of-range value to a narrow type is undefined.
            value = "_W(_value)"
        body = [*walk, *load, *formulas.lines(self.text, self.dtype)]
        body.append(f"_out[{'_o' if ndim else '_i'}] = _R({value})")
        lines = [
            f"def kernel({', '.join(parameters)}):",
            " _i = cuda.grid(1)",
            " _step = cuda.gridsize(1)",
            " while _i < _n:",
            *(f"  {line}" for line in body),
            "  _i += _step",
        ]
        space = formulas.environment(self.dtype)
        space |= {"_R": CASTS[self.result], "_W": CASTS[INT64]}
        name = f"{self.name}{f' strided {ndim}' if ndim else ''}"
        return Kernel(name, made("\n".join(lines), "kernel", space), tuple(signature))

    def launch(
        self, n: int, shape: Sequence[int], out: Operand, operands: Sequence[Operand]
    ) -> None:
        """Compute ``n`` elements of the result, whose dims are ``shape``."""
        if n == 0:
            return
        dense = _dense(shape)
        numbers = tuple(o.is_number for o in operands)
        arguments: list[int | float] = [n, out.address]
        for operand, (_, code) in zip(operands, self.operands, strict=True):
            arguments.append(
                number(operand.address, code) if operand.is_number else operand.address
            )
        walked = [out, *(o for o in operands if not o.is_number)]
        flat = all(o.strides == dense for o in walked)
        if not flat:
            arguments += shape[1:]
            for o in walked:
                arguments += o.strides
        kernel = self.form(0 if flat else len(shape), numbers)
        kernel.launch(*launching.over(n), arguments)


def _dense(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
