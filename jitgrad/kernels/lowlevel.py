"""The few instructions that plain Numba lacks: typed raw memory, indirect calls, CPython's C API.

Jitted code of the engine works on addresses (``int64``), never on arrays: an address can be kept in a
column, handed to a kernel, and costs nothing to pass.  Everything here assumes a valid address; whoever
made the address has checked it.

Importing this module imports Numba, so only the compiler does it, never ``import jitgrad``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import compiler
from numba.core import typed_passes as typed
from numba.core import untyped_passes as untyped
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import NoPythonBackend
from numba.extending import intrinsic

I64 = types.int64

#: How every jitted function of the engine is compiled: no exceptions (they would be lost inside a C
#: callback), no reference counting by Numba's runtime, a fused multiply-add where the hardware has one.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "_nrt": False}
_HELPER = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class _Lean(compiler.CompilerBase):
    """Numba's pipeline without the passes that the engine's code has no use for (arrays, parallel
    loops, object mode, closures, generators, inlining of Python IR): half the time to compile it."""

    def define_pipelines(self) -> list[Any]:
        manager = PassManager("lean")
        for step, why in (
            (untyped.TranslateByteCode, "bytecode to IR"),
            (untyped.FixupArgs, "arguments"),
            (untyped.IRProcessing, "IR"),
            (untyped.ReconstructSSA, "ssa"),
            (typed.NopythonTypeInference, "types"),
            (typed.PreLowerStripPhis, "phi nodes"),
            (typed.IRLegalization, "legal IR"),
            (typed.NativeLowering, "LLVM"),
            (NoPythonBackend, "library"),
        ):
            manager.add_pass(step, why)
        manager.finalize()
        return [manager]


OPTIONS["pipeline_class"] = _HELPER["pipeline_class"] = _Lean


def jit(function: Callable[..., Any]) -> Any:
    """Compile a helper of the engine; call it from other jitted code only."""
    return _general(numba.njit(**_HELPER)(function))


#: Names of the functions of `jit_seldom`, which `jitgrad.kernels.compiler` looks for.
SELDOM: set[str] = set()


def jit_seldom(function: Callable[..., Any]) -> Any:
    """`jit` for what seldom runs: it is not inlined, so that its callers stay small enough to be."""
    SELDOM.add(function.__name__)
    return jit(function)


def _general(dispatcher: Any) -> Any:
    """Have calls with literal numbers share one compilation: ``f(H, 0)`` and ``f(H, 1)`` are the same.

    Numba would compile another ``f`` for each literal; LLVM propagates constants where it inlines anyway.
    """
    template = dispatcher.get_call_template

    def general(args: Any, kws: Any) -> Any:
        return template(tuple(types.unliteral(a) for a in args), kws)

    dispatcher.get_call_template = general
    return dispatcher


def _pointer_to(ty: types.Type) -> Any:
    @intrinsic
    def pointer(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], ir.PointerType(context.get_data_type(ty)))

        return types.CPointer(ty)(types.int64), codegen

    return pointer


#: Turn an address into a typed pointer: ``words(address)[3]`` reads the fourth int64 there.
words = _pointer_to(types.int64)
float32s = _pointer_to(types.float32)
float64s = _pointer_to(types.float64)
int8s = _pointer_to(types.int8)
int16s = _pointer_to(types.int16)
int32s = _pointer_to(types.int32)
uint8s = _pointer_to(types.uint8)
uint16s = _pointer_to(types.uint16)

#: The pointer maker of each dtype code (the order of ``jitgrad.dtypes``); bool is stored as a byte, and
#: of the 16-bit floats a kernel sees the bits (`jitgrad.kernels.halves`).
POINTERS = (
    uint8s,
    uint8s,
    int8s,
    int16s,
    int32s,
    words,
    float32s,
    float64s,
    uint16s,
    uint16s,
)
TYPES = (
    types.uint8,
    types.uint8,
    types.int8,
    types.int16,
    types.int32,
    types.int64,
    types.float32,
    types.float64,
    types.uint16,
    types.uint16,
)


@intrinsic
def at(typingctx: Any, pointer: Any, index: Any) -> Any:
    """The pointer ``index`` elements further."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), codegen


