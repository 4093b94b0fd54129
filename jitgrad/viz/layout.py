"""Where nodes and edges go: Graphviz's ``dot``, in this process; pygraphviz' wheels carry it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jitgrad.viz.extra import needed
from jitgrad.viz.snapshot import Snapshot
from jitgrad.viz.style import size

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A node: its centre, width and height, in points."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Wire:
    """An edge: Bezier points (one, then three a piece), and the arrow's tip beyond the last one."""

    points: tuple[Point, ...]
    tip: Point


@dataclass(frozen=True)
class Layout:
    """A drawing's size, a box for each row and a wire for each edge, in the snapshot's order; y goes down."""

    width: float
    height: float
    boxes: dict[int, Box]
    wires: tuple[Wire, ...]


def lay_out(snapshot: Snapshot) -> Layout:
    """Lay a graph out from the leaves at the top down to the roots.

    Raises
    ------
    ImportError
        Without pygraphviz.
    """
    graph = needed("pygraphviz").AGraph(string=_bare(snapshot))
    found = json.loads(graph.draw(format="json0", prog="dot"))
    left, bottom, right, top = map(float, found["bb"].split(","))

    def place(text: str) -> Point:
        x, y = map(float, text.split(","))
        return x - left, top - y

    boxes = {
        int(box["name"]): Box(
            *place(box["pos"]), float(box["width"]) * 72, float(box["height"]) * 72
        )
        for box in found["objects"]
    }
    wires = {int(edge["id"]): _wire(edge, place) for edge in found.get("edges", ())}
    return Layout(right - left, top - bottom, boxes, tuple(wires[i] for i in range(len(wires))))


def _bare(snapshot: Snapshot) -> str:
    """The graph in DOT with sizes instead of labels: the layout asks for no font."""
    text = [
        "digraph {",
        "graph [nodesep=0.35, ranksep=0.5]",
        'node [shape=box, label="", fixedsize=true]',
    ]
    for node in snapshot.nodes:
        width, height = size(node)
        text.append(f"{node.row} [width={width / 72:.4f}, height={height / 72:.4f}]")
    for i, edge in enumerate(snapshot.edges):
        text.append(f"{edge.source} -> {edge.target} [id={i}]")
    return "\n".join([*text, "}"])


def _wire(edge: dict[str, Any], place: Any) -> Wire:
    # "e,x,y p0 p1 p2 p3 ...": the tip of the arrow, then the spline.
    tip, *points = edge["pos"].split()
    return Wire(tuple(place(p) for p in points), place(tip.removeprefix("e,")))
