"""A training step of a perceptron: forward, cross-entropy, backward, SGD with momentum, in each library."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jitgrad.bench.case import Floats, Ints, Namespace, Prepared, compiled, gradients, random
from jitgrad.bench.measuring import copied

LR = 1e-3
MOMENTUM = 0.9


class Perceptron(NamedTuple):
    """Data and initial weights; linear layers with relu between them."""

    x: Floats  # (batch, inputs)
    labels: Ints  # (batch,)
    params: list[Floats]  # weight (out, in) and bias (out,) of each layer


def perceptron(batch: int, widths: tuple[int, ...]) -> Perceptron:
    """Make data and weights; `widths` begins with the inputs and ends with the classes."""
    labels = np.random.default_rng(3).integers(0, widths[-1], batch)
    params = []
    for k, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        params.append(random(after, before, seed=4 + 2 * k, scale=before**-0.5))
        params.append(random(after, seed=5 + 2 * k, scale=0.1))
    return Perceptron(random(batch, widths[0], seed=40), labels, params)


def _loss(T: Namespace) -> Callable[..., Any]:
    linear, cross_entropy, relu = T.nn.functional.linear, T.nn.functional.cross_entropy, T.relu

    def loss(h: Any, labels: Any, *params: Any) -> Any:
        last = len(params) - 2
        for k in range(0, last, 2):
            h = relu(linear(h, params[k], params[k + 1]))
        return cross_entropy(linear(h, params[last], params[last + 1]), labels)

    return loss


def step(T: Namespace, batch: int, widths: tuple[int, ...]) -> Prepared:
    """A training step as a user writes it, without an optimiser class."""
    data = perceptron(batch, widths)
    x, labels = T.tensor(data.x), T.tensor(data.labels)
    params = [T.tensor(p, requires_grad=True) for p in data.params]
    pairs = [(p, T.tensor(np.zeros_like(v))) for p, v in zip(params, data.params, strict=True)]
    loss = compiled(T, _loss)

    def run() -> None:
        for p in params:
            p.grad = None
        loss(x, labels, *params).backward()
        with T.no_grad():
            for p, velocity in pairs:
                velocity.mul_(MOMENTUM).add_(p.grad)
                p.add_(velocity, alpha=-LR)

    return Prepared(run, lambda: gradients(*params) + [p.detach().numpy().copy() for p in params])


def by_hand(batch: int, widths: tuple[int, ...]) -> Prepared:
    """The same step in NumPy, gradient and all."""
    x, labels, params = perceptron(batch, widths)
    weights, biases = params[::2], params[1::2]
    rows = np.arange(len(labels))
    velocities = [np.zeros_like(p) for p in params]
    grads: list[Floats] = []

    def run() -> float:
        inputs = [x]
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            h = inputs[-1] @ w.T
            h += b
            np.maximum(h, 0, out=h)
            inputs.append(h)
        scores = inputs[-1] @ weights[-1].T
        scores += biases[-1]
        scores -= scores.max(axis=1, keepdims=True)
        p = np.exp(scores)
        total = p.sum(axis=1, keepdims=True)
        loss = (np.log(total[:, 0]) - scores[rows, labels]).mean()
        p /= total
        p[rows, labels] -= 1
        p /= len(labels)
        found = []
        for k in reversed(range(len(weights))):
            found += [p.sum(axis=0), p.T @ inputs[k]]
            if k:
                p = p @ weights[k]
                p *= inputs[k] > 0
        grads[:] = reversed(found)
        for param, velocity, grad in zip(params, velocities, grads, strict=True):
            velocity *= MOMENTUM
            velocity += grad
            param -= LR * velocity
        return float(loss)

    return Prepared(run, lambda: [value.copy() for value in (*grads, *params)])


def _array_loss(xp: Any, x: Any, labels: Any, params: Any) -> Any:
    h = x
    for k in range(0, len(params) - 2, 2):
        h = xp.maximum(xp.dot(h, params[k].T) + params[k + 1], 0)
    scores = xp.dot(h, params[-2].T) + params[-1]
    scores = scores - xp.max(scores, 1, keepdims=True)
    picked = scores[np.arange(len(labels)), labels]
    return xp.mean(xp.log(xp.sum(xp.exp(scores), 1)) - picked)


def in_jax(jax: Any, batch: int, widths: tuple[int, ...]) -> Prepared:
    """The same step in JAX, compiled as a whole."""
    x, labels, weights = perceptron(batch, widths)
    params = [jax.numpy.asarray(p) for p in weights]
    velocities = [jax.numpy.zeros_like(p) for p in params]
    state = [params, velocities, params]
    gradient = jax.grad(lambda x, params: _array_loss(jax.numpy, x, labels, params), 1)

    def update(x: Any, params: Any, velocities: Any) -> Any:
        grads = gradient(x, params)
        velocities = [MOMENTUM * v + g for v, g in zip(velocities, grads, strict=True)]
        params = [p - LR * v for p, v in zip(params, velocities, strict=True)]
        return params, velocities, grads

    inputs, compiled_update = jax.numpy.asarray(x), jax.jit(update)

    def run() -> None:
        state[:] = jax.block_until_ready(compiled_update(inputs, state[0], state[1]))

    return Prepared(run, lambda: [copied(value) for value in (*state[2], *state[0])])


def in_autograd(autograd: Any, batch: int, widths: tuple[int, ...]) -> Prepared:
    """The same step in HIPS autograd."""
    x, labels, params = perceptron(batch, widths)
    velocities = [np.zeros_like(p) for p in params]
    gradient = autograd.grad(lambda params: _array_loss(autograd.numpy, x, labels, params))
    grads: list[Floats] = []

    def run() -> None:
        grads[:] = gradient(params)
        for param, velocity, grad in zip(params, velocities, grads, strict=True):
            velocity *= MOMENTUM
            velocity += grad
            param -= LR * velocity

    return Prepared(run, lambda: [value.copy() for value in (*grads, *params)])


def ways(batch: int, widths: tuple[int, ...]) -> dict[str, Callable[[Any], Prepared]]:
    """The step in the libraries that are not like torch."""
    return {
        "numpy": lambda module: by_hand(batch, widths),
        "jax": partial(in_jax, batch=batch, widths=widths),
        "autograd": partial(in_autograd, batch=batch, widths=widths),
    }
