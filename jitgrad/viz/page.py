"""The graph as one self-contained page; ``page.html``, ``page.css`` and ``page.js`` are its parts."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from html import escape
from importlib.resources import files
from typing import Any

from jitgrad.viz.snapshot import Snapshot
from jitgrad.viz.style import saved_text
from jitgrad.viz.trace import Trace


def write(snapshot: Snapshot, trace: Trace, drawing: str, title: str) -> str:
    """The page around a drawing."""
    folder = files("jitgrad.viz")
    text = folder.joinpath("page.html").read_text(encoding="utf-8")
    parts = {
        "title": escape(title),
        "style": folder.joinpath("page.css").read_text(encoding="utf-8"),
        "script": folder.joinpath("page.js").read_text(encoding="utf-8"),
        "drawing": drawing,
        "data": data(snapshot, trace),
    }
    # None of the parts can hold a mark: markup is escaped in title and drawing, "<" in the data.
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", part)
    return text


def data(snapshot: Snapshot, trace: Trace) -> str:
    """What the page's script reads, as JSON that may stand in a script element."""
    nodes = []
    for node in snapshot.nodes:
        saved = [{"text": saved_text(kept), "stale": kept.stale} for kept in node.saved]
        nodes.append({**asdict(node), "saved": saved})
    content = {"nodes": nodes, "edges": [asdict(edge) for edge in snapshot.edges], **asdict(trace)}
    return json.dumps(_finite(content), allow_nan=False).replace("<", "\\u003c")


def _finite(content: Any) -> Any:
    """The same with texts for NaN and infinities, which JSON does not have."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    return content
