"""`Graph`: a snapshot that can be looked at, walked through and written to files."""

from __future__ import annotations

import os
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from jitgrad.viz import dot, layout, page, png, svg, tree
from jitgrad.viz.snapshot import Snapshot
from jitgrad.viz.trace import Trace


class Graph:
    """A recorded graph at one moment, as `jitgrad.graph` found it.

    Attributes
    ----------
    nodes : tuple of Node
        In the order in which they were made, so inputs before what is made of them.
    edges : tuple of Edge
    steps : tuple of Step
        The nodes in the order in which a backward pass takes them, each with the gradient that it has
        received and what it sends on.
    stopped : str
        Why the backward pass could not go to its end; "" if it did, or was not asked for.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0], dtype=jitgrad.float64, requires_grad=True)
    >>> print(jitgrad.graph((x * x).sum(), params={"x": x}).to_dot().splitlines()[0])
    digraph jitgrad {
    """

    def __init__(self, snapshot: Snapshot, trace: Trace | None) -> None:
        self._snapshot = snapshot
        self._trace = trace or Trace((), "")
        self.nodes = snapshot.nodes
        self.edges = snapshot.edges
        self.steps = self._trace.steps
        self.stopped = self._trace.stopped

    def __repr__(self) -> str:
        return tree.write(self._snapshot)

    @cached_property
    def _layout(self) -> layout.Layout:
        return layout.lay_out(self._snapshot)

    def to_dot(self) -> str:
        """The graph in Graphviz's language; needs nothing installed."""
        return dot.write(self._snapshot)

    def to_svg(self) -> str:
        """The graph as an SVG document."""
        return svg.write(self._snapshot, self._layout)

    def to_png(self) -> bytes:
        """The graph as the bytes of a PNG file."""
        return png.write(self._snapshot, self._layout)

    def to_html(self, title: str = "jitgrad graph") -> str:
        """One page, without external resources, to pan, zoom, search and step through the backward pass."""
        return page.write(self._snapshot, self._trace, self.to_svg(), title)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the graph to a file: ``.svg``, ``.png``, ``.dot`` (also ``.gv``) or ``.html``.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ValueError
            For another suffix.
        ImportError
            For anything but DOT without the extra ``viz``.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix in (".dot", ".gv"):
            path.write_text(self.to_dot(), encoding="utf-8")
        elif suffix == ".svg":
            path.write_text(self.to_svg(), encoding="utf-8")
        elif suffix in (".html", ".htm"):
            path.write_text(self.to_html(path.stem), encoding="utf-8")
        elif suffix == ".png":
            path.write_bytes(self.to_png())
        else:
            raise ValueError(
                f"a graph is written as .svg, .png, .dot or .html, not as {suffix or path.name!r}"
            )
        return path

    def show(self, height: int = 640) -> None:
        """Open the page: in the notebook (``height`` pixels high), else in the web browser."""
        shell = _notebook()
        if shell is not None:
            frame = f'<iframe srcdoc="{escape(self.to_html())}" width="100%" height="{height}"'
            shell.display_pub.publish({"text/html": f'{frame} style="border:0"></iframe>'})
            return
        import tempfile
        import webbrowser

        with tempfile.NamedTemporaryFile(
            "w", suffix=".html", prefix="jitgrad-", delete=False, encoding="utf-8"
        ) as file:
            file.write(self.to_html())
        webbrowser.open(Path(file.name).as_uri())

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        """The drawing for notebooks; without the layout library the text."""
        try:
            return {"image/svg+xml": self.to_svg(), "text/plain": repr(self)}
        except ImportError as error:
            return {"text/plain": f"{self!r}\n({error})"}


def _notebook() -> Any:
    """The shell of the notebook that this runs in, or None."""
    import sys

    # A program that runs in a notebook has IPython loaded.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell if type(shell).__name__ == "ZMQInteractiveShell" else None
