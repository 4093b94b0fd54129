"""A check of a kernel's assembly: places in memory are computed in 64 bits.

An address of 2^33 elements does not fit in 32 bits, and neither do the numbers that lead to it.  What is in
32 bits on the way to an address may be the number of a thread, of a block or of how many there are, or a
constant, as it comes; but no sum, product or shift of such, and nothing that was cut down to 32 bits.

One thing is: NVVM divides in 32 bits where both numbers fit, which it tests first.
"""

from __future__ import annotations

import re
from collections import defaultdict

_REGISTER = re.compile(r"%[a-z]+\d+")
_MEMORY = re.compile(r"^(?:ld|st|atom|red)(?:\.[a-z0-9_]+)*\.global")
#: Registers of less than 64 bits that hold numbers, by how their names begin.
_NARROW = re.compile(r"%(?:r|rs|f|h)\d+$")


def narrow_places(ptx: str) -> list[str]:
    """The instructions of 32 bits that have a part in an address of the GPU's memory: none is right."""
    # Each function has registers of its own.
    bodies = re.split(r"^(?=\.(?:visible|func|entry|weak))", ptx, flags=re.MULTILINE)
    return [text for body in bodies for text in _of_function(body)]


def _of_function(body: str) -> list[str]:
    defined: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    wanted: list[str] = []
    for line in body.splitlines():
        text = re.sub(r"^@!?%p\d+\s+", "", line.strip().rstrip(";"))
        if not text or text.startswith((".", "//", "{", "}", "$", "ret", "bra")):
            continue
        operation = text.split()[0]
        # libdevice's tables of constants are read past the cache of data: "nc".
        if _MEMORY.match(operation) and ".nc" not in operation:
            inside = re.search(r"\[(.*?)\]", text)
            assert inside is not None
            wanted += _REGISTER.findall(inside.group(1))
        if operation.startswith(("st.", "setp", "bar", "red.", "membar")):
            continue
        target, _, rest = text[len(operation) :].partition(",")
        for register in _REGISTER.findall(target):
            # What is loaded is data; where it is loaded from is looked at by itself.
            sources = [] if operation.startswith("ld.") else _REGISTER.findall(rest)
            defined[register].append((text, sources))
    found: list[str] = []
    seen: set[tuple[str, bool]] = set()
    waiting = [(register, False) for register in wanted]
    while waiting:
        register, divided = waiting.pop()
        if (register, divided) in seen or register.startswith("%p"):
            continue
        seen.add((register, divided))
        for text, sources in defined[register]:
            operation = text.split()[0]
            quotient = operation in ("div.u32", "rem.u32")
            if not _NARROW.match(register) or quotient or _as_it_comes(operation, divided):
                waiting += [(source, quotient) for source in sources]
            else:
                found.append(text)
    return found


def _as_it_comes(operation: str, divided: bool) -> bool:
    """Whether an instruction passes on a number of 32 bits: of a thread, a block, a constant, data."""
    if re.match(r"cvt\.[us]32\.[us]64", operation):
        return divided
    return operation.startswith(("mov.", "ld.", "cvt.", "selp."))
