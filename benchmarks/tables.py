"""Tables in Markdown, as the pages and the profiles show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def table(header: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,)) -> str:
    """A table in Markdown; some columns hold words, the others numbers."""
    sides = ["---" if i in words else "---:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, sides, *rows)) + "\n"


@dataclass
class Profile:
    """Where the time of one piece of work goes: a table, what it is of, and what is to be known about it."""

    title: str
    header: list[str]
    rows: list[list[str]]
    words: tuple[int, ...] = (0,)
    remark: str = ""

    def markdown(self) -> str:
        """The profile as a part of a page."""
        remark = f"\n{self.remark}\n" if self.remark else ""
        return f"**{self.title}**\n\n{table(self.header, self.rows, self.words)}{remark}"
