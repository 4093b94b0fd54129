"""The graph in Graphviz's language, for who wants to lay it out or change it elsewhere."""

from __future__ import annotations

from jitgrad.viz.snapshot import Edge, Node, Snapshot
from jitgrad.viz.style import EDGE, LOOKS, colour, lines


def write(snapshot: Snapshot) -> str:
    """The graph as DOT text."""
    text = [
        "digraph jitgrad {",
        '  node [shape=box, style="filled,rounded", fontname="monospace", fontsize=10.5]',
        f'  edge [color="{EDGE}", arrowsize=0.7]',
    ]
    text += [f"  {node.row} [{_node(node)}]" for node in snapshot.nodes]
    text += [f"  {edge.source} -> {edge.target}{_edge(edge)}" for edge in snapshot.edges]
    return "\n".join([*text, "}\n"])


def quoted(text: str) -> str:
    """A DOT string; its line breaks centre the lines."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _node(node: Node) -> str:
    look = LOOKS[node.kind]
    written = lines(node)
    label = "\n".join(line.text for line in written)
    ink = colour(written[-1])
    return (
        f'label={quoted(label)}, fillcolor="{look.fill}", color="{look.border}", fontcolor="{ink}",'
        f" penwidth={2.5 if node.root else 1.2}"
    )


def _edge(edge: Edge) -> str:
    return "" if edge.grad else " [style=dashed]"
