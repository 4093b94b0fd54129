"""The graph as text: from the roots down, a node a line."""

from __future__ import annotations

from jitgrad.viz.snapshot import Node, Snapshot
from jitgrad.viz.style import lines

#: Lines that are shown at most.
LONGEST = 200


def write(snapshot: Snapshot) -> str:
    """The graph as a tree; a node that was shown already stands as its row number only.

    A node's only input stands below it without an indent, so that a chain stays a column.
    """
    below: dict[int, list[int]] = {node.row: [] for node in snapshot.nodes}
    for edge in snapshot.edges:
        below[edge.target].append(edge.source)
    nodes = {node.row: node for node in snapshot.nodes}
    leaves = sum(node.kind != "op" for node in snapshot.nodes)
    text = [f"graph of {len(nodes)} nodes, {leaves} of them leaves"]
    shown: set[int] = set()
    # Row, what its line begins with, what the lines below it begin with.
    waiting = [(node.row, "", "") for node in snapshot.nodes if node.root][::-1]
    while waiting:
        if len(text) > LONGEST:
            text.append(f"... {len(nodes) - len(shown)} more nodes")
            break
        row, begin, indent = waiting.pop()
        if row in shown:
            text.append(f"{begin}row {row}, see above")
            continue
        shown.add(row)
        text.append(begin + _line(nodes[row]))
        inputs = below[row]
        if len(inputs) == 1:
            waiting.append((inputs[0], indent, indent))
            continue
        for i, child in reversed(list(enumerate(inputs))):
            last = i == len(inputs) - 1
            waiting.append(
                (child, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  "))
            )
    return "\n".join(text)


def _line(node: Node) -> str:
    title, *rest = lines(node)
    return "  ".join([title.text, *(line.text for line in rest)])
