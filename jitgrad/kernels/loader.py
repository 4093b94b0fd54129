"""Puts object code into the process, with llvmlite alone: a warm start never imports Numba.

Importing Numba and running its first cached function costs half a second; loading the object code that
Numba made in an earlier process costs milliseconds.  The object code refers to nothing but functions of
CPython and of libm, which the process exports, because it is compiled without exceptions and without
Numba's runtime.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.binding as llvm

_engine: Any = None


def _start() -> Any:
    global _engine
    if _engine is None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine()
        _engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        # Tensors may be released until the very end of the interpreter, by code that lives in this
        # engine: one reference too many keeps it from being taken down before them.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_engine))
    return _engine


def load(symbols: list[str], objects: list[bytes]) -> list[int]:
    """Addresses of C symbols that the object files define.

    Raises
    ------
    RuntimeError
        If the object code cannot be linked into this process.
    """
    engine = _start()
    for code in objects:
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    addresses = [engine.get_function_address(symbol) for symbol in symbols]
    if 0 in addresses:
        raise RuntimeError(f"symbol {symbols[addresses.index(0)]} is missing after linking")
    return addresses


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_METH_FASTCALL = 0x80
_kept: list[Any] = []


def builtin(name: str, address: int, self: Any) -> Any:
    """A CPython builtin over the C function ``PyObject *f(self, PyObject **args, Py_ssize_t n)``.

    A call costs about 30 ns, half of what Numba's own wrapper takes.
    """
    definition = _MethodDef(name.encode(), address, _METH_FASTCALL, None)
    _kept.append(definition)  # CPython keeps a pointer to it, not a copy
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return make(ctypes.addressof(definition), self, None)
