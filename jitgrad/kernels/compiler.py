"""Compiles jitted functions to object code.  The only module that makes Numba compile.

A *unit* is one C function of int64 arguments that returns an int64.  Its object code is all that is kept:
`loader` puts it into this or any later process with llvmlite alone.

Numba optimises and assembles every jitted function on its own before it links them into their callers,
and then does both again: the engine's hundred small functions took 40 s that way.  `_Deferred` postpones
all of it: each function is only translated to LLVM's language, then the whole is linked, optimised and
assembled once.  That rests on Numba's internals, so should they change, `compile_units` does it Numba's way
(``JITGRAD_COMPILER=plain`` asks for that).
"""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.types.functions import BaseFunction

from jitgrad.kernels.lowlevel import OPTIONS, SELDOM

Unit = tuple[Callable[..., Any], int]


class _Deferred(JITCodeLibrary):
    """A library that is translated and nothing more, until something links it."""

    def finalize(self) -> None:
        self._finalized = True

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    def _get_module_for_linking(self) -> Any:
        """For a caller that Numba compiles in its own way: this function and all that it calls."""
        if self._shared_module is None:
            module = _linked([self])
            for function in module.functions:
                if not function.is_declaration:
                    function.linkage = "linkonce_odr"
            self._shared_module = module
        return self._shared_module


def _closure(libraries: list[Any]) -> list[Any]:
    """The libraries and everything they call, each once."""
    found: dict[int, Any] = {}
    waiting = list(libraries)
    while waiting:
        library = waiting.pop()
        if id(library) not in found:
            found[id(library)] = library
            waiting += library._linking_libraries
    return list(found.values())


def _linked(libraries: list[Any]) -> Any:
    """One module with all of them and what they call, not optimised."""
    whole, *others = [library._final_module.clone() for library in _closure(libraries)]
    for module in others:
        whole.link_in(module)
    return whole


@contextmanager
def _deferring() -> Iterator[Any]:
    """Have Numba make `_Deferred` libraries, and give no thought to calling them from Python."""
    codegen = cpu_target.target_context.codegen()
    before = codegen._library_class
    codegen._library_class = _Deferred
    codegen.set_env = lambda name, env: None
    try:
        yield codegen
    finally:
        codegen._library_class = before
        del codegen.set_env


@contextmanager
def _no_collection() -> Iterator[None]:
    """Numba makes millions of small objects and next to no cycles: collecting costs a tenth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _cfunc(unit: Unit) -> Any:
    function, arguments = unit
    signature = types.int64(*[types.int64] * arguments)
    return numba.cfunc(signature, **OPTIONS)(function)


@contextmanager
def _remembering() -> Iterator[None]:
    """Resolve a call of a builtin once for the same types: 19 of 20 times the core asks again."""
    name = "get_call_type"
    resolve = getattr(BaseFunction, name)
    found: dict[Any, tuple[Any, Any]] = {}

    def remembered(self: Any, context: Any, args: Any, kws: Any) -> Any:
        key = id(self), args, tuple(kws.items())
        if key not in found:
            # The function is kept, or another one could get its id; it remembers how the signature
            # is compiled.
            found[key] = self, resolve(self, context, args, kws)
        return found[key][1]

    setattr(BaseFunction, name, remembered)
    try:
        yield
    finally:
        setattr(BaseFunction, name, resolve)


def _compile_deferred(units: list[Unit], logic: bool) -> tuple[list[str], list[bytes]]:
    with _deferring() as codegen, _no_collection(), _remembering():
        made = [_cfunc(unit) for unit in units]
        symbols = [m._wrapper_name for m in made]
        # As a symbol spells a name.
        seldom = [f"{len(name)}{name}" for name in SELDOM]
        module = _linked([m._library for m in made])
        for function in module.functions:
            if not function.is_declaration:
                function.linkage = "external" if function.name in symbols else "internal"
                if any(name in function.name for name in seldom):
                    function.add_function_attribute("noinline")
        module.data_layout = codegen._data_layout
        effort = {"opt": 2, "slp_vectorize": False} if logic else {}
        manager, builder = codegen._module_pass_manager(**effort)
        # Every loop over a range can raise (its step might be 0) until that is proved, of some functions
        # when their callers are done already: once more, then what would handle it is dead.
        manager.add_ipsccp_pass()
        manager.add_simplify_cfg_pass()
        manager.add_global_dead_code_eliminate_pass()
        manager.run(module, builder)
        module.verify()
        _check(module)
        return symbols, [codegen._tm.emit_object(module)]


class CompileError(Exception):
    """Jitted code that cannot be a unit, with the reason."""


def _check(module: Any) -> None:
    """Refuse code that can raise: its symbols are Numba's, which a warm process does not have.

    What raises without a ``raise``: indexing a tuple with a variable, iterating over a tuple, a slice.
    """
    names = [f.name for f in module.functions if f.is_declaration]
    raising = [n for n in names if n.startswith(("numba_", "NRT_"))]
    if raising:
        users = [f.name for f in module.functions if not f.is_declaration and raising[0] in str(f)]
        raise CompileError(f"jitted code that can raise ({', '.join(raising)}) in {users}")


def _compile_plainly(units: list[Unit]) -> tuple[list[str], list[bytes]]:
    made = [_cfunc(unit) for unit in units]
    symbols = [m._wrapper_name for m in made]
    return symbols, [bytes(m._library._get_compiled_object()) for m in made]


def compile_units(units: list[Unit], logic: bool = False) -> tuple[list[str], list[bytes]]:
    """Object code of ``[(function, number of int64 arguments), ...]``.

    ``logic``: the code decides more than it computes, so LLVM need not try its hardest.

    Returns the C symbol of each function, and the object files that hold them.
    """
    with global_compiler_lock:
        if os.environ.get("JITGRAD_COMPILER") == "plain":
            return _compile_plainly(units)
        try:
            return _compile_deferred(units, logic)
        except (AttributeError, RuntimeError):
            return _compile_plainly(units)


def by_name(target: str) -> Callable[..., Any]:
    """The function named ``"module:function"``."""
    module, name = target.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
