"""The graph as SVG, from its layout; the page shows the same drawing."""

from __future__ import annotations

import math
from html import escape

from jitgrad.viz.layout import Box, Layout, Wire
from jitgrad.viz.snapshot import Edge, Node, Snapshot
from jitgrad.viz.style import DETAIL, EDGE, FONTS, LINE, LOOKS, PADDING, TITLE, colour, lines

MARGIN = 12.0


def write(snapshot: Snapshot, layout: Layout) -> str:
    """The drawing as an SVG document.

    Colours are attributes, which a style sheet overrides; ``data-row`` and ``data-edge`` (places in the
    snapshot) and the classes say what is what.
    """
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    text = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="{-MARGIN:g} {-MARGIN:g} {width:.1f} {height:.1f}" font-family="{FONTS}">',
        '<g class="edges">',
    ]
    for i, (edge, wire) in enumerate(zip(snapshot.edges, layout.wires, strict=True)):
        text.append(_edge(i, edge, wire))
    text.append('</g>\n<g class="nodes">')
    text += [_node(node, layout.boxes[node.row]) for node in snapshot.nodes]
    text.append("</g>\n</svg>\n")
    return "\n".join(text)


def _edge(i: int, edge: Edge, wire: Wire) -> str:
    first, *rest = wire.points
    curve = f"M{first[0]:.1f} {first[1]:.1f}C" + " ".join(f"{x:.1f} {y:.1f}" for x, y in rest)
    dashes = "" if edge.grad else ' stroke-dasharray="4 3"'
    head = " ".join(f"{x:.1f},{y:.1f}" for x, y in arrow(wire))
    return (
        f'<g class="edge" data-edge="{i}"><path d="{curve}" fill="none" stroke="{EDGE}"{dashes}/>'
        f'<polygon points="{head}" fill="{EDGE}"/></g>'
    )


def arrow(wire: Wire) -> list[tuple[float, float]]:
    """The three corners of an arrow head."""
    (x, y), (tx, ty) = wire.points[-1], wire.tip
    dx, dy = tx - x, ty - y
    length = math.hypot(dx, dy) or 1.0
    nx, ny = -dy / length * 3.2, dx / length * 3.2
    return [(x + nx, y + ny), (tx, ty), (x - nx, y - ny)]


def _node(node: Node, box: Box) -> str:
    look = LOOKS[node.kind]
    left, top = box.x - box.width / 2, box.y - box.height / 2
    text = [
        f'<g class="node {node.kind}{" root" if node.root else ""}" data-row="{node.row}">',
        f"<title>{escape(f'{node.grad_fn}, row {node.row}')}</title>",
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="7"'
        f' fill="{look.fill}" stroke="{look.border}" stroke-width="{2.5 if node.root else 1.2}"/>',
    ]
    for i, line in enumerate(lines(node)):
        font = f'font-size="{TITLE:g}" font-weight="bold"' if i == 0 else f'font-size="{DETAIL:g}"'
        text.append(
            f'<text class="{line.role}" x="{box.x:.1f}" y="{baseline(top, i):.1f}"'
            f' text-anchor="middle" fill="{colour(line)}" {font}>{escape(line.text)}</text>'
        )
    return "".join([*text, "</g>"])


def baseline(top: float, i: int) -> float:
    """Where line ``i`` of a node with that upper border stands."""
    return top + PADDING + LINE * i + 8
