"""The cases with goals: what is computed, on which data, and how fast it is to be.

A case's `setup` takes a namespace `T`, the module `torch` or `jitgrad`, makes its tensors there
and returns the work as a function without arguments, with the values it leaves behind. Data are
the same on every call, so results can be compared between libraries before anything is timed.

Families: A many small ops, B training steps of a perceptron, C one op on many elements, D ops of neural
networks, E a step of an optimiser. Unless noted the work is forward and backward; gradients are set to
None in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jitgrad.bench.case import Case, Floats, Goal, Ints, Namespace, Prepared, gradients, random

LR = 1e-3
MOMENTUM = 0.9


# A: many small ops


def chain(x: Any, nodes: int) -> Any:
    """Multiply and add by turns, `nodes` ops in all."""
    y = x
    for _ in range(nodes // 2):
        y = y * 1.0001
        y = y + 0.5
    return y


def small_chain(T: Namespace, nodes: int) -> Prepared:
    """A chain of ops on 4 elements, built and walked back."""
    x = T.tensor(random(4), requires_grad=True)

    def run() -> None:
        x.grad = None
        chain(x, nodes).sum().backward()

    return Prepared(run, lambda: gradients(x))


def small_expression(T: Namespace) -> Prepared:
    """Four ops on 4 elements."""
    x = T.tensor(random(4, seed=1), requires_grad=True)
    y = T.tensor(random(4, seed=2), requires_grad=True)

    def run() -> None:
        x.grad = None
        y.grad = None
        (x * y).exp().sum().backward()

    return Prepared(run, lambda: gradients(x, y))


def chain_backward(T: Namespace, nodes: int) -> Prepared:
    """Backward alone, through a chain that was built before."""
    x = T.tensor(random(4), requires_grad=True)
    y = chain(x, nodes)
    weight = T.tensor(random(4, seed=1))

    def run() -> None:
        x.grad = None
        y.backward(weight, retain_graph=True)

    return Prepared(run, lambda: gradients(x))


# B: a training step of a perceptron: forward, cross-entropy, backward, SGD with momentum


class Perceptron(NamedTuple):
    """Data and initial weights of a two-layer perceptron."""

    x: Floats  # (batch, inputs)
    labels: Ints  # (batch,)
    params: list[Floats]  # (hidden, inputs), (hidden,), (classes, hidden), (classes,)


def perceptron(batch: int, inputs: int, hidden: int, classes: int = 10) -> Perceptron:
    """Make data and weights for the given sizes."""
    labels = np.random.default_rng(3).integers(0, classes, batch)
    params = [
        random(hidden, inputs, seed=4, scale=inputs**-0.5),
        random(hidden, seed=5, scale=0.1),
        random(classes, hidden, seed=6, scale=hidden**-0.5),
        random(classes, seed=7, scale=0.1),
    ]
    return Perceptron(random(batch, inputs, seed=8), labels, params)


def perceptron_step(T: Namespace, **sizes: int) -> Prepared:
    """A training step as a user writes it, without an optimiser class."""
    data = perceptron(**sizes)
    linear, cross_entropy = T.nn.functional.linear, T.nn.functional.cross_entropy
    x, labels = T.tensor(data.x), T.tensor(data.labels)
    params = [T.tensor(p, requires_grad=True) for p in data.params]
    pairs = [(p, T.tensor(np.zeros_like(v))) for p, v in zip(params, data.params, strict=True)]
    w1, b1, w2, b2 = params

    def run() -> None:
        for p in params:
            p.grad = None
        scores = linear(T.relu(linear(x, w1, b1)), w2, b2)
        cross_entropy(scores, labels).backward()
        with T.no_grad():
            for p, velocity in pairs:
                velocity.mul_(MOMENTUM).add_(p.grad)
                p.add_(velocity, alpha=-LR)

    return Prepared(run, lambda: gradients(*params) + [p.detach().numpy().copy() for p in params])


def perceptron_by_hand(**sizes: int) -> Prepared:
    """The same step in NumPy, gradient and all."""
    x, labels, params = perceptron(**sizes)
    w1, b1, w2, b2 = params
    rows = np.arange(len(labels))
    velocities = [np.zeros_like(p) for p in params]
    grads: list[Floats] = []

    def run() -> float:
        h = x @ w1.T
        h += b1
        np.maximum(h, 0, out=h)
        scores = h @ w2.T
        scores += b2
        scores -= scores.max(axis=1, keepdims=True)
        p = np.exp(scores)
        total = p.sum(axis=1, keepdims=True)
        loss = (np.log(total[:, 0]) - scores[rows, labels]).mean()
        p /= total
        p[rows, labels] -= 1
        p /= len(labels)
        dh = p @ w2
        dh *= h > 0
        grads[:] = dh.T @ x, dh.sum(axis=0), p.T @ h, p.sum(axis=0)
        for param, velocity, grad in zip(params, velocities, grads, strict=True):
            velocity *= MOMENTUM
            velocity += grad
            param -= LR * velocity
        return float(loss)

    return Prepared(run, lambda: [value.copy() for value in (*grads, *params)])


# C: one op on many elements

ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "exp": lambda x: x.exp(),
    "relu": lambda x: x.relu(),
    "sigmoid": lambda x: x.sigmoid(),
    "tanh": lambda x: x.tanh(),
    "sum": lambda x: x.sum(),
}
ROWWISE: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: x.softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "mean": lambda x: x.mean(-1),
    "var": lambda x: x.var(-1),
}
C_OPS = (*ELEMENTWISE, *ROWWISE)
C_SIZES = {2**14: "16K", 2**20: "1M"}
C_LIMITS = {  # at 2**20
    **dict.fromkeys(("exp", "relu", "sigmoid", "softmax"), 0.8),
    **dict.fromkeys(("tanh", "logsumexp", "var"), 0.5),
    "mean": 0.6,
    "sum": 1.0,
}


def one_op(T: Namespace, op: str, elements: int) -> Prepared:
    """One op and its backward, on a flat array or on the rows of a square one."""
    side = round(elements**0.5)
    shape = (elements,) if op in ELEMENTWISE else (side, side)
    x = T.tensor(random(*shape), requires_grad=True)
    forward = ELEMENTWISE.get(op) or ROWWISE[op]
    weight = T.tensor(random(*forward(x).shape, seed=1))

    def run() -> None:
        x.grad = None
        forward(x).backward(weight)

    return Prepared(run, lambda: gradients(x))


CONVOLUTIONS = {"C64_56": (8, 64, 56), "C256_14": (8, 256, 14)}


def convolution(T: Namespace, batch: int, channels: int, side: int) -> Prepared:
    """A 3x3 convolution that keeps shape and channels, gradients of input and weight."""
    shape = (batch, channels, side, side)
    x = T.tensor(random(*shape), requires_grad=True)
    scale = (9 * channels) ** -0.5
    w = T.tensor(random(channels, channels, 3, 3, seed=1, scale=scale), requires_grad=True)
    weight = T.tensor(random(*shape, seed=2))

    def run() -> None:
        x.grad = None
        w.grad = None
        T.nn.functional.conv2d(x, w, padding=1).backward(weight)

    return Prepared(run, lambda: gradients(x, w))


def layer_norm(T: Namespace, side: int) -> Prepared:
    """The rows of a square array normalized, with weight and bias."""
    x = T.tensor(random(side, side), requires_grad=True)
    w = T.tensor(random(side, seed=1), requires_grad=True)
    b = T.tensor(random(side, seed=2), requires_grad=True)
    weight = T.tensor(random(side, side, seed=3))

    def run() -> None:
        x.grad = None
        w.grad = None
        b.grad = None
        T.nn.functional.layer_norm(x, (side,), w, b).backward(weight)

    return Prepared(run, lambda: gradients(x, w, b))


def batch_norm(T: Namespace, batch: int, channels: int, side: int) -> Prepared:
    """Channels of images normalized, with weight and bias."""
    shape = (batch, channels, side, side)
    x = T.tensor(random(*shape), requires_grad=True)
    w = T.tensor(random(channels, seed=1), requires_grad=True)
    b = T.tensor(random(channels, seed=2), requires_grad=True)
    weight = T.tensor(random(*shape, seed=3))

    def run() -> None:
        x.grad = None
        w.grad = None
        b.grad = None
        T.nn.functional.batch_norm(x, None, None, w, b, training=True).backward(weight)

    return Prepared(run, lambda: gradients(x, w, b))


# E: a step of an optimiser


E_LIMITS = {("SGD", 100): 0.2, ("Adam", 100): 0.05, ("SGD", 4): 0.9, ("Adam", 4): 0.4}


def optimiser_step(T: Namespace, name: str, count: int, shape: tuple[int, ...]) -> Prepared:
    """One step over `count` parameters whose gradients are there, with PyTorch's default options."""
    params = [T.tensor(random(*shape, seed=k), requires_grad=True) for k in range(count)]
    for k, p in enumerate(params):
        p.grad = T.tensor(random(*shape, seed=count + k))
    optimiser = getattr(T.optim, name)(params, lr=LR)
    return Prepared(optimiser.step, lambda: [p.detach().numpy().copy() for p in params])