def _caller(n: int) -> Any:
    @intrinsic
    def call(typingctx: Any, address: Any, args: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            word = ir.IntType(64)
            fnty = ir.FunctionType(word, [word] * n)
            fn = builder.inttoptr(values[0], ir.PointerType(fnty))
            items = [builder.extract_value(values[1], i) for i in range(n)]
            return builder.call(fn, items)

        return types.int64(types.int64, types.UniTuple(types.int64, n)), codegen

    return call


#: Call the C function ``int64 f(int64, ...)`` at an address: ``call2(f, (a, b))``.
call0 = _caller(0)
call1 = _caller(1)
call2 = _caller(2)
call3 = _caller(3)

call8 = _caller(8)
call13 = _caller(13)


@intrinsic
def bits(typingctx: Any, value: Any) -> Any:
    """The bits of a float64 as an int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def from_bits(typingctx: Any, value: Any) -> Any:
    """The float64 that has the bits of an int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


# CPython's C API.  All of these are exported by every build of CPython 3.11 to 3.13 and, but for the raw
# allocator, belong to the stable ABI.  The caller holds the GIL.
def _extern(name: str, result: Any, *args: Any) -> Any:
    return types.ExternalFunction(name, result(*args))


as_int = _extern("PyLong_AsLongLong", I64, I64)
as_double = _extern("PyFloat_AsDouble", types.float64, I64)
new_int = _extern("PyLong_FromLongLong", I64, I64)
new_float = _extern("PyFloat_FromDouble", I64, types.float64)
new_bytes = _extern("PyBytes_FromStringAndSize", I64, I64, I64)
new_bool = _extern("PyBool_FromLong", I64, types.intc)
incref = _extern("Py_IncRef", types.void, I64)
decref = _extern("Py_DecRef", types.void, I64)
is_subtype = _extern("PyType_IsSubtype", types.intc, I64, I64)
generic_alloc = _extern("PyType_GenericAlloc", I64, I64, I64)
capsule_new = _extern("PyCapsule_New", I64, I64, I64, I64)
capsule_pointer = _extern("PyCapsule_GetPointer", I64, I64, I64)
capsule_name = _extern("PyCapsule_GetName", I64, I64)
capsule_set_pointer = _extern("PyCapsule_SetPointer", types.intc, I64, I64)
error_occurred = _extern("PyErr_Occurred", I64)
error_clear = _extern("PyErr_Clear", types.void)
error_set_object = _extern("PyErr_SetObject", types.void, I64, I64)
call_method = _extern("PyObject_VectorcallMethod", I64, I64, I64, I64, I64)
thread_ident = _extern("PyThread_get_thread_ident", I64)
tuple_new = _extern("PyTuple_New", I64, I64)
tuple_set = _extern("PyTuple_SetItem", types.intc, I64, I64, I64)
tuple_item = _extern("PyTuple_GetItem", I64, I64, I64)
tuple_size = _extern("PyTuple_Size", I64, I64)
list_item = _extern("PyList_GetItem", I64, I64, I64)
list_size = _extern("PyList_Size", I64, I64)
dict_item = _extern("PyDict_GetItemWithError", I64, I64, I64)
# Not of the stable ABI, but exported for CPython's own extension modules in 3.11 to 3.13.
dict_item_hashed = _extern("_PyDict_GetItem_KnownHash", I64, I64, I64, I64)
raw_malloc = _extern("PyMem_RawMalloc", I64, I64)
raw_free = _extern("PyMem_RawFree", types.void, I64)
raw_realloc = _extern("PyMem_RawRealloc", I64, I64, I64)


def jit_sum(function: Callable[..., Any]) -> Any:
    """`jit` for a loop that adds up: the terms may be added in any order, so that it is vectorised.

    NaN and infinity keep their meaning (no ``nnan``, no ``ninf``).
    """
    return _general(numba.njit(**{**_HELPER, "fastmath": {"contract", "reassoc"}})(function))
