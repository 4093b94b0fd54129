"""Real programs: likelihoods, differential equations, minimisation, models. Each is small and whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from jitgrad.bench.case import Case, Namespace, Prepared, gradients, random
from jitgrad.bench.operations import logsumexp
from jitgrad.bench.programs import Array, Program

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

    s = (start[0], start[1], start[2])
    for _ in range(steps):
        k1 = slope(s)
        k2 = slope(moved(s, k1, dt / 2))
        k3 = slope(moved(s, k2, dt / 2))
        k4 = slope(moved(s, k3, dt))
        s = tuple(
            a + (dt / 6) * (p + 2 * q + 2 * r + t)
            for a, p, q, r, t in zip(s, k1, k2, k3, k4, strict=True)
        )
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
) -> Case:
    """A case whose function is the same for tensors and arrays."""
    program = Program(function, function, data, wanted)
    return Case(name, what, program.eager, program=program, rtol=rtol, atol=1e-5)


# ---------------------------------------------------------------- training steps of models


def trained(
    T: Namespace,
    make: Callable[[Namespace], Any],
    loss: Callable[[Namespace, Any, Array], Any],
    x: Array,
) -> Prepared:
    """A step of SGD on a model whose weights are set by us."""
    model = make(T)
    params = list(model.parameters())
    with T.no_grad():
        for k, p in enumerate(params):
            fan = p.shape[-1] if p.ndim > 1 else 100
            p.copy_(T.tensor(random(*p.shape, seed=k, scale=fan**-0.5)))
    optimiser = T.optim.SGD(params, lr=1e-3)
    inputs = T.tensor(x)

    def run() -> None:
        optimiser.zero_grad()
        loss(T, model(inputs), x).backward()
        optimiser.step()

    return Prepared(run, lambda: gradients(*params))


def _digits(T: Namespace) -> Any:
    nn = T.nn
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 13 * 13, 10),
    )  # fmt: skip


def _classified(T: Namespace, scores: Any, x: Array) -> Any:
    labels = T.tensor(np.arange(len(x)) % 10)
    return T.nn.functional.cross_entropy(scores, labels)


def _perceptron(T: Namespace) -> Any:
    nn = T.nn
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


def _squares(T: Namespace, out: Any, x: Array) -> Any:
    return ((out[0] if isinstance(out, tuple) else out) ** 2).mean()


def _lstm(T: Namespace) -> Any:
    return T.nn.LSTM(32, 64)


def _transformer(T: Namespace) -> Any:
    return T.nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)


def _residual(T: Namespace) -> Any:
    nn = T.nn

    # The base is that of whichever library is measured, so a type checker can't know it.
    class Block(nn.Module):  # type: ignore[misc, name-defined]
        """A block of a residual network: two convolutions beside the identity."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(
                nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            """Add what the convolutions make to the input."""
            return T.relu(x + self.inner(x))

    return Block()


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
    )
    yield of_arrays(
        "lorenz",
        "Lorenz' equations, 200 Runge-Kutta steps, gradients of start and constants",
        partial(lorenz, steps=200),
        lorenz_data,
        (0, 1),
        rtol=1e-7,
    )
    for n in (2, 1000):
        yield of_arrays(
            f"rosenbrock_{n}",
            f"Rosenbrock's function in {n} dims",
            rosenbrock,
            partial(_point, n),
            (0,),
        )
    yield Case(
        "mlp",
        "step of nn.Sequential with SGD: perceptron 32x64-64-10",
        partial(trained, make=_perceptron, loss=_classified, x=random(32, 64)),
        atol=1e-5,
    )
    yield Case(
        "cnn",
        "step of a small convolutional net on 16 images of 28x28",
        partial(trained, make=_digits, loss=_classified, x=random(16, 1, 28, 28)),
        atol=1e-5,
    )
    for name, what, make, shape in (
        ("lstm", "LSTM 32-64, 20 steps of 16 sequences", _lstm, (20, 16, 32)),
        ("transformer", "transformer layer, 8 x 32 tokens of 64", _transformer, (8, 32, 64)),
        ("resnet_block", "residual block on 8x16x28x28", _residual, (8, 16, 28, 28)),
    ):
        yield Case(
            name,
            f"step with SGD: {what}",
            partial(trained, make=make, loss=_squares, x=random(*shape)),
            atol=1e-4,
            rtol=1e-3,
        )


WORKLOADS = {case.name: case for case in all_workloads()}
