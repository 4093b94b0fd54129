"""Reading options that are lists: names with wildcards, sizes like 64k, words of a few."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

import typer


def items(text: str) -> list[str]:
    """The items of a list with commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


def names(text: str, known: Iterable[str], what: str) -> list[str]:
    """Names out of the known ones, in the order asked for; ``*`` and ``?`` match, ``all`` is everything."""
    there = list(known)
    found: dict[str, None] = {}
    for item in items(text):
        if item == "none":
            continue
        chosen = there if item == "all" else [name for name in there if fnmatchcase(name, item)]
        if not chosen:
            close = get_close_matches(item, there, 3)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise typer.BadParameter(f"there is no {what} named {item!r}{hint} (see --list)")
        found |= dict.fromkeys(chosen)
    return list(found)


def words(text: str, known: Iterable[str], what: str) -> list[str]:
    """Words out of a few."""
    there = list(known)
    found = items(text)
    for item in found:
        if item not in there:
            raise typer.BadParameter(f"{item!r} is no {what}; there are {', '.join(there)}")
    if not found:
        raise typer.BadParameter(f"name at least one {what}: {', '.join(there)}")
    return list(dict.fromkeys(found))


def sizes(text: str) -> list[int]:
    """Numbers of elements: 4096, 64k, 1M, 2^20."""
    found = [size(item) for item in items(text)]
    if not found:
        raise typer.BadParameter("name at least one size: 4096, 64k, 1M or 2^20")
    return list(dict.fromkeys(found))


def size(text: str) -> int:
    """One number of elements; k and M are powers of 1024."""
    power = re.fullmatch(r"2(?:\^|\*\*)(\d{1,2})", text)
    plain = re.fullmatch(r"(\d{1,12})([kKmM]?)", text)
    if power:
        found = 1 << int(power[1])
    elif plain:
        found = int(plain[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20}[plain[2].lower()]
    else:
        raise typer.BadParameter(f"{text!r} is no number of elements; write 4096, 64k, 1M or 2^20")
    if not 1 <= found <= 1 << 28:
        raise typer.BadParameter(f"{text} elements: choose between 1 and 2^28")
    return found
