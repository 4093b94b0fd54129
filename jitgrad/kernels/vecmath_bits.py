"""LLVM primitives that the vector math functions are written with.

Each is one LLVM instruction or intrinsic with a vector form, so a loop around it still vectorises:

- ``fma`` rounds once whatever the fast-math flags are; error-free transforms rest on that;
- ``select`` evaluates both sides, which Python's ``a if c else b`` does not promise;
- ``poly`` is a whole Horner chain from a tuple of constants. One call instead of a dozen Python
  operations keeps type inference, and with it compile time, short;
- the bit casts keep float32 work in 32-bit integers (Numba widens ``int32 + int32`` to int64, so
  ``low32`` cuts results back; LLVM then narrows the arithmetic before it).

All are plain LLVM: no libm (where the CPU has FMA), no CPU-only instruction, but for ``ldexp``, which
is for processors that have one for it (``SCALES``).  For CUDA it remains to be tried whether NVVM takes
``llvm.rint`` (in pow alone) and ``llvm.copysign``.
"""

import llvmlite.binding
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

# How the parts of the vector functions are compiled: always inlined, or a loop around them would
# not vectorise; no fast-math flags, whatever the caller's are, since exact sums must stay as
# written; no exceptions and no reference counts.
helper = njit(forceinline=True, error_model="numpy", _nrt=False)

# Whether there is an instruction for x * 2^n, rounded once; else LLVM calls libm for each element.
SCALES = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))

# Latency of one long chain, not its work, limits a loop from about this many coefficients on.
TWO_CHAINS = 8


def _bitcast(source, target):
    """Return a code generator that reinterprets the bits of `source` as `target`."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(target))

    return target(source), codegen


@intrinsic
def bits32(typingctx, x):
    """Bits of a float32 as int32."""
    return _bitcast(types.float32, types.int32)


@intrinsic
def float32_from_bits(typingctx, i):
    """Float32 with the bits of an int32."""
    return _bitcast(types.int32, types.float32)


@intrinsic
def bits64(typingctx, x):
    """Bits of a float64 as int64."""
    return _bitcast(types.float64, types.int64)


@intrinsic
def float64_from_bits(typingctx, i):
    """Float64 with the bits of an int64."""
    return _bitcast(types.int64, types.float64)


@intrinsic
def low32(typingctx, i):
    """Low 32 bits of an integer as int32."""

    def codegen(context, builder, signature, args):
        i32 = ir.IntType(32)
        return args[0] if args[0].type == i32 else builder.trunc(args[0], i32)

    return types.int32(i), codegen


def _unary(name, x):
    """Return signature and code generator of a float to float LLVM intrinsic."""
    if not isinstance(x, types.Float):
        return None

    def codegen(context, builder, signature, args):
        fn = builder.module.declare_intrinsic(name, [args[0].type])
        return builder.call(fn, args)

    return x(x), codegen


@intrinsic
def rint(typingctx, x):
    """Nearest integral value, ties to even."""
    return _unary("llvm.rint", x)


@intrinsic
def fabs(typingctx, x):
    """Absolute value."""
    return _unary("llvm.fabs", x)


@intrinsic
def sqrt(typingctx, x):
    """Square root, correctly rounded."""
    return _unary("llvm.sqrt", x)


@intrinsic
def copysign(typingctx, x, y):
    """Magnitude of `x` with the sign of `y`."""
    if x != y or not isinstance(x, types.Float):
        return None

    def codegen(context, builder, signature, args):
        ty = args[0].type
        fn = builder.module.declare_intrinsic("llvm.copysign", [ty], ir.FunctionType(ty, [ty, ty]))
        return builder.call(fn, args)

    return x(x, y), codegen


@intrinsic
def fma(typingctx, x, y, z):
    """``x * y + z`` with one rounding; all three of one float type."""
    if not (x == y == z and isinstance(x, types.Float)):
        return None

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return x(x, y, z), codegen


@intrinsic
def select(typingctx, condition, x, y):
    """``x if condition else y`` without a branch; `x` and `y` of one type."""
    if condition != types.boolean or x != y:
        return None

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return x(condition, x, y), codegen


@intrinsic
def ldexp(typingctx, x, n):
    """``x * 2^n`` for an int32 n, rounded once; for processors with `SCALES`."""
    if n != types.int32 or not isinstance(x, types.Float):
        return None

    def codegen(context, builder, signature, args):
        kinds = [a.type for a in args]
        fn = builder.module.declare_intrinsic("llvm.ldexp", kinds, ir.FunctionType(kinds[0], kinds))
        return builder.call(fn, args)

    return x(x, n), codegen


@intrinsic
def poly(typingctx, x, coefficients):
    """Polynomial in `x`; a tuple of constants of x's type, lowest power first.

    Horner's rule, from 8 coefficients on as two chains (even and odd powers) that run side by side.
    """
    if not isinstance(coefficients, types.UniTuple) or coefficients.dtype != x:
        return None

    def codegen(context, builder, signature, args):
        x, table = args
        table = [builder.extract_value(table, k) for k in range(coefficients.count)]

        def horner(x, table):
            acc = table[-1]
            for c in reversed(table[:-1]):
                acc = builder.fma(acc, x, c)
            return acc

        if len(table) < TWO_CHAINS:
            return horner(x, table)
        square = builder.fmul(x, x)
        return builder.fma(horner(square, table[1::2]), x, horner(square, table[::2]))

    return x(x, coefficients), codegen
