"""Pictures of results: time against size, a line per library, and a roofline."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from jitgrad.bench.case import Case
from jitgrad.bench.results import Measurement, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 24
FORMATS = ("png", "svg")


class CannotPlot(Exception):
    """There is nothing to draw, or Matplotlib is missing."""


NOTHING = "nothing to plot: no case that was measured has a size (see --sizes)"


def check(cases: Sequence[Case]) -> None:
    """Raise CannotPlot now, before anything is measured, if there will be nothing to draw or to draw with."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CannotPlot("--plot needs Matplotlib: pip install 'jitgrad[viz]'")
    if not any(case.size for case in cases):
        raise CannotPlot(NOTHING)


def picture(report: Report, kind: str) -> bytes:
    """Draw a report as PNG or SVG.

    Raises
    ------
    CannotPlot
        If nothing that has a size was measured.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines: dict[str, list[Measurement]] = {}
    for m in report.measurements:
        if m.samples and m.size:
            lines.setdefault(m.line, []).append(m)
    if not lines:
        raise CannotPlot(NOTHING)
    names = list(lines)[:MOST_PANELS]
    panels = len(names) + 1
    columns = min(panels, 3)
    rows = ceil(panels / columns)
    figure = Figure(figsize=(5 * columns, 3.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    colors = {name: f"C{i}" for i, name in enumerate(report.libraries)}
    for i, name in enumerate(names):
        _against_size(figure.add_subplot(rows, columns, i + 1), name, lines[name], colors)
    shown = [m for name in names for m in lines[name]]
    _roofline(figure.add_subplot(rows, columns, panels), report.about, shown, colors)
    return drawn(figure, kind)


def drawn(figure: Figure, kind: str) -> bytes:
    """A figure as PNG or SVG; the same figure gives the same SVG, whose letters stay letters."""
    from matplotlib import rc_context

    out = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "jitgrad"}):
        figure.savefig(out, format=kind, dpi=90, metadata=metadata)
    return out.getvalue()


def _against_size(axes: Axes, title: str, found: list[Measurement], colors: dict[str, str]) -> None:
    for library in dict.fromkeys(m.library for m in found):
        points = sorted((m.size or 0, m.median or 0.0) for m in found if m.library == library)
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, "o-", label=library, color=colors[library], markersize=4)
    axes.set(xscale="log", yscale="log", title=title, xlabel="elements", ylabel="seconds")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)


def _roofline(
    axes: Axes, about: dict[str, Any], found: list[Measurement], colors: dict[str, str]
) -> None:
    bandwidth, peak = about.get("copy GB/s"), about.get("BLAS GFLOP/s")
    if bandwidth and peak:
        ridge = peak / bandwidth
        xs = [ridge / 1e4, ridge, ridge * 100]
        axes.plot(xs, [min(peak, x * bandwidth) for x in xs], "k-", label="copy, BLAS")
    for library, color in colors.items():
        # An elementwise op counts as one operation an element: then its height is its bandwidth.
        points = [
            (amount / m.nbytes, amount / m.median / 1e9)
            for m in found
            if m.library == library and m.nbytes and m.median and m.size
            for amount in (m.flops or float(m.size),)
        ]
        if points:
            px, py = zip(*points, strict=True)
            axes.plot(px, py, "o", color=color, label=library, markersize=4)
    axes.set(
        xscale="log", yscale="log", title="roofline", xlabel="operations per byte", ylabel="Gop/s"
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
