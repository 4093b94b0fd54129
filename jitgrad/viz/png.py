"""The graph as a PNG picture, drawn by Matplotlib from the same layout as the SVG."""

from __future__ import annotations

import io

from jitgrad.viz import svg
from jitgrad.viz.extra import needed
from jitgrad.viz.layout import Layout, Wire
from jitgrad.viz.snapshot import Snapshot
from jitgrad.viz.style import DETAIL, EDGE, LOOKS, TITLE, colour, lines

#: Pixels a point, unless the picture would get more than so many pixels wide or high.
SCALE = 2.0
LARGEST = 12_000


def write(snapshot: Snapshot, layout: Layout) -> bytes:
    """The drawing as the bytes of a PNG file.

    Raises
    ------
    ImportError
        Without Matplotlib.
    """
    canvas = needed("matplotlib.backends.backend_agg").FigureCanvasAgg
    figure = needed("matplotlib.figure").Figure
    patches, path = needed("matplotlib.patches"), needed("matplotlib.path").Path
    margin = svg.MARGIN
    width, height = layout.width + 2 * margin, layout.height + 2 * margin
    picture = figure(figsize=(width / 72, height / 72))
    canvas(picture)
    axes = picture.add_axes(
        (0, 0, 1, 1), xlim=(-margin, width - margin), ylim=(height - margin, -margin)
    )
    axes.set_axis_off()
    for edge, wire in zip(snapshot.edges, layout.wires, strict=True):
        style = "-" if edge.grad else "--"
        curve = _curve(path, wire)
        axes.add_patch(patches.PathPatch(curve, fill=False, edgecolor=EDGE, lw=1, linestyle=style))
        axes.add_patch(patches.Polygon(svg.arrow(wire), facecolor=EDGE, lw=0))
    for node in snapshot.nodes:
        look, box = LOOKS[node.kind], layout.boxes[node.row]
        left, top = box.x - box.width / 2, box.y - box.height / 2
        axes.add_patch(
            patches.FancyBboxPatch(
                (left, top),
                box.width,
                box.height,
                boxstyle="round,pad=0,rounding_size=7",
                facecolor=look.fill,
                edgecolor=look.border,
                lw=2.5 if node.root else 1.2,
            )
        )
        for i, line in enumerate(lines(node)):
            axes.text(
                box.x,
                svg.baseline(top, i),
                line.text,
                ha="center",
                va="baseline",
                color=colour(line),
                family="DejaVu Sans Mono",
                size=TITLE if i == 0 else DETAIL,
                weight="bold" if i == 0 else "normal",
                parse_math=False,
            )
    out = io.BytesIO()
    picture.savefig(out, format="png", dpi=72 * min(SCALE, LARGEST / max(width, height)))
    return out.getvalue()


def _curve(path: type, wire: Wire) -> object:
    codes = [path.MOVETO, *[path.CURVE4] * (len(wire.points) - 1)]  # type: ignore[attr-defined]
    return path(wire.points, codes)
