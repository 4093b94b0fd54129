"""Training steps of models, whose weights are set by us: the same in every library with PyTorch's modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from jitgrad.bench.case import Case, Goal, Namespace, Prepared, compiled, gradients, random
from jitgrad.bench.networks import gpt, resnet18
from jitgrad.bench.programs import Array

Make = Callable[[Namespace], Any]
Loss = Callable[[Namespace, Any, Array], Any]


def trained(
    T: Namespace, make: Make, loss: Loss, x: Array, optimiser: str = "SGD", compared: int = 0
) -> Prepared:
    """A step of an optimiser on a model; compared are the gradients, of the last parameters or of all."""
    params: list[Any] = []

    def filled(T: Namespace) -> Any:
        model = make(T)
        _fill(T, model)
        params[:] = model.parameters()
        return model

    model = compiled(T, filled)
    stepping = getattr(T.optim, optimiser)(params, lr=1e-3)
    inputs = T.tensor(x)

    def run() -> None:
        stepping.zero_grad()
        loss(T, model(inputs), x).backward()
        stepping.step()

    return Prepared(run, lambda: gradients(*params[-compared:]))


def _fill(T: Namespace, model: Any) -> None:
    with T.no_grad():
        for k, (name, p) in enumerate(model.named_parameters()):
            values = random(*p.shape, seed=k, scale=_scale(p.shape))
            if p.ndim == 1 and name.endswith("weight"):
                values = values + np.float32(1)  # of a normalization
            p.copy_(T.tensor(values))


def finetuned(T: Namespace, x: Array, step: bool) -> Prepared:
    """A step of a ResNet-18 of which only the new last layer is trained; or its forward pass alone."""
    model = resnet18(T)
    for p in model.parameters():
        p.requires_grad = False
    model.fc = T.nn.Linear(512, 100)
    _fill(T, model)
    head = list(model.fc.parameters())
    stepping = T.optim.SGD(head, lr=1e-2, momentum=0.9)
    images = T.tensor(x)
    scores: list[Any] = []

    def forward() -> None:
        with T.no_grad():
            scores[:] = [model(images)]

    def train() -> None:
        stepping.zero_grad()
        _classified(T, model(images), x).backward()
        stepping.step()

    if step:
        return Prepared(train, lambda: gradients(*head))
    return Prepared(forward, lambda: [scores[0].numpy()])


def _scale(shape: tuple[int, ...]) -> float:
    """What keeps the size of a layer's values; a tenth for biases."""
    return float(np.prod(shape[1:])) ** -0.5 if len(shape) > 1 else 0.1


def _classified(T: Namespace, scores: Any, x: Array) -> Any:
    labels = T.tensor(np.arange(len(x)) % 10)
    return T.nn.functional.cross_entropy(scores, labels)


def _next_token(T: Namespace, scores: Any, x: Array) -> Any:
    wanted = T.tensor(np.roll(x, -1, 1).reshape(-1))
    return T.nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), wanted)


def _squares(T: Namespace, out: Any, x: Array) -> Any:
    return ((out[0] if isinstance(out, tuple) else out) ** 2).mean()


def _perceptron(T: Namespace) -> Any:
    nn = T.nn
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


def _digits(T: Namespace) -> Any:
    nn = T.nn
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 13 * 13, 10),
    )  # fmt: skip


def _lstm(T: Namespace) -> Any:
    return T.nn.LSTM(64, 128)


def _transformer(T: Namespace) -> Any:
    return T.nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)


def _tokens(batch: int, length: int, vocabulary: int) -> Array:
    return np.random.default_rng(0).integers(0, vocabulary, (batch, length))


def all_models() -> Iterator[Case]:
    """Yield every model's step, the small first."""

    def case(
        name: str, what: str, make: Make, loss: Loss, x: Array, *goals: Goal, optimiser: str = "SGD"
    ) -> Case:
        setup = partial(trained, make=make, loss=loss, x=x, optimiser=optimiser)
        what = f"step with {optimiser}: {what}"
        return Case(name, what, setup, atol=1e-4, rtol=1e-3, goals=goals)

    yield case("mlp", "perceptron 32x64-64-10", _perceptron, _classified, random(32, 64))
    x = random(16, 1, 28, 28)
    yield case("cnn", "small convolutional net, 16 images of 28x28", _digits, _classified, x)
    x = random(32, 16, 64)
    yield case("lstm", "LSTM 64-128, 32 steps of 16 sequences", _lstm, _squares, x, Goal(0.8))
    x = random(8, 32, 64)
    yield case("transformer", "transformer layer, 8x32 tokens of 64", _transformer, _squares, x)
    what, ids = "2-layer GPT of width 64, 8x64 tokens", _tokens(8, 64, 65)
    yield case("gpt", what, gpt, _next_token, ids, Goal(0.6), optimiser="AdamW")
    x = random(4, 3, 64, 64, seed=1)
    resnet = partial(resnet18, classes=10)
    yield case("resnet18", "ResNet-18, 4 images of 64x64", resnet, _classified, x, Goal(1.3))
    for name, what, goals in (
        ("resnet18_forward", "ResNet-18, 4 images of 64x64, forward", ()),
        ("resnet18_frozen", "the same, its last layer trained", (Goal(1.2, "resnet18_forward"),)),
    ):
        setup = partial(finetuned, x=x, step=bool(goals))
        yield Case(name, what, setup, atol=1e-4, rtol=1e-3, goals=goals)
    x = random(2, 3, 224, 224, seed=1)
    # Some of its relus fall on the other side of 0; the gradients below are then far from
    # float64's in either library.
    setup = partial(trained, make=resnet, loss=_classified, x=x, compared=2)
    what = "step with SGD: ResNet-18, 2 images of 224x224"
    yield Case("resnet18_224", what, setup, atol=1e-4, rtol=1e-3, goals=(Goal(1.3),))
