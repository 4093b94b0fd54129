"""Losses as layers and functions against PyTorch: values and gradients with every reduction, errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, fails

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 3))
Y = RNG.normal(size=(4, 3))
Z = RNG.normal(size=(4, 3))
P = RNG.uniform(0.05, 0.95, size=(4, 3))
Q = RNG.uniform(0.05, 0.95, size=(4, 3))
SIGNS = np.array([1.0, -1.0, -1.0, 1.0])
CLASSES = np.array([0, 2, 1, 2])
W = np.array([0.5, 2.0, 1.5])

#: name -> how to make it from the namespace and the reduction, the inputs (floats get gradients)
CASES: dict[str, tuple[Callable[[Any, str], Any], tuple[Any, ...]]] = {
    "L1Loss": (lambda T, r: T.nn.L1Loss(reduction=r), (X, Y)),
    "MSELoss": (lambda T, r: T.nn.MSELoss(reduction=r), (X, Y)),
    "SmoothL1Loss": (lambda T, r: T.nn.SmoothL1Loss(reduction=r, beta=0.7), (X, Y)),
    "HuberLoss": (lambda T, r: T.nn.HuberLoss(reduction=r, delta=0.7), (X, Y)),
    "PoissonNLLLoss": (lambda T, r: T.nn.PoissonNLLLoss(reduction=r), (X, np.abs(Y) * 3)),
    "PoissonNLLLoss full": (
        lambda T, r: T.nn.PoissonNLLLoss(log_input=False, full=True, reduction=r),
        (P, np.array([[0.0, 1.0, 2.0]] * 4)),
    ),
    "GaussianNLLLoss": (lambda T, r: T.nn.GaussianNLLLoss(reduction=r), (X, Y, P)),
    "GaussianNLLLoss full": (
        lambda T, r: T.nn.GaussianNLLLoss(full=True, eps=0.3, reduction=r),
        (X, Y, P),
    ),
    "GaussianNLLLoss of rows": (lambda T, r: T.nn.GaussianNLLLoss(reduction=r), (X, Y, P[:, 0])),
    "GaussianNLLLoss of columns": (
        lambda T, r: T.nn.GaussianNLLLoss(reduction=r),
        (X, Y, P[:, :1]),
    ),
    "NLLLoss": (
        lambda T, r: T.nn.NLLLoss(weight=T.tensor(W), ignore_index=1, reduction=r),
        (X, CLASSES),
    ),
    "CrossEntropyLoss": (lambda T, r: T.nn.CrossEntropyLoss(reduction=r), (X, CLASSES)),
    "CrossEntropyLoss smoothed": (
        lambda T, r: T.nn.CrossEntropyLoss(
            weight=T.tensor(W), ignore_index=1, reduction=r, label_smoothing=0.1
        ),
        (X, CLASSES),
    ),
    "KLDivLoss log_target": (lambda T, r: T.nn.KLDivLoss(reduction=r, log_target=True), (X, Y)),
    "KLDivLoss": (lambda T, r: T.nn.KLDivLoss(reduction=r), (X, P)),
    "BCELoss": (lambda T, r: T.nn.BCELoss(weight=T.tensor(W), reduction=r), (P, Q)),
    "BCEWithLogitsLoss": (
        lambda T, r: T.nn.BCEWithLogitsLoss(
            weight=T.tensor(W), pos_weight=T.tensor(W), reduction=r
        ),
        (X, Q),
    ),
    "SoftMarginLoss": (
        lambda T, r: T.nn.SoftMarginLoss(reduction=r),
        (X, np.sign(Y)),
    ),
    "HingeEmbeddingLoss": (
        lambda T, r: T.nn.HingeEmbeddingLoss(margin=0.7, reduction=r),
        (X[:, 0], SIGNS.astype(int)),
    ),
    "MarginRankingLoss": (
        lambda T, r: T.nn.MarginRankingLoss(margin=0.3, reduction=r),
        (X[:, 0], Y[:, 0], SIGNS.astype(int)),
    ),
    "CosineEmbeddingLoss": (
        lambda T, r: T.nn.CosineEmbeddingLoss(margin=-0.5, reduction=r),
        (X, Y, SIGNS.astype(int)),
    ),
    "CosineEmbeddingLoss of one": (
        lambda T, r: T.nn.CosineEmbeddingLoss(reduction=r),
        (X[0], Y[0], np.array(1)),
    ),
    "MultiMarginLoss": (lambda T, r: T.nn.MultiMarginLoss(reduction=r), (X, CLASSES)),
    "MultiMarginLoss 2": (
        lambda T, r: T.nn.MultiMarginLoss(2, 0.5, T.tensor(W), reduction=r),
        (X, CLASSES),
    ),
    "MultiMarginLoss of one": (lambda T, r: T.nn.MultiMarginLoss(reduction=r), (X[0], CLASSES[0])),
    "MultiLabelMarginLoss": (
        lambda T, r: T.nn.MultiLabelMarginLoss(reduction=r),
        (X, np.array([[0, 2, -1], [-1, 1, 0], [2, -1, 0], [1, 0, 2]])),
    ),
    "MultiLabelMarginLoss of one": (
        lambda T, r: T.nn.MultiLabelMarginLoss(reduction=r),
        (X[0], np.array([1, -1, 1])),
    ),
    "MultiLabelSoftMarginLoss": (
        lambda T, r: T.nn.MultiLabelSoftMarginLoss(weight=T.tensor(W), reduction=r),
        (X, (Y > 0).astype(int)),
    ),
    "TripletMarginLoss": (
        lambda T, r: T.nn.TripletMarginLoss(margin=2.0, reduction=r),
        (X, Y, Z),
    ),
    "TripletMarginLoss swap": (
        lambda T, r: T.nn.TripletMarginLoss(margin=2.0, p=1, swap=True, reduction=r),
        (X, Y, Z),
    ),
    "TripletMarginWithDistanceLoss": (
        lambda T, r: T.nn.TripletMarginWithDistanceLoss(margin=2.0, swap=True, reduction=r),
        (X, Y, Z),
    ),
    "TripletMarginWithDistanceLoss own": (
        lambda T, r: T.nn.TripletMarginWithDistanceLoss(
            distance_function=lambda a, b: ((a - b) ** 2).sum(-1), reduction=r
        ),
        (X, Y, Z),
    ),
}
NO_TARGET_GRADIENT = {"BCELoss", "NLLLoss"}


def _run(T: Any, name: str, reduction: str, dtype: str) -> Any:
    make, arrays = CASES[name]
    module = make(T, reduction).to(getattr(T, dtype))
    inputs = []
    for i, a in enumerate(arrays):
        x = T.tensor(a)
        if x.is_floating_point():
            x = x.to(getattr(T, dtype))
            if i == 0 or name.split()[0] not in ("BCELoss", "SoftMarginLoss", "PoissonNLLLoss"):
                x.requires_grad_()
        inputs.append(x)
    y = module(*inputs)
    weight = T.cos(T.arange(float(y.numel())).to(y.dtype)).reshape(y.shape)
    (y * weight).sum().backward()
    return [y, [x.grad for x in inputs if x.requires_grad]]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(torch: ModuleType, name: str, reduction: str) -> None:
    check(torch, lambda T: _run(T, name, reduction, "float64"), rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_float32(torch: ModuleType, name: str) -> None:
    check(torch, lambda T: _run(T, name, "sum", "float32"))


@pytest.mark.parametrize("name", CASES)
def test_text_and_state(torch: ModuleType, name: str) -> None:
    def program(T: Any) -> Any:
        module = CASES[name][0](T, "sum")
        text = repr(module) if not name.endswith("own") else ""
        return [text, list(module.state_dict()), module.reduction]

    check(torch, program)


def test_batchmean(torch: ModuleType) -> None:
    check(torch, lambda T: T.nn.functional.kl_div(T.tensor(X), T.tensor(P), reduction="batchmean"))


def test_kl_div_of_zero_probabilities(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        x = T.tensor(X).requires_grad_()
        y = T.nn.KLDivLoss(reduction="sum")(x, T.tensor(np.where(P < 0.5, 0, P)))
        y.backward()
        return [y, x.grad]

    check(torch, program)


def test_old_arguments(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        a = T.nn.MSELoss(size_average=False)
        b = T.nn.L1Loss(reduce=False)
        return [a.reduction, b.reduction]

    check(torch, program)


def _f(name: str, *arguments: Any, **options: Any) -> Any:
    return lambda T: getattr(T.nn.functional, name)(
        *(T.tensor(a) if isinstance(a, np.ndarray) else a for a in arguments), **options
    )


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (_f("kl_div", X, Y, reduction="foo"), None),
        (_f("poisson_nll_loss", X, Y, reduction="foo"), None),
        (_f("gaussian_nll_loss", X, Y, P, reduction="foo"), None),
        (_f("gaussian_nll_loss", X, Y, P[0]), None),
        (_f("gaussian_nll_loss", X, Y, -P), None),
        (_f("gaussian_nll_loss", X, Y, -1.0), None),
        (_f("hinge_embedding_loss", X, Y, reduction="foo"), None),
        (_f("margin_ranking_loss", X, Y[0], Y), None),
        (_f("multi_margin_loss", X, np.array([0, 1, 2, 3])), None),
        (_f("multi_margin_loss", X, CLASSES, p=3), None),
        (_f("multi_margin_loss", X, CLASSES, weight=None, reduction="x"), None),
        (_f("multi_margin_loss", X, CLASSES[:2]), None),
        (_f("multi_margin_loss", X[None], CLASSES), None),
        (_f("multi_margin_loss", X, SIGNS), None),
        (_f("multilabel_margin_loss", X, CLASSES), None),
        (_f("multilabel_margin_loss", X, np.full((4, 3), 3)), None),
        (_f("multilabel_margin_loss", X, Y), None),
        (_f("multilabel_soft_margin_loss", X, Y, reduction="foo"), None),
        (_f("soft_margin_loss", X, Y, reduction="foo"), None),
        (_f("triplet_margin_loss", X, Y, Z[0]), None),
        (_f("triplet_margin_loss", X, Y, Z, margin=-1), None),
        (_f("triplet_margin_with_distance_loss", X, Y, Z, margin=0), None),
        (_f("cosine_embedding_loss", X, Y, Z), None),
        (_f("cosine_embedding_loss", X, Y, np.array(1)), None),
        (_f("cosine_embedding_loss", X[0], Y[0], SIGNS[:1]), None),
        (lambda T: T.nn.TripletMarginLoss(margin=0), None),
        (lambda T: T.nn.TripletMarginWithDistanceLoss(margin=0), None),
        (lambda T: T.nn.MultiMarginLoss(p=3), None),
        (lambda T: T.nn.HuberLoss(delta="x"), None),
    ],
)
def test_errors(torch: ModuleType, program: Any, says: str | None) -> None:
    fails(torch, program, says)


# ---------------------------------------------------------------- distances
@pytest.mark.parametrize(
    "program",
    [
        lambda T, x, y: T.nn.functional.cosine_similarity(x, y),
        lambda T, x, y: T.nn.CosineSimilarity(dim=0, eps=1.5)(x, y),
        lambda T, x, y: T.nn.functional.cosine_similarity(x, y[:1], dim=-1),
        lambda T, x, y: T.nn.functional.cosine_similarity(x * 0, y),
        lambda T, x, y: T.nn.functional.pairwise_distance(x, y),
        lambda T, x, y: T.nn.PairwiseDistance(p=1, keepdim=True)(x, y),
        lambda T, x, y: T.nn.functional.pairwise_distance(x, y[0], p=3.5, eps=0.0),
    ],
)
def test_distances(torch: ModuleType, program: Any) -> None:
    def both(T: Any) -> Any:
        x, y = T.tensor(X).requires_grad_(), T.tensor(Y).requires_grad_()
        z = program(T, x, y)
        (z * z).sum().backward()
        return [z, x.grad, y.grad]

    check(torch, both, rtol=1e-9)


# ---------------------------------------------------------------- CTC
LOGITS = np.random.default_rng(8).normal(size=(7, 3, 5))
LABELS = np.array([[1, 2, 2, 0], [3, 0, 0, 0], [4, 1, 4, 1]])


def _ctc(T: Any, reduction: str, flat: bool, blank: int = 0, **options: Any) -> Any:
    x = T.tensor(LOGITS).requires_grad_()
    logs = x.log_softmax(2)
    logs.retain_grad()
    lengths = (3, 1, 4)
    labels = T.tensor(LABELS)
    if flat:
        labels = T.cat([labels[i, :n] for i, n in enumerate(lengths)])
    loss = T.nn.CTCLoss(blank, reduction, **options)(logs, labels, (7, 5, 6), lengths)
    (loss * T.arange(1.0, 1 + loss.numel()).reshape(loss.shape)).sum().backward()
    return [loss, logs.grad, x.grad]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("flat", [False, True])
def test_ctc(torch: ModuleType, reduction: str, flat: bool) -> None:
    check(torch, lambda T: _ctc(T, reduction, flat), rtol=1e-9)


def test_ctc_of_lengths_as_tensors_and_one_sample(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        logs = T.tensor(LOGITS[:, 0]).log_softmax(1).requires_grad_()
        n = T.tensor(7)
        loss = T.nn.functional.ctc_loss(
            logs, T.tensor([1, 2]), n, T.tensor(2), blank=4, reduction="none"
        )
        loss.sum().backward()
        return [loss, logs.grad]

    check(torch, program, rtol=1e-9)


@pytest.mark.parametrize("zero", [False, True])
def test_ctc_of_targets_that_do_not_fit(torch: ModuleType, zero: bool) -> None:
    def program(T: Any) -> Any:
        logs = T.tensor(LOGITS[:3]).log_softmax(2).requires_grad_()
        loss = T.nn.functional.ctc_loss(
            logs, T.tensor(LABELS), (3, 3, 3), (4, 1, 4), 0, "none", zero
        )
        loss.sum().backward()
        return [loss, logs.grad]

    check(torch, program, rtol=1e-9)


def test_ctc_of_empty_targets(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        logs = T.tensor(LOGITS).log_softmax(2).requires_grad_()
        loss = T.nn.functional.ctc_loss(logs, T.tensor(LABELS), (7, 7, 7), (0, 1, 2))
        loss.backward()
        return [loss, logs.grad]

    check(torch, program, rtol=1e-9)


@pytest.mark.parametrize(
    "arguments",
    [
        {"blank": 5},
        {"input_lengths": (8, 7, 7)},
        {"input_lengths": (7, 7)},
        {"target_lengths": (1, 2)},
        {"target_lengths": (5, 5, 5)},
    ],
)
def test_ctc_errors(torch: ModuleType, arguments: Any) -> None:
    options = {"input_lengths": (7, 7, 7), "target_lengths": (1, 1, 1), **arguments}
    fails(
        torch,
        lambda T: T.nn.functional.ctc_loss(
            T.tensor(LOGITS).log_softmax(2), T.tensor(LABELS), **options
        ),
        "",
    )


def _many(T: Any, dtype: str, zero: bool) -> Any:
    rng = np.random.default_rng(5)
    time, n, classes, longest = 40, 9, 21, 15
    logs = T.tensor(rng.normal(size=(time, n, classes)).astype(dtype)).log_softmax(2)
    logs = logs.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    labels = T.tensor(rng.integers(1, 4, (n, longest)))
    used = T.tensor(rng.integers(0, time + 1, n))
    loss = T.nn.functional.ctc_loss(
        logs, labels, used, T.arange(0, 2 * n, 2).clamp(max=longest), 0, "none", zero
    )
    (loss * T.arange(float(n)).to(loss.dtype)).nan_to_num(posinf=0.0).sum().backward()
    return [loss, logs.grad]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_ctc_of_many_states(torch: ModuleType, dtype: str, threads: int) -> None:
    jitgrad.set_num_threads(threads)
    for zero in (True, False):
        check(
            torch, lambda T, z=zero: _many(T, dtype, z), rtol=1e-9 if dtype == "float64" else 1e-4
        )


def test_ctc_of_impossible_and_missing_logarithms(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        logs = T.tensor(LOGITS).log_softmax(2)
        logs[2, 0, 4] = -math.inf  # a class that no state has
        logs[3, 1, 0] = -math.inf  # the blank
        logs[1, 2, 1] = math.nan
        logs = logs.detach().requires_grad_()
        loss = T.nn.functional.ctc_loss(
            logs, T.tensor(LABELS), (7, 7, 7), (3, 1, 3), reduction="none"
        )
        loss.sum().backward()
        return [loss, logs.grad]

    check(torch, program, rtol=1e-9)


def test_the_gradient_of_ctc_is_not_differentiated_again(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        x = T.tensor(LOGITS).requires_grad_()
        loss = T.nn.functional.ctc_loss(x.log_softmax(2), T.tensor(LABELS), (7, 7, 7), (3, 1, 4))
        (g,) = T.autograd.grad(loss, x, create_graph=True)
        (first,) = T.autograd.grad(loss, x, retain_graph=True)
        try:
            g.sum().backward()
        except RuntimeError as error:
            return [g.detach(), first, "_ctc_loss_backward is not implemented" in str(error)]
        return None

    assert check(torch, program, rtol=1e-9)[2]
