"""A kernel of the GPU: a Python function over pointers and numbers, with the types of its arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jitgrad.cuda.target import CASTS, SIMULATED, cuda


@dataclass(frozen=True)
class Pointer:
    """An argument that points at elements of a dtype (by code)."""

    dtype: int


#: A number is given by its dtype code.
Argument = Pointer | int


@dataclass
class Kernel:
    """A function to be launched on a grid of threads.

    Attributes
    ----------
    name : str
        What tables and traces call it.
    function : callable
        Its code, in the Python that numba.cuda compiles and its simulator runs.
    signature : tuple
        What each argument is.
    """

    name: str
    function: Callable[..., None]
    signature: tuple[Argument, ...]
    _loaded: Any = field(default=None, repr=False)
    _translated: Any = field(default=None, repr=False)

    def launch(self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any]) -> None:
        """Run it: pointers are addresses of the arena (`jitgrad.cuda.memory`)."""
        from jitgrad.cuda import memory, streams

        device = memory.device()
        if self._loaded is None:
            self._loaded = device.load(self)
        values = [
            memory.pointer(value, kind.dtype) if isinstance(kind, Pointer) else value
            for kind, value in zip(self.signature, args, strict=True)
        ]
        device.launch(self._loaded, self.signature, grid, block, values, streams.handle())

    def ptx(self, capability: tuple[int, int]) -> str:
        """Its assembly for a compute capability; needs no GPU.

        What takes long is Numba's part, up to NVVM's language, which is the same for all and made once.
        """
        assert not SIMULATED, "the simulator compiles nothing"
        if self._translated is None:
            self._translated = self._translate(capability)
        (text,) = self._translated.get_asm_strs(cc=capability)
        return text

    def _translate(self, capability: tuple[int, int]) -> Any:
        import importlib

        from numba import types

        compiler: Any = importlib.import_module("numba.cuda.compiler")

        pointer: Any = types.CPointer
        signature = tuple(
            pointer(CASTS[kind.dtype]) if isinstance(kind, Pointer) else CASTS[kind]
            for kind in self.signature
        )
        # `cuda.compile` calls this and then asks what it returns for the assembly of one capability.
        library, _ = compiler._compile_pyfunc_with_fixup(
            self.function, signature, cc=capability, device=False, abi="numba"
        )
        return library


def entry_name(ptx: str) -> str:
    """The symbol of the kernel in its assembly."""
    found = re.search(r"\.visible \.entry (\w+)\(", ptx)
    assert found is not None, "no kernel in the assembly"
    return found.group(1)


def made(source: str, name: str, space: dict[str, Any]) -> Callable[..., None]:
    """The function that a source text defines, with ``cuda`` and what ``space`` holds as its globals."""
    space = {"cuda": cuda, **space}
    exec(compile(source, f"<cuda {name}>", "exec"), space)
    function: Callable[..., None] = space[name]
    return function
