"""Real programs: likelihoods, differential equations, minimisation, models (`models`). Each is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from jitgrad.bench import by_hand as hand
from jitgrad.bench import models, own
from jitgrad.bench.case import Case, Goal, random
from jitgrad.bench.operations import logsumexp
from jitgrad.bench.programs import Array, ByHand, Program, loop

# ---------------------------------------------------------------- functions of arrays


def mixture(xp: Any, x: Any, means: Any, scales: Any, weights: Any) -> Any:
    """Minus the log-likelihood of points in a mixture of Gaussians with diagonal covariance."""
    d = (x - means) * xp.exp(-scales)  # (points, components, dims)
    each = -0.5 * xp.sum(d * d, -1) - xp.sum(scales, -1)
    return -xp.sum(logsumexp(xp, each + weights)) / x.shape[0] + logsumexp(xp, weights)


def mixture_data(points: int, components: int, dims: int) -> list[Array]:
    """Points, and the parameters of a mixture."""
    return [
        random(points, 1, dims),
        random(components, dims, seed=1),
        random(components, dims, seed=2, scale=0.1),
        random(components, seed=3),
    ]


def lorenz(xp: Any, start: Any, constants: Any, steps: int, dt: float = 0.01) -> Any:
    """Integrate Lorenz' equations by the classical Runge-Kutta method; the sum of the last state."""
    sigma, rho, beta = constants[0], constants[1], constants[2]

    def slope(s: Any) -> Any:
        x, y, z = s
        return sigma * (y - x), x * (rho - z) - y, x * y - beta * z

    def moved(s: Any, k: Any, h: float) -> Any:
        return tuple(a + h * b for a, b in zip(s, k, strict=True))

    def step(s: Any) -> Any:
        k1 = slope(s)
        k2 = slope(moved(s, k1, dt / 2))
        k3 = slope(moved(s, k2, dt / 2))
        k4 = slope(moved(s, k3, dt))
        return tuple(
            a + (dt / 6) * (p + 2 * q + 2 * r + t)
            for a, p, q, r, t in zip(s, k1, k2, k3, k4, strict=True)
        )

    s = loop(xp, step, (start[0], start[1], start[2]), steps)
    return s[0] + s[1] + s[2]


def lorenz_data() -> list[Array]:
    """A start, and Lorenz' constants."""
    return [np.array([1.0, 1.0, 1.0]), np.array([10.0, 28.0, 8.0 / 3.0])]


def rosenbrock(xp: Any, x: Any) -> Any:
    """Rosenbrock's function in many dims."""
    a, b = x[:-1], x[1:]
    return xp.sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2)


def of_arrays(
    name: str,
    what: str,
    function: Callable[..., Any],
    data: Callable[[], list[Array]],
    wanted: tuple[int, ...],
    rtol: float = 1e-4,
    by_hand: ByHand | None = None,
    unrolled: int = 0,
    goals: tuple[Goal, ...] = (),
) -> Case:
    """A case whose function is the same for tensors and arrays; its result is a number."""
    program = Program(
        function,
        function,
        data,
        wanted,
        weighted=False,
        by_hand=by_hand,
        unrolled=unrolled,
        loops=unrolled > 0,
    )
    return Case(name, what, program.eager, program, rtol=rtol, atol=1e-5, goals=goals)


def _point(n: int) -> list[Array]:
    return [np.asarray(random(n), "float64")]


def all_workloads() -> Iterator[Case]:
    """Yield every program."""
    yield of_arrays(
        "gmm",
        "log-likelihood of 1000 points in a mixture of 16 Gaussians in 8 dims",
        mixture,
        partial(mixture_data, 1000, 16, 8),
        (1, 2, 3),
        by_hand=hand.mixture,
    )
    yield of_arrays(
        "lorenz",
        "Lorenz' equations, 200 Runge-Kutta steps, gradients of start and constants",
        partial(lorenz, steps=200),
        lorenz_data,
        (0, 1),
        rtol=1e-7,
        unrolled=200 * 104,  # a step's
        goals=(Goal(0.15),),
    )
    for n in (2, 1000):
        yield of_arrays(
            f"rosenbrock_{n}",
            f"Rosenbrock's function in {n} dims",
            rosenbrock,
            partial(_point, n),
            (0,),
            by_hand=hand.rosenbrock,
        )
    yield from models.all_models()
    yield from own.all_own()


WORKLOADS = {case.name: case for case in all_workloads()}
