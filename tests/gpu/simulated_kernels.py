"""Run in a process of its own, as `simulated`: indexing, order, windows, norms, beyond blocks and grids.

The simulator's blocks have 2 or 4 threads and its grids 2 blocks, so every tensor here is larger.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.nn import functional as F  # noqa: N812

sys.setswitchinterval(0.0002)
RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    """Random elements."""
    return RNG.normal(size=shape)


def integers(high: int, *shape: int) -> np.ndarray[Any, Any]:
    """Random positions."""
    return RNG.integers(0, high, shape)


def same(function: Callable[..., Any], *arrays: Any, rtol: float = 1e-10) -> list[Any]:
    """Run on both devices, float arrays with gradients; fail unless values and gradients agree."""
    found = []
    for device in ("cuda", "cpu"):
        inputs = [jitgrad.from_numpy(np.array(a)).to(device) for a in arrays]
        for x in inputs:
            x.requires_grad_(x.dtype.is_floating_point)
        y = function(*inputs)
        results = list(y) if isinstance(y, tuple) else [y]
        total = None
        for r in results:
            assert r.device.type == device
            if r.requires_grad:
                weight = jitgrad.from_numpy(np.cos(np.arange(r.numel()))).reshape(r.shape)
                term = (r * weight.to(device)).sum()
                total = term if total is None else total + term
        if total is not None:
            total.backward()
        gradients = [x.grad for x in inputs if x.dtype.is_floating_point]
        found.append([None if r is None else r.detach().cpu() for r in results + gradients])
    for mine, cpu in zip(*found, strict=True):
        assert (mine is None) == (cpu is None)
        if mine is not None:
            assert mine.dtype is cpu.dtype
            np.testing.assert_allclose(mine.numpy(), cpu.numpy(), rtol=rtol, atol=1e-12)
    return found[0]


# ---------------------------------------------------------------- indexing
INDEXED: dict[str, Callable[[Any], Any]] = {
    "a list": lambda x: x[[2, 0, -1, 2]],
    "an index of the CPU": lambda x: x[jitgrad.tensor([1, 0])],
    "lists in two dims": lambda x: x[[2, 0, -1], [1, 1, 3]],
    "a dim between": lambda x: x[[2, 0], :, [[1], [-1]]],
    "a mask": lambda x: x[x > 0],
    "a mask of a dim": lambda x: x[jitgrad.tensor([True, False, True], device=x.device)],
    "a mask and a list": lambda x: x[x[:, :, 0] > -9, [1]],
    "None and a list": lambda x: x[None, [0, 1], ..., 2],
    "transposed": lambda x: x.transpose(0, 2)[[4, 0]],
    "nothing": lambda x: x[jitgrad.tensor([], dtype=jitgrad.int64, device=x.device)],
    "take": lambda x: x.take(jitgrad.tensor([[0, -1], [7, 7]], device=x.device)),
}


@pytest.mark.parametrize("name", INDEXED)
def test_getitem(name: str) -> None:
    same(INDEXED[name], floats(3, 4, 5))


def assigned(index: Any, value: Any) -> Callable[[Any], Any]:
    """A function that assigns into a copy."""

    def function(x: Any) -> Any:
        y = x * 1
        y[index(y) if callable(index) else index] = value(x) if callable(value) else value
        return y

    return function


ASSIGNED = {
    "a list": assigned([0, 2, 0], 7.0),
    "a mask": assigned(lambda y: y > 0, -1.0),
    "a mask, a tensor": assigned(lambda y: y > 0, lambda x: x[x > 0] * 2),
    "lists": assigned(([0, 2], slice(None), [1, 3]), lambda x: x[:2, :, 0] * 3),
    "a slice": assigned((slice(None), slice(1, 3)), lambda x: x[:, :2]),
}


@pytest.mark.parametrize("name", ASSIGNED)
def test_setitem(name: str) -> None:
    same(ASSIGNED[name], floats(3, 4, 5))


def test_setitem_changes_the_memory_and_its_version() -> None:
    x = jitgrad.zeros(4, 3, device="cuda")
    before = x._version
    x.T[[0, 2], [1, 3]] = jitgrad.tensor([5.0, 6.0], device="cuda")
    assert x._version > before
    assert x.tolist() == [[0, 0, 0], [5, 0, 0], [0, 0, 0], [0, 0, 6]]
    # A tensor of the CPU without dims counts as a number; others do not.
    x[x > 0] = jitgrad.tensor(2.0)
    assert x.sum().item() == 4.0
    with pytest.raises(RuntimeError, match="at least two devices"):
        x[[0, 1]] = jitgrad.ones(3)
    with pytest.raises(RuntimeError, match="at least two devices"):
        x.cpu()[jitgrad.tensor([0], device="cuda")]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_dtypes(dtype: str) -> None:
    data = integers(2 if dtype == "bool" else 7, 3, 5).astype(dtype)
    index = integers(5, 3, 7)
    for device in ("cuda", "cpu"):
        x, i = jitgrad.from_numpy(data).to(device), jitgrad.from_numpy(index).to(device)
        found = [
            x.gather(1, i),
            x[:, i[0]],
            x.scatter(1, i[:, :4], x),
            x.scatter_add(1, i[:, :5], x),
            x.index_add(1, i[0, :5], x),
            x.index_copy(1, i[0, :5], x),
            jitgrad.cat([x, x], 1).flip(0, 1).roll(3),
            x.sort(1).values,
            x.sort(0, True).indices,
            x.nonzero(),
            x.cumsum(1),
            x.tril(1).repeat(2, 1),
            (x != 0).nonzero(),
        ]
        results = [y.cpu().numpy() for y in found]
        if device == "cuda":
            expected = results
    for mine, cpu in zip(expected, results, strict=True):
        assert mine.dtype == cpu.dtype
        np.testing.assert_array_equal(mine, cpu)


def test_sums_where_indices_meet_are_the_same_every_time() -> None:
    index, data = integers(3, 200), floats(200).astype("float32")
    found = set()
    for _ in range(3):
        i, v = jitgrad.from_numpy(index).cuda(), jitgrad.from_numpy(data).cuda()
        y = jitgrad.zeros(3, device="cuda").index_put((i,), v, accumulate=True)
        found.add(y.cpu().numpy().tobytes())
    assert len(found) == 1
    exact = np.zeros(3)
    np.add.at(exact, index, data)
    np.testing.assert_allclose(np.frombuffer(found.pop(), "float32"), exact, rtol=1e-4, atol=1e-5)


def test_of_values_where_indices_meet_the_last_one_stays() -> None:
    i = jitgrad.tensor([1, 0, 1, 1], device="cuda")
    v = jitgrad.tensor([1.0, 2.0, 3.0, 4.0], device="cuda")
    assert jitgrad.zeros(3, device="cuda").index_put((i,), v).tolist() == [2.0, 4.0, 0.0]
    assert jitgrad.zeros(3, device="cuda").scatter(0, i, v).tolist() == [2.0, 4.0, 0.0]


BEYOND: dict[str, Callable[[Any], Any]] = {
    "index": lambda x: x[jitgrad.tensor([0, 5], device="cuda")],
    "index from the end": lambda x: x[jitgrad.tensor([-6], device="cuda")],
    "two indices": lambda x: x.reshape(5, 1)[jitgrad.tensor([9], device="cuda"), [0]],
    "gather": lambda x: x.gather(0, jitgrad.tensor([-1], device="cuda")),
    "scatter": lambda x: x.scatter(0, jitgrad.tensor([5], device="cuda"), 1.0),
    "index_add": lambda x: x.index_add(0, jitgrad.tensor([7], device="cuda"), x[:1]),
    "nll_loss": lambda x: F.nll_loss(x.reshape(1, 5), jitgrad.tensor([5], device="cuda")),
    "embedding": lambda x: F.embedding(jitgrad.tensor([5], device="cuda"), x.reshape(5, 1)),
}


@pytest.mark.parametrize("name", BEYOND)
def test_an_index_out_of_range_is_reported_when_the_device_is_waited_for(name: str) -> None:
    x = jitgrad.ones(5, device="cuda")
    y = BEYOND[name](x)
    with pytest.raises(RuntimeError, match="an index was out of range"):
        jitgrad.cuda.synchronize()
    # Nothing beside it was read, and what comes after it is as ever.
    assert set(y.flatten().tolist()) <= {0.0, 1.0}
    assert x[jitgrad.tensor([4], device="cuda")].tolist() == [1.0]
    BEYOND[name](x)
    with pytest.raises(RuntimeError, match="an index was out of range"):
        x.tolist()


def test_gathers_of_indices_that_are_smaller() -> None:
    same(lambda x, i: x.gather(1, i), floats(4, 5, 6), integers(5, 3, 7, 2))
    same(lambda x, i: x.T.gather(0, i), floats(4, 5), integers(5, 2, 3))
    same(lambda x, v, i: x.scatter(1, i, v), floats(4, 5, 6), floats(3, 4, 6), _distinct())
    same(
        lambda x, v, i: x.scatter_add(1, i, v),
        floats(4, 5, 6),
        floats(4, 8, 7),
        integers(5, 3, 7, 2),
    )
    same(lambda x, i: x.scatter(1, i, 2.5), floats(4, 5), integers(5, 2, 3))


def _distinct() -> np.ndarray[Any, Any]:
    return np.stack([RNG.permutation(5)[:4] for _ in range(6)]).reshape(2, 4, 3)


# ---------------------------------------------------------------- joined, turned, summed
def test_joining() -> None:
    same(lambda x, y: jitgrad.cat([x, y.mT, x[:, :0], x], 1), floats(3, 4), floats(2, 3))
    same(lambda x, y: jitgrad.stack([x, y, x * y, x - y, y], -1), floats(3, 4), floats(3, 4))
    same(lambda x: x.mT.flip(0, 1, 2), floats(2, 3, 5))
    same(lambda x: x.mT.flip(1), floats(2, 3, 5))
    same(lambda x: x.mT.roll((1, -2), (0, 2)), floats(2, 3, 5))
    same(lambda x: x.mT.roll(-7), floats(2, 3, 5))
    same(lambda x: x.mT.repeat(2, 1, 3, 2), floats(2, 3, 5))
    same(lambda x: (x.tril(-1), x.triu(2), x.mT.tril(1)), floats(2, 4, 6))
    same(lambda x: x.masked_scatter(x > 0, x.flip(0)), floats(3, 5))


@pytest.mark.parametrize("shape", [(130,), (2, 65), (66, 2), (2, 6, 3), (3, 0), (0, 3)])
def test_running_sums(shape: tuple[int, ...]) -> None:
    for d in range(len(shape)):
        same(lambda x, d=d: x.cumsum(d), floats(*shape))
    if len(shape) == 1:
        same(lambda x: x.cumsum(0), integers(9, *shape).astype("int32"))


def test_running_products_and_logarithms() -> None:
    same(lambda x: (x.cumprod(0), x.logcumsumexp(1)), floats(5, 7), rtol=1e-8)
    same(lambda x: x.cumprod(0), integers(4, 6, 2))


@pytest.mark.parametrize("n", [1, 40])
def test_what_is_not_zero(n: int) -> None:
    data = integers(3, n, 2)
    same(lambda x: (x.nonzero(), jitgrad.count_nonzero(x), x.mT.nonzero()), data)
    same(lambda x: x[x != 0], data * 0.5)
    assert jitgrad.from_numpy(data * 0.25).cuda().count_nonzero().item() == np.count_nonzero(data)


# ---------------------------------------------------------------- order
@pytest.mark.parametrize("n", [1, 2, 31, 33])
def test_order(n: int) -> None:
    data = np.round(floats(2, n, 2) * 2)
    data[0, n // 2] = np.nan
    for descending in (False, True):
        same(lambda x, o=descending: x.sort(1, o), data)
        # Of equal elements the CPU picks any.
        same(lambda x, o=descending: x.topk(min(n, 3), 1, o), floats(2, n, 2))
    same(lambda x: (x.median(1), x.nanmedian(1))[1].values, data)
    same(lambda x: x.cummax(1), data)
    same(lambda x: x.argsort(1), integers(5, 2, n, 2))
    same(lambda x: x.mode(1), integers(3, 2, n, 2))


# ---------------------------------------------------------------- modules
def test_normalizations() -> None:
    for shape, dims in (((6, 9), (9,)), ((2, 3, 4, 5), (4, 5)), ((7, 1), (1,))):
        w, b = floats(*dims), floats(*dims)
        same(lambda x, w, b, n=dims: F.layer_norm(x, n, w, b), floats(*shape), w, b, rtol=1e-7)
        same(lambda x, b, n=dims: F.layer_norm(x, n, None, b), floats(*shape), b, rtol=1e-7)
        same(lambda x, w, n=dims: F.rms_norm(x, n, w), floats(*shape), w, rtol=1e-7)
    x, w, b = floats(3, 4, 5), floats(4), floats(4)
    same(lambda x, w, b: F.group_norm(x, 2, w, b), x, w, b, rtol=1e-7)
    same(lambda x: F.instance_norm(x), x, rtol=1e-7)
    same(lambda x, w, b: F.batch_norm(x, None, None, w, b, True), x, w, b, rtol=1e-7)


def test_batch_norm_follows_the_batches() -> None:
    data = floats(5, 3, 4)
    found = []
    for device in ("cuda", "cpu"):
        norm = jitgrad.nn.BatchNorm1d(3, dtype=jitgrad.float64).to(device)
        x = jitgrad.from_numpy(data).to(device)
        norm(x)
        norm(x * 2)
        y = norm.eval()(x)
        found.append([t.detach().cpu().numpy() for t in (norm.running_mean, norm.running_var, y)])
    for mine, cpu in zip(*found, strict=True):
        np.testing.assert_allclose(mine, cpu, rtol=1e-10)


def test_windows() -> None:
    x = floats(2, 3, 7, 6)
    same(lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True), x)
    same(lambda x: F.max_pool2d(x, (2, 3), 1, 0, (2, 1)), x)
    same(lambda x: F.adaptive_max_pool2d(x, (3, 4)), x)
    same(lambda x: F.max_unpool2d(*F.max_pool2d(x[:, :, :6], 2, return_indices=True), 2), x)
    same(lambda x: F.avg_pool2d(x, 3, 2, 1), x)
    same(lambda x: F.adaptive_avg_pool2d(x, (3, 4)), x)
    same(lambda x: F.interpolate(x, (9, 4), mode="bilinear"), x)
    same(lambda x: F.pad(x, (2, 1, -1, 3), value=0.5), x)
    same(lambda x: F.pad(x, (2, 1, 3, 0), mode="reflect"), x)
    same(lambda x: F.fold(F.unfold(x, 2, padding=1), (7, 6), 2, padding=1), x)


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions(groups: int) -> None:
    x, b = floats(1, 2, 5, 4), floats(4)
    w, t = floats(4, 2 // groups, 3, 2), floats(2, 4 // groups, 3, 2)
    g = groups
    same(lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 2), (1, 2), g), x, w, b)
    same(lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 1), 1, (1, 0), g), x, t, b)


def test_the_other_dims_of_convolutions() -> None:
    same(lambda x, w: F.conv1d(x, w, padding=2), floats(2, 3, 9), floats(2, 3, 4))
    same(lambda x, w: F.conv3d(x, w), floats(1, 2, 3, 4, 3), floats(2, 2, 2, 2, 2))


def test_embeddings() -> None:
    weight, index = floats(6, 3), integers(6, 4, 5)
    same(lambda w, i: F.embedding(i, w), weight, index)
    same(lambda w, i: F.embedding(i, w, 2, scale_grad_by_freq=True), weight, index)
    same(lambda w, i: F.embedding_bag(i, w, mode="mean"), weight, index)
    same(lambda i: F.one_hot(i), index)


def test_gradients_of_gradients() -> None:
    def function(x: Any) -> Any:
        y = jitgrad.cat([x[[0, 2]].cumsum(1), x.sort(0).values, x.max(0, keepdim=True).values])
        (g,) = jitgrad.autograd.grad((y**3).sum(), x, create_graph=True)
        return g

    same(function, floats(3, 4))


def test_a_network_of_convolutions_trains_as_on_the_cpu() -> None:
    data, classes = floats(4, 1, 6, 6).astype("float32"), integers(3, 4)
    jitgrad.manual_seed(0)
    nn = jitgrad.nn
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    state = {k: v.clone() for k, v in model.state_dict().items()}
    losses: list[list[float]] = []
    for device in ("cuda", "cpu"):
        model.load_state_dict(state)
        model.to(device)
        optimiser = jitgrad.optim.Adam(model.parameters(), lr=0.05)
        x, y = (jitgrad.from_numpy(a).to(device) for a in (data, classes))
        losses.append([])
        for _ in range(2):
            optimiser.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.item())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses(reduction: str) -> None:
    x, z, w = floats(5, 2), RNG.uniform(size=(5, 2)), RNG.uniform(size=2)
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        same(lambda x, z, n=name: getattr(F, n)(x, z, reduction=reduction), x, z)
    bce, logits = F.binary_cross_entropy, F.binary_cross_entropy_with_logits
    same(lambda x, z: bce(x.sigmoid(), z, reduction=reduction), x, z)
    same(lambda x, z: logits(x, z, reduction=reduction), x, z)
    same(lambda x, z, w: logits(x, z, w.detach(), reduction=reduction), x, z, w)
    same(lambda x, z, w: logits(x, z, pos_weight=w.detach(), reduction=reduction), x, z, w)
    long = floats(130)
    same(lambda x: F.mse_loss(x, x.detach() * 0, reduction=reduction), long)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses_of_classes(reduction: str) -> None:
    for shape in ((5, 3), (2, 3, 4), (3,)):
        classes = integers(3, shape[0], *shape[2:]) if len(shape) > 1 else np.array(2)
        options = {"reduction": reduction, "ignore_index": 1}
        same(lambda x, t, o=options: F.nll_loss(x, t, **o), floats(*shape), classes)

        def weighted(x: Any, t: Any, w: Any, o: dict[str, Any] = options) -> Any:
            return F.cross_entropy(x, t, w.detach(), label_smoothing=0.1, **o)

        same(weighted, floats(*shape), classes, RNG.uniform(size=3), rtol=1e-8)


def test_sequences_and_attention() -> None:
    nn = jitgrad.nn
    for make in (lambda: nn.GRU(3, 2), lambda: nn.LSTM(3, 2, bidirectional=True)):
        jitgrad.manual_seed(0)
        model = make().to(jitgrad.float64)

        def function(x: Any, model: Any = model) -> Any:
            rnn = nn.utils.rnn
            packed = rnn.pack_padded_sequence(x, [2, 4], enforce_sorted=False)
            assert packed.is_cuda == x.is_cuda
            return rnn.pad_packed_sequence(model.to(x.device)(packed)[0])[0]

        same(function, floats(4, 2, 3))
    jitgrad.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True).to(jitgrad.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(3).to(jitgrad.float64)
    same(lambda x: layer.to(x.device)(x, mask.to(x.device)), floats(2, 3, 4), rtol=1e-7)


def test_what_is_made_beside_operands_is_on_their_device() -> None:
    same(lambda x: F.affine_grid(x, [1, 1, 2, 3], align_corners=False), floats(1, 2, 3))
    same(lambda x: jitgrad.func.hessian(lambda y: (y**3).sum())(x.detach()), floats(3))
    same(lambda x: x.repeat_interleave(jitgrad.tensor([1, 0, 2]).to(x.device), 0), floats(3, 2))
    assert jitgrad.tril_indices(3, 3, device="cuda").is_cuda
    x = jitgrad.tensor([0.0, 1.0], device="cuda")
    assert jitgrad.bernoulli(x).tolist() == [0.0, 1.0]
    assert jitgrad.multinomial(x, 1).tolist() == [1]
    with pytest.raises(NotImplementedError, match="'ctc_loss' has no CUDA kernel"):
        F.ctc_loss(x.reshape(2, 1, 1), jitgrad.ones(1, 0, dtype=jitgrad.int64), [2], [0])