A5_NAMES = {10**2: "A5_100", 10**3: "A5_1k", 10**4: "A5_10k", 10**5: "A5_100k", 10**6: "A5_1M"}
B1 = {"batch": 32, "inputs": 64, "hidden": 32}
B2 = {"batch": 128, "inputs": 784, "hidden": 256}


def all_cases() -> Iterator[Case]:
    """Yield every case, the small first."""
    a1 = partial(small_chain, nodes=200)
    yield Case("A1", "chain of 200 mul/add on 4 elements", a1, goals=(Goal(0.20),))
    yield Case("A2", "(x*y).exp().sum() on 4 elements", small_expression, goals=(Goal(0.10),))
    for nodes, name in A5_NAMES.items():
        setup = partial(chain_backward, nodes=nodes)
        goals = (Goal(1.5, "A5_1k"),) if nodes == 10**5 else ()
        yield Case(name, f"backward of {nodes:,} nodes, per node", setup, goals=goals, nodes=nodes)
    yield Case(
        "B1",
        "perceptron step 32x64-32-10",
        partial(perceptron_step, **B1),
        partial(perceptron_by_hand, **B1),
        goals=(Goal(0.25), Goal(1.0, "numpy")),
    )
    b2, b2_by_hand = partial(perceptron_step, **B2), partial(perceptron_by_hand, **B2)
    yield Case("B2", "perceptron step 128x784-256-10", b2, b2_by_hand, goals=(Goal(0.9),))
    for name in ("SGD", "Adam"):
        for count, shape in ((100, (8, 8)), (4, (512, 512))):
            yield Case(
                f"E_{name}_{count}",
                f"{name} step, {count} parameters of {'x'.join(map(str, shape))}",
                partial(optimiser_step, name=name, count=count, shape=shape),
                goals=(Goal(E_LIMITS[name, count]),),
            )
    for elements, size in C_SIZES.items():
        for op in C_OPS:
            goals = (Goal(C_LIMITS[op]),) if elements == 2**20 else ()
            setup = partial(one_op, op=op, elements=elements)
            yield Case(f"C_{op}_{size}", f"{op} on {elements:,} elements", setup, goals=goals)
    for name, (batch, channels, side) in CONVOLUTIONS.items():
        setup = partial(convolution, batch=batch, channels=channels, side=side)
        what = f"3x3 convolution, {batch}x{channels}x{side}x{side}"
        # PyTorch adds up the weight's gradient in float32: 7e-6 off, where ours is 5e-7.
        flops = 3 * 2 * 9.0 * batch * (channels * side) ** 2
        yield Case(f"D_conv_{name}", what, setup, goals=(Goal(1.3),), atol=1e-5, flops=flops)
    setup = partial(layer_norm, side=1024)
    what = "layer_norm on 1024x1024"
    yield Case("D_layer_norm", what, setup, goals=(Goal(0.7),), atol=1e-5)
    setup = partial(batch_norm, batch=8, channels=64, side=56)
    yield Case("D_batch_norm", "batch_norm on 8x64x56x56", setup, goals=(Goal(1.0),), atol=1e-5)


CASES = {case.name: case for case in all_cases()}
