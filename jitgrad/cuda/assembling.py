"""From a kernel's assembly to machine code, with nvJitLink: needs no GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jitgrad.cuda.kernel import Kernel, entry_name


@dataclass(frozen=True)
class Assembled:
    """A kernel's machine code, and what it takes of a multiprocessor.

    Attributes
    ----------
    code : bytes
        The cubin.
    symbol : str
        The kernel's name in it.
    registers : int
        Registers of a thread.
    shared : int
        Bytes of shared memory of a block.
    spilled : int
        Bytes that a thread keeps in memory for want of registers.
    """

    code: bytes
    symbol: str
    registers: int
    shared: int
    spilled: int


def assembled(kernel: Kernel, capability: tuple[int, int]) -> Assembled:
    """A kernel's machine code for a compute capability."""
    return assemble(kernel.ptx(capability), capability)


def assemble(ptx: str, capability: tuple[int, int]) -> Assembled:
    """Machine code of the assembly text of a kernel.

    Raises
    ------
    RuntimeError
        With the assembler's words, if it refuses the text.
    """
    from cuda.bindings import nvjitlink

    major, minor = capability
    handle = nvjitlink.create(2, [f"-arch=sm_{major}{minor}", "-verbose"])
    try:
        text = ptx.encode()
        try:
            nvjitlink.add_data(handle, nvjitlink.InputType.PTX, text, len(text), "kernel")
            nvjitlink.complete(handle)
        except nvjitlink.nvJitLinkError as error:
            said = bytearray(nvjitlink.get_error_log_size(handle))
            nvjitlink.get_error_log(handle, said)
            raise RuntimeError(said.decode()) from error
        code = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, code)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    return _read(bytes(code), entry_name(ptx), log.decode())


def _read(code: bytes, symbol: str, log: str) -> Assembled:
    registers = re.search(r"Used (\d+) registers", log)
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    shared = re.search(r"(\d+) bytes smem", log)
    if registers is None or spills is None:
        raise RuntimeError(f"the assembler's report is not understood: {log}")
    spilled = int(spills.group(1)) + int(spills.group(2))
    return Assembled(
        code, symbol, int(registers.group(1)), int(shared.group(1)) if shared else 0, spilled
    )
