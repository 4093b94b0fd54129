"""A line search for the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from jitgrad.tensor import Tensor


class Point(NamedTuple):
    """What is known at a step length: the loss, the gradient, and the slope along the line."""

    t: float
    loss: float
    gradient: Tensor
    slope: float


def _lowest(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """The step length of the minimum of the cubic through two points, kept in bounds (default: between)."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    left, right = (a, b) if a.t <= b.t else (b, a)
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    part = (right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2)
    return min(max(right.t - (right.t - left.t) * part, low), high)


def _bracket(
    evaluate: Callable[[float], Point], start: Point, t: float, c1: float, c2: float, most: int
) -> tuple[list[Point], bool, int, int]:
    """Step outwards until a minimum lies between two points, or one meets the conditions.

    Returns the points, whether the first is the answer, the iterations and the evaluations.
    """
    before, point = start, evaluate(t)
    count = 0
    while count < most:
        too_high = point.loss > start.loss + c1 * point.t * start.slope
        if too_high or (count > 1 and point.loss >= before.loss):
            return [before, point], False, count, count + 1
        if abs(point.slope) <= -c2 * start.slope:
            return [point], True, count, count + 1
        if point.slope >= 0:
            return [before, point], False, count, count + 1
        bounds = (point.t + 0.01 * (point.t - before.t), point.t * 10)
        t = _lowest(before, point, bounds)
        before, point = point, evaluate(t)
        count += 1
    return [start, point], False, count, count + 1


def strong_wolfe(
    evaluate: Callable[[float], Point],
    start: Point,
    t: float,
    d_norm: float,
    most: int,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance: float = 1e-9,
) -> tuple[Point, int]:
    """A point on the line whose loss has fallen enough and whose slope is flat enough.

    Parameters
    ----------
    evaluate : callable
        The `Point` at a step length.
    start : Point
        Where the line begins, its slope negative.
    t : float
        The step length to try first.
    d_norm : float
        The largest component of the direction.
    most : int
        Iterations after which the best point so far is taken.

    Returns
    -------
    (Point, int)
        The point and how often ``evaluate`` was called.
    """
    bracket, done, count, calls = _bracket(evaluate, start, t, c1, c2, most)
    stuck = False
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    while not done and count < most:
        first, last = sorted((bracket[0].t, bracket[1].t))
        if (last - first) * d_norm < tolerance:
            break
        t = _lowest(bracket[0], bracket[1])
        # A guess at the edge of the bracket makes little progress: the second time it is moved inwards.
        margin = 0.1 * (last - first)
        if min(last - t, t - first) < margin:
            if stuck or t >= last or t <= first:
                t = last - margin if abs(t - last) < abs(t - first) else first + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = evaluate(t)
        calls += 1
        count += 1
        if point.loss > start.loss + c1 * t * start.slope or point.loss >= bracket[low].loss:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        else:
            if abs(point.slope) <= -c2 * start.slope:
                done = True
            elif point.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = point
    return bracket[low if len(bracket) > 1 else 0], calls
