"""How a node looks, whatever it is drawn with: its lines of text, its size and its colours."""

from __future__ import annotations

from dataclasses import dataclass

from jitgrad.viz.snapshot import Node, Saved

#: Sizes in points. A monospaced letter is 0.6 of its font's size wide, so no font has to be measured.
TITLE, DETAIL = 13.0, 10.5
LETTER = 0.6
LINE = 15.0
PADDING = 12.0
#: Every font of the list has letters of that width, but for rounding.
FONTS = "DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace"

EDGE = "#7a8699"
TEXT = "#1b2430"
STALE = "#c0222b"


@dataclass(frozen=True)
class Look:
    """Fill and border of a kind of node."""

    fill: str
    border: str


LOOKS = {
    "leaf": Look("#dcf2e2", "#2c7a4b"),
    "constant": Look("#ededed", "#8b8f96"),
    "op": Look("#e4ecfb", "#4468b0"),
}


@dataclass(frozen=True)
class Text:
    """A line in a node; ``role`` is "title", "detail", "saved" or "stale"."""

    text: str
    role: str


def lines(node: Node) -> list[Text]:
    """What is written in a node."""
    if node.kind != "op":
        title = node.name or node.kind
    else:
        title = f"{node.op} → {node.name}" if node.name else node.op
    shape = ", ".join(map(str, node.shape)) + ("," if len(node.shape) == 1 else "")
    where = [f"row {node.row}"]
    if node.version:
        where.append(f"version {node.version}")
    found = [
        Text(title, "title"),
        Text(f"({shape}) {node.dtype}", "detail"),
        Text(" · ".join([*where, *node.marks]), "detail"),
    ]
    found += [
        Text("saves " + saved_text(kept), "stale" if kept.stale else "saved") for kept in node.saved
    ]
    return found


def saved_text(kept: Saved) -> str:
    """A saved value in a few words."""
    if kept.row is None:
        return f"{kept.what}: {kept.number:g}"
    where = kept.what if kept.what == "result" else f"{kept.what} (row {kept.row})"
    now = f", now v{kept.now}" if kept.stale else ""
    return f"{where} v{kept.version}{now}"


def size(node: Node) -> tuple[float, float]:
    """Width and height of a node in points."""
    written = lines(node)
    width = max(len(t.text) * LETTER * (TITLE if t.role == "title" else DETAIL) for t in written)
    return width + 2 * PADDING, len(written) * LINE + 2 * PADDING - 6


def colour(text: Text) -> str:
    """The colour of a line."""
    return STALE if text.role == "stale" else TEXT
