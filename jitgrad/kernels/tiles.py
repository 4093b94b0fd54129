"""Register tiles: the loops that convolutions spend their time in, in LLVM's own language.

LLVM vectorises plain loops, but it does not keep a block of sums in vector registers while it walks along
the terms, which is what makes a product of matrices fast.  So these few loops are built instruction by
instruction, on vectors as wide as the processor's, for float32 and float64.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from jitgrad.dtypes import ALL

_FEATURES = llvm.get_host_cpu_features()
#: Bytes of a vector register, and whether there are 32 of them (else 16).
WIDTH = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx") else 16
_MANY = WIDTH == 64 or not _FEATURES.get("sse2")

#: A product tile is ROWS x COLUMNS vectors of sums; a tap tile has TAPS rows.
ROWS, COLUMNS = (8, 3) if _MANY else (4, 3)
TAPS = 6
#: How many vectors wide a tap tile may be.
SPANS = (1, 2, 4) if _MANY else (1, 2)

_WORD = ir.IntType(64)


def lanes(dtype: int) -> int:
    """Elements of a vector."""
    return WIDTH // ALL[dtype].itemsize


def _element(dtype: int) -> ir.Type:
    return ir.FloatType() if ALL[dtype].itemsize == 4 else ir.DoubleType()


class _Code:
    """Instructions on vectors of one dtype."""

    def __init__(self, builder: ir.IRBuilder, dtype: int) -> None:
        self.builder = builder
        self.size = ALL[dtype].itemsize
        self.lanes = lanes(dtype)
        self.element = _element(dtype)
        self.vector = ir.VectorType(self.element, self.lanes)

    def word(self, n: int) -> ir.Constant:
        return ir.Constant(_WORD, n)

    def pointer(self, address: ir.Value, displacement: int, to: ir.Type) -> ir.Value:
        b = self.builder
        place = b.inttoptr(address, ir.PointerType(self.element))
        place = b.gep(place, [self.word(displacement)])
        return b.bitcast(place, ir.PointerType(to))

    def load(self, address: ir.Value, displacement: int = 0) -> ir.Value:
        return self.builder.load(self.pointer(address, displacement, self.vector), align=self.size)

    def store(self, value: ir.Value, address: ir.Value, displacement: int = 0) -> None:
        place = self.pointer(address, displacement, self.vector)
        self.builder.store(value, place, align=self.size)

    def everywhere(self, address: ir.Value, displacement: int = 0) -> ir.Value:
        """The element at an address in all lanes."""
        b = self.builder
        one = b.load(self.pointer(address, displacement, self.element), align=self.size)
        return self.splat(one)

    def splat(self, value: ir.Value) -> ir.Value:
        b = self.builder
        vector = ir.VectorType(value.type, self.lanes)
        one = b.insert_element(
            ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return b.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

    def multiply_add(self, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
        # "contract": one instruction where the processor has it.
        build = self.builder
        product = build.fmul(a, b, flags=["contract"])
        return build.fadd(total, product, flags=["contract"])

    def loop(
        self,
        count: ir.Value,
        values: list[ir.Value],
        body: Callable[[list[ir.Value]], list[ir.Value]],
    ) -> list[ir.Value]:
        """Run ``body`` ``count`` times on values that it replaces; what they are in the end."""
        b = self.builder
        before = b.block
        head = b.append_basic_block("tile")
        tail = b.append_basic_block("tiled")
        some = b.icmp_signed(">", count, self.word(0))
        b.cbranch(some, head, tail)
        b.position_at_end(head)
        left = b.phi(_WORD)
        phis = [b.phi(v.type) for v in values]
        left.add_incoming(count, before)
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, before)
        after = body(phis)
        fewer = b.sub(left, self.word(1))
        end = b.block
        left.add_incoming(fewer, end)
        for phi, value in zip(phis, after, strict=True):
            phi.add_incoming(value, end)
        b.cbranch(b.icmp_signed(">", fewer, self.word(0)), head, tail)
        b.position_at_end(tail)
        results = []
        for value, new in zip(values, after, strict=True):
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phi.add_incoming(new, end)
            results.append(phi)
        return results


@cache
def product_tile(dtype: int) -> Any:
    """Jitted ``c[r, j] += sum over k of a[k, r] * b[k, j]``: ``tile(a, b, n, c)`` with n terms.

    Addresses; r counts ROWS, j COLUMNS vectors, all contiguous.  The new terms are added up before they
    are added to what stands in c, so that a long sum taken in pieces is more exact than one in a row.
    """

    @intrinsic
    def tile(typingctx: Any, a: Any, b: Any, n: Any, c: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Code(builder, dtype)
            a, b, n, c = args
            v, size = code.lanes, code.size
            sums = [ir.Constant(code.vector, None)] * (ROWS * COLUMNS)

            def body(values: list[ir.Value]) -> list[ir.Value]:
                at, bt, *totals = values
                columns = [code.load(bt, j * v) for j in range(COLUMNS)]
                new = []
                for r in range(ROWS):
                    one = code.everywhere(at, r)
                    for j in range(COLUMNS):
                        new.append(code.multiply_add(one, columns[j], totals[r * COLUMNS + j]))
                at = builder.add(at, code.word(ROWS * size))
                bt = builder.add(bt, code.word(COLUMNS * v * size))
                return [at, bt, *new]

            _, _, *sums = code.loop(n, [a, b, *sums], body)
            for k, value in enumerate(sums):
                code.store(builder.fadd(code.load(c, k * v), value), c, k * v)
            return ir.Constant(_WORD, 0)

        word = types.int64
        return word(word, word, word, word), codegen

    return tile


@cache
def row_tile(dtype: int, rows: int, columns: int) -> Any:
    """Jitted ``c[r, j] = sum over k of a[r, k] * b[k, j]``: ``tile(a, rise, b, n, c, step)`` with n terms.

    r counts ``rows``, which lie ``rise`` bytes apart in a and ``step`` in c; j counts ``columns`` vectors,
    contiguous in b as in c.
    """

    @intrinsic
    def tile(typingctx: Any, a: Any, rise: Any, b: Any, n: Any, c: Any, step: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Code(builder, dtype)
            a, rise, b, n, c, step = args
            v, size = code.lanes, code.size
            below = [builder.mul(rise, code.word(r)) for r in range(rows)]
            sums = [ir.Constant(code.vector, None)] * (rows * columns)

            def body(values: list[ir.Value]) -> list[ir.Value]:
                at, bt, *totals = values
                across = [code.load(bt, j * v) for j in range(columns)]
                new = []
                for r in range(rows):
                    one = code.everywhere(builder.add(at, below[r]))
                    for j in range(columns):
                        new.append(code.multiply_add(one, across[j], totals[r * columns + j]))
                at = builder.add(at, code.word(size))
                bt = builder.add(bt, code.word(columns * v * size))
                return [at, bt, *new]

            _, _, *sums = code.loop(n, [a, b, *sums], body)
            for r in range(rows):
                row = builder.add(c, builder.mul(step, code.word(r)))
                for j in range(columns):
                    code.store(sums[r * columns + j], row, j * v)
            return ir.Constant(_WORD, 0)

        word = types.int64
        return word(*[word] * 6), codegen

    return tile


@cache
def tap_tile(dtype: int, span: int) -> Any:
    """Jitted ``c[t, j] += sum over p of x[p + tap[t]] * g[p, j]`` over lines of points:
    ``tile(x, taps, skip, g, lines, points, c)``.

    The points of a line are neighbours in x, and lines begin ``skip`` bytes apart; ``taps`` is the
    address of TAPS offsets in bytes; in g the ``span`` vectors of one point follow those of another.
    """

    @intrinsic
    def tile(
        typingctx: Any, x: Any, taps: Any, skip: Any, g: Any, lines: Any, points: Any, c: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Code(builder, dtype)
            x, taps, skip, g, lines, points, c = args
            v, size = code.lanes, code.size
            where = builder.inttoptr(taps, ir.PointerType(_WORD))
            offsets = [builder.load(builder.gep(where, [code.word(t)])) for t in range(TAPS)]
            sums = [code.load(c, k * v) for k in range(TAPS * span)]

            def point(values: list[ir.Value]) -> list[ir.Value]:
                xt, gt, *totals = values
                columns = [code.load(gt, j * v) for j in range(span)]
                new = []
                for t in range(TAPS):
                    one = code.everywhere(builder.add(xt, offsets[t]))
                    for j in range(span):
                        new.append(code.multiply_add(one, columns[j], totals[t * span + j]))
                xt = builder.add(xt, code.word(size))
                gt = builder.add(gt, code.word(span * v * size))
                return [xt, gt, *new]

            def line(values: list[ir.Value]) -> list[ir.Value]:
                start, *rest = values
                _, *rest = code.loop(points, [start, *rest], point)
                return [builder.add(start, skip), *rest]

            _, _, *sums = code.loop(lines, [x, g, *sums], line)
            for k, value in enumerate(sums):
                code.store(value, c, k * v)
            return ir.Constant(_WORD, 0)

        word = types.int64
        return word(*[word] * 7), codegen

    return tile


@cache
def copy_lanes(dtype: int, adding: bool = False) -> Any:
    """Jitted ``copy(dst, src, n)``: n elements, at most a vector of them, between addresses; or add them."""

    @intrinsic
    def copy(typingctx: Any, dst: Any, src: Any, n: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Code(builder, dtype)
            dst, src, n = args
            v = code.lanes
            counts = ir.Constant(ir.VectorType(_WORD, v), list(range(v)))
            mask = builder.icmp_signed("<", counts, code.splat(n))
            zero = ir.Constant(code.vector, None)
            align = ir.Constant(ir.IntType(32), code.size)
            place, to = (code.pointer(address, 0, code.vector) for address in (src, dst))
            name = f"v{v}f{code.size * 8}.p0"
            module = builder.module
            load = module.declare_intrinsic(
                f"llvm.masked.load.{name}",
                (),
                ir.FunctionType(code.vector, [place.type, align.type, mask.type, code.vector]),
            )
            value = builder.call(load, [place, align, mask, zero])
            if adding:
                value = builder.fadd(builder.call(load, [to, align, mask, zero]), value)
            store = module.declare_intrinsic(
                f"llvm.masked.store.{name}",
                (),
                ir.FunctionType(ir.VoidType(), [code.vector, place.type, align.type, mask.type]),
            )
            builder.call(store, [value, to, align, mask])
            return ir.Constant(_WORD, 0)

        word = types.int64
        return word(word, word, word), codegen

    return copy


@cache
def peak_lanes(dtype: int) -> Any:
    """Jitted ``peak(x, n)``: the largest of n full vectors at an address; NaNs are passed over."""

    @intrinsic
    def peak(typingctx: Any, x: Any, n: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Code(builder, dtype)
            lowest = ir.Constant(code.vector, [float("-inf")] * code.lanes)

            def larger(a: ir.Value, b: ir.Value) -> ir.Value:
                return builder.select(builder.fcmp_ordered(">", a, b), a, b)

            def body(values: list[ir.Value]) -> list[ir.Value]:
                at, best = values
                step = code.word(code.lanes * code.size)
                return [builder.add(at, step), larger(code.load(at), best)]

            _, best = code.loop(args[1], [args[0], lowest], body)
            half = code.lanes // 2
            index = ir.IntType(32)
            while half:
                turned = [(i + half) % code.lanes for i in range(code.lanes)]
                mask = ir.Constant(ir.VectorType(index, code.lanes), turned)
                best = larger(builder.shuffle_vector(best, best, mask), best)
                half //= 2
            return builder.extract_element(best, ir.Constant(index, 0))

        ty = types.float32 if ALL[dtype].itemsize == 4 else types.float64
        return ty(types.int64, types.int64), codegen

    return peak
