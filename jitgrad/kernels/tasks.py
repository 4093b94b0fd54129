"""Work that a kernel splits among threads by itself: parts of a job, run by the parallel-for.

`jitgrad.arena.driver` splits pointwise plans; other kernels describe their work in a *job*, a few words of
memory, and have its parts run side by side.  Imported by the compiler only.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from jitgrad.arena.columns import H_PARALLEL, H_POOL_THREADS, H_SPLIT, H_THREADS
from jitgrad.kernels.lowlevel import call8, jit, words

_WORD = ir.IntType(64)


def _address(function: Any) -> Any:
    """Jitted: the address of a C function for the parallel-for that runs ``function(job, part)``."""

    @intrinsic
    def address(typingctx: Any) -> Any:
        word = types.int64
        typingctx.resolve_function_type(types.Dispatcher(function), (word, word), {})
        (compiled,) = function.overloads.values()

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            module = builder.module
            descriptor = compiled.fndesc
            callee = context.declare_function(module, descriptor)
            context.active_code_library.add_linking_library(compiled.library)
            # Like `driver.chunk`: with base 0 and step 1 the first argument points to the number of the
            # first part, and the second to how many.
            pointer = ir.PointerType(_WORD)
            fnty = ir.FunctionType(_WORD, [pointer, pointer, pointer, _WORD])
            chunk = ir.Function(module, fnty, module.get_unique_name("parts"))
            chunk.linkage = "internal"
            inner = ir.IRBuilder(chunk.append_basic_block("entry"))
            first, count = inner.load(chunk.args[0]), inner.load(chunk.args[1])
            last = inner.add(first, count)
            before = inner.block
            body, after = chunk.append_basic_block("part"), chunk.append_basic_block("done")
            inner.cbranch(inner.icmp_signed("<", first, last), body, after)
            inner.position_at_end(body)
            part = inner.phi(_WORD)
            part.add_incoming(first, before)
            context.call_conv.call_function(
                inner, callee, types.int64, (word, word), (chunk.args[3], part)
            )
            following = inner.add(part, ir.Constant(_WORD, 1))
            part.add_incoming(following, inner.block)
            inner.cbranch(inner.icmp_signed("<", following, last), body, after)
            inner.position_at_end(after)
            inner.ret(ir.Constant(_WORD, 0))
            return builder.ptrtoint(chunk, _WORD)

        return types.int64(), codegen

    return address


@jit
def threads(H, work, least):
    """How many threads to use for an amount of work, of which each should get ``least``."""
    h = words(H)
    if h[H_PARALLEL] == 0:
        return 1
    return max(min(min(h[H_THREADS], h[H_POOL_THREADS]), work // least), 1)


def side_by_side(function: Any) -> Any:
    """Jitted ``run(H, job, parts)``: ``function(job, part)``, jitted, for every part, on as many threads.

    The parts run at the same time and without the GIL: they may not allocate, and each writes where no
    other does.
    """
    address = _address(function)

    @jit
    def run(H, job, parts):
        if parts == 1:
            function(job, 0)
        else:
            h = words(H)
            h[H_SPLIT] = 0
            h[H_SPLIT + 1] = parts
            h[H_SPLIT + 2] = 1
            args = H + H_SPLIT * 8
            call8(h[H_PARALLEL], (address(), args, args + 8, args + 16, job, 0, 1, parts))
        return 0

    return run
