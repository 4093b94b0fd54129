"""The cases with goals: what is computed, on which data, and how fast it is to be.

A case's `setup` takes a namespace `T`, the module `torch` or `jitgrad`, makes its tensors there
and returns the work as a function without arguments, with the values it leaves behind. Data are
the same on every call, so results can be compared between libraries before anything is timed.

Families: A many small ops, B training steps of a perceptron, C one op on many elements, D ops of neural
networks, E a step of an optimiser. Unless noted the work is forward and backward; gradients are set to
None in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from jitgrad.bench import by_hand, operations, perceptron
from jitgrad.bench.case import Case, Goal, Namespace, Prepared, compiled, gradients, random
from jitgrad.bench.perceptron import LR
from jitgrad.bench.programs import Program

# A: many small ops


def chain(x: Any, nodes: int) -> Any:
    """Multiply and add by turns, `nodes` ops in all."""
    y = x
    for _ in range(nodes // 2):
        y = y * 1.0001
        y = y + 0.5
    return y


def expression(xp: Any, x: Any, y: Any) -> Any:
    """Four ops."""
    return xp.sum(xp.exp(x * y))


#: (x * y).exp().sum(), and the chain's sum, on 4 elements; then backward alone from a chain's end.
EXPRESSION = Program(
    lambda T, x, y: (x * y).exp().sum(),
    expression,
    lambda: [random(4, seed=1), random(4, seed=2)],
    (0, 1),
    weighted=False,
    by_hand=by_hand.expression,
)


def chain_program(nodes: int) -> Program:
    """A chain, summed, built and walked back."""
    return Program(
        lambda T, x: chain(x, nodes).sum(),
        lambda xp, x: xp.sum(chain(x, nodes)),
        lambda: [random(4)],
        (0,),
        weighted=False,
        by_hand=partial(by_hand.chain, nodes=nodes),
        unrolled=nodes,
    )


def chain_backward(nodes: int) -> Program:
    """Backward alone, through a chain that was built before."""
    return Program(
        lambda T, x: chain(x, nodes),
        lambda xp, x: chain(x, nodes),
        lambda: [random(4)],
        (0,),
        "backward",
        unrolled=nodes,
    )


# C: one op on many elements

C_OPS = "exp relu sigmoid tanh sum softmax logsumexp mean var".split()
C_SIZES = {2**14: "16K", 2**20: "1M"}
C_LIMITS = {  # as a part of torch's time, at 2**20 and at 2**14
    2**20: dict.fromkeys(C_OPS, 0.6)
    | {"relu": 0.8, "sum": 0.95, "softmax": 0.7}
    | dict.fromkeys(("tanh", "var", "logsumexp"), 0.3),
    2**14: dict.fromkeys(C_OPS, 0.5),
}


CONVOLUTIONS = {"C64_56": (8, 64, 56), "C256_14": (8, 256, 14)}


def convolution(T: Namespace, batch: int, channels: int, side: int) -> Prepared:
    """A 3x3 convolution that keeps shape and channels, gradients of input and weight."""
    shape = (batch, channels, side, side)
    x = T.tensor(random(*shape), requires_grad=True)
    scale = (9 * channels) ** -0.5
    w = T.tensor(random(channels, channels, 3, 3, seed=1, scale=scale), requires_grad=True)
    weight = T.tensor(random(*shape, seed=2))

    conv2d = compiled(T, lambda T: partial(T.nn.functional.conv2d, padding=1))

    def run() -> None:
        x.grad = None
        w.grad = None
        conv2d(x, w).backward(weight)

    return Prepared(run, lambda: gradients(x, w))


def layer_norm(side: int) -> Program:
    """The rows of a square array normalized, with weight and bias."""

    def arrays(xp: Any, x: Any, w: Any, b: Any) -> Any:
        d = x - xp.mean(x, -1, keepdims=True)
        return d / xp.sqrt(xp.mean(d * d, -1, keepdims=True) + 1e-5) * w + b

    return Program(
        lambda T, x, w, b: T.nn.functional.layer_norm(x, (side,), w, b),
        arrays,
        lambda: [random(side, side), random(side, seed=1), random(side, seed=2)],
        (0, 1, 2),
        by_hand=by_hand.layer_norm,
    )


def batch_norm(T: Namespace, batch: int, channels: int, side: int) -> Prepared:
    """Channels of images normalized, with weight and bias."""
    shape = (batch, channels, side, side)
    x = T.tensor(random(*shape), requires_grad=True)
    w = T.tensor(random(channels, seed=1), requires_grad=True)
    b = T.tensor(random(channels, seed=2), requires_grad=True)
    weight = T.tensor(random(*shape, seed=3))

    def make(T: Namespace) -> Any:
        return lambda x, w, b: T.nn.functional.batch_norm(x, None, None, w, b, training=True)

    normalize = compiled(T, make)

    def run() -> None:
        x.grad = None
        w.grad = None
        b.grad = None
        normalize(x, w, b).backward(weight)

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
PERCEPTRONS = {
    "B1": (32, (64, 32, 10), (Goal(0.15), Goal(0.7, "numpy"))),
    "B2": (128, (784, 256, 10), (Goal(0.85),)),
    "B3": (256, (784, 1024, 1024, 10), (Goal(0.97),)),
}


def all_cases() -> Iterator[Case]:
    """Yield every case, the small first."""
    a1 = chain_program(200)
    yield Case("A1", "chain of 200 mul/add on 4 elements", a1.eager, a1, goals=(Goal(0.15),))
    what = "(x*y).exp().sum() on 4 elements"
    yield Case("A2", what, EXPRESSION.eager, EXPRESSION, goals=(Goal(0.06),))
    for nodes, name in A5_NAMES.items():
        program = chain_backward(nodes)
        goals = (Goal(1.5, "A5_1k"),) if nodes == 10**5 else ()
        what = f"backward of {nodes:,} nodes, per node"
        yield Case(name, what, program.eager, program, goals=goals, nodes=nodes)
    for name, (batch, widths, limits) in PERCEPTRONS.items():
        yield Case(
            name,
            f"perceptron step {batch}x{'-'.join(map(str, widths))}",
            partial(perceptron.step, batch=batch, widths=widths),
            ways=perceptron.ways(batch, widths),
            goals=limits,
            # A step over weights of 1e-2 moves them by 1e-6: what rounds differently shows there.
            atol=1e-5,
            flops=6.0 * batch * sum(a * b for a, b in zip(widths, widths[1:], strict=False)),
        )
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
            made = operations.case(op, "both", elements, "float32", "contiguous")
            goals = (Goal(C_LIMITS[elements][op]),)
            yield replace(made, name=f"C_{op}_{size}", goals=goals)
    for name, (batch, channels, side) in CONVOLUTIONS.items():
        setup = partial(convolution, batch=batch, channels=channels, side=side)
        what = f"3x3 convolution, {batch}x{channels}x{side}x{side}"
        # PyTorch adds up the weight's gradient in float32: 7e-6 off, where ours is 5e-7.
        flops = 3 * 2 * 9.0 * batch * (channels * side) ** 2
        yield Case(f"D_conv_{name}", what, setup, goals=(Goal(1.3),), atol=1e-5, flops=flops)
    norm = layer_norm(1024)
    what = "layer_norm on 1024x1024"
    yield Case("D_layer_norm", what, norm.eager, norm, goals=(Goal(0.7),), atol=1e-5)
    setup = partial(batch_norm, batch=8, channels=64, side=56)
    yield Case("D_batch_norm", "batch_norm on 8x64x56x56", setup, goals=(Goal(1.0),), atol=1e-5)


CASES = {case.name: case for case in all_cases()}
