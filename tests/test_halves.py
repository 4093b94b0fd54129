"""float16 and bfloat16: stored in 16 bits, computed in float32, rounded once, as by PyTorch on the CPU."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.calls import CALLS, Call

HALVES = ["float16", "bfloat16"]
#: A few roundings: PyTorch rounds between the parts of a composed function, jitgrad the whole.
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2}

#: PyTorch has no kernel for 16 bits there.
ONLY_HERE = {"F.local_response_norm"}
#: Differences of nearly equal numbers, of which PyTorch's are the less exact.
ROUGH = {"std dim=0 keepdim=True", "instance_norm"}


def bits(x: Any) -> np.ndarray[Any, Any]:
    """The float32 values of a tensor of either library, as bits, with one NaN."""
    values = x.detach().float().numpy()
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)


@pytest.mark.parametrize("dtype", HALVES)
def test_every_value_becomes_a_float32(dtype: str, torch: Any) -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    theirs = torch.from_numpy(every.view(np.int16)).view(getattr(torch, dtype))
    mine = jitgrad.from_numpy(every.view(np.int16)).view(getattr(jitgrad, dtype))
    np.testing.assert_array_equal(bits(mine), bits(theirs))
    for name in ("int32", "bool", "float64", "bfloat16", "float16"):
        with np.errstate(invalid="ignore"):
            finite = np.abs(theirs.float().numpy()) < 2.0**31
        a, b = mine.to(getattr(jitgrad, name)), theirs.to(getattr(torch, name))
        np.testing.assert_array_equal(
            a.double().numpy()[finite].astype(np.float32),
            b.double().numpy()[finite].astype(np.float32),
        )


@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_to_nearest_even(dtype: str, torch: Any) -> None:
    rng = np.random.default_rng(0)
    exact = np.arange(1 << 16, dtype=np.uint16).view(np.int16)
    grid = torch.from_numpy(exact).view(getattr(torch, dtype)).float().numpy()
    grid = np.sort(grid[np.isfinite(grid)])
    with np.errstate(over="ignore"):
        values = np.concatenate(
            [
                rng.integers(0, 1 << 32, 400_000, dtype=np.uint64)
                .astype(np.uint32)
                .view(np.float32),
                rng.uniform(-1e-4, 1e-4, 100_000).astype(np.float32),
                grid,
                grid[:-1] / 2 + grid[1:] / 2,  # halfway between two neighbours
                np.nextafter(grid, np.float32(np.inf)),
                np.float32([65504, 65519.99, 65520, -65520, np.inf, -np.inf, np.nan, 0.0, -0.0]),
            ]
        )
    for source in ("float32", "float64"):
        with np.errstate(invalid="ignore"):
            data = values.astype(source)
        mine = jitgrad.from_numpy(data).to(getattr(jitgrad, dtype))
        theirs = torch.from_numpy(data.copy()).to(getattr(torch, dtype))
        np.testing.assert_array_equal(bits(mine), bits(theirs))
    whole = rng.integers(-(1 << 40), 1 << 40, 1000)
    mine = jitgrad.from_numpy(whole).to(getattr(jitgrad, dtype))
    np.testing.assert_array_equal(
        bits(mine), bits(torch.from_numpy(whole.copy()).to(getattr(torch, dtype)))
    )


def outcome(module: Any, call: Call, dtype: str) -> list[Any]:
    """What a call gives in a module, and the gradients of a weighted sum of its results."""
    tensors = []
    for operand, data in zip(call.operands, call.data("float32"), strict=True):
        x = module.from_numpy(data.copy())
        if operand.kind == "float":
            x = x.to(getattr(module, dtype)).requires_grad_(operand.grad)
        tensors.append(x)
    found = call.function(module, *tensors)
    found = list(found) if isinstance(found, tuple) else [found]
    total = None
    for x in found:
        if x.requires_grad:
            weight = np.cos(np.arange(x.numel(), dtype="float32")).reshape(tuple(x.shape))
            term = (x.float() * module.from_numpy(weight)).sum()
            total = term if total is None else total + term
    if total is not None:
        total.backward()
    return found + [x.grad if x.is_leaf else None for x in tensors]


# Each call as one test would be two thousand: a tenth of them each.
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("part", range(10))
def test_value_and_gradient(part: int, dtype: str, torch: Any) -> None:
    wrong = []
    for call in CALLS[part::10]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = outcome(torch, call, dtype)
            except RuntimeError as error:
                if call.name in ONLY_HERE:
                    continue
                try:
                    outcome(jitgrad, call, dtype)
                except RuntimeError:
                    continue
                wrong.append(f"{call.name}: PyTorch says {error}")
                continue
            mine = outcome(jitgrad, call, dtype)
        for a, b in zip(mine, theirs, strict=True):
            if (a is None) != (b is None):
                wrong.append(f"{call.name}: a gradient is missing")
            if a is None:
                continue
            if a.dtype.name != str(b.dtype).removeprefix("torch."):
                wrong.append(f"{call.name}: {a.dtype}, not {b.dtype}")
            x, y = (t.detach().float().numpy() for t in (a, b))
            largest = np.abs(y[np.isfinite(y)]).max(initial=1)
            error_ = TOLERANCE[dtype] * (20 if call.name in ROUGH else 1)
            if not np.allclose(x, y, error_, error_ * largest, equal_nan=True):
                wrong.append(f"{call.name}: {np.abs(x - y).max()} of {largest}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dtype", HALVES)
def test_pointwise_results_are_rounded_once(dtype: str, torch: Any) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(40, 40)).astype(np.float32) for _ in range(2))
    for text in ("x * z", "x + z", "x / z", "x - 0.1 * 3", "x.exp()", "x.tanh()", "x.sqrt()", "-x"):
        found = []
        for module in (jitgrad, torch):
            kind = getattr(module, dtype)
            x, z = (module.from_numpy(v.copy()).to(kind) for v in (a, b))
            found.append(bits(eval(text)))
        assert np.mean(found[0] == found[1]) > 0.999, (
            text
        )  # exp may differ by a bit before rounding


@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_have_the_dtype_and_add_up(dtype: str, torch: Any) -> None:
    def run(module: Any) -> list[Any]:
        kind = getattr(module, dtype)
        x = module.tensor([[1.5, -2.0, 3.25], [0.5, 4.0, -1.0]], dtype=kind, requires_grad=True)
        w = module.tensor([0.5, 1.5, 2.5], dtype=kind, requires_grad=True)
        y = x * w
        z = y[0] + y[:, 1:].sum() + x.T.reshape(6)[1:4] + w.expand(4, 3).sum(0)
        z.retain_grad()
        (z * z).sum().backward()
        (x.float() * 2).sum().backward()
        again = module.autograd.grad((x.exp() * w).sum(), (x, w))
        return [x.grad, w.grad, z.grad, *again]

    for a, b in zip(run(jitgrad), run(torch), strict=True):
        assert a.dtype.name == str(b.dtype).removeprefix("torch.")
        np.testing.assert_allclose(
            a.float().numpy(), b.float().numpy(), rtol=3 * TOLERANCE[dtype], atol=0.1
        )


def hooks_of_nodes(module: Any, dtype: str) -> list[Any]:
    """What hooks of nodes see and do on the way through a program in 16 bits."""
    seen: list[Any] = []

    def note(name: str) -> Any:
        def hook(*gradients: Any) -> None:
            flat = [g for part in gradients for g in part]
            seen.append([name, *(None if g is None else str(g.dtype).split(".")[1] for g in flat)])

        return hook

    x = module.tensor([1.0, 2.0, 3.0], dtype=getattr(module, dtype), requires_grad=True)
    w = module.tensor([2.0, 3.0, 4.0], requires_grad=True)
    y = x.exp()
    z = (y * w).sum()
    y.register_hook(lambda g: note("tensor")((g,)))
    y.grad_fn.register_prehook(note("before"))
    y.grad_fn.register_hook(note("after"))
    z.grad_fn.next_functions[0][0].register_hook(note("promoted"))
    z.backward()
    h = x.detach() * 0
    h.add_(x)
    h.mul_(x)
    h.grad_fn.register_prehook(note("in place"))
    (h.sum() + (x * 2).softmax(0)[1]).backward()
    m = x.reshape(1, 3) @ x.detach().reshape(3, 1)
    m.grad_fn.register_prehook(note("product"))
    m.sum().backward()
    for create_graph in (False, True):
        s = (x * x).sum()
        node = s.grad_fn.next_functions[0][0]
        node.register_prehook(lambda g: (g[0] * 2,))
        node.register_hook(lambda ours, _: tuple(3 * g for g in ours))
        s.backward(create_graph=create_graph)
    return [seen, x.grad.tolist(), w.grad.tolist()]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph")
def test_hooks_of_nodes_see_16_bits(dtype: str, torch: Any) -> None:
    ours, theirs = (hooks_of_nodes(module, dtype) for module in (jitgrad, torch))
    assert ours[0] == theirs[0]
    np.testing.assert_allclose(ours[1], theirs[1], rtol=TOLERANCE[dtype])
    np.testing.assert_allclose(ours[2], theirs[2], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", HALVES)
def test_in_place_and_indices(dtype: str, torch: Any) -> None:
    def run(module: Any) -> list[Any]:
        kind = getattr(module, dtype)
        base = module.arange(12, dtype=kind).reshape(3, 4)
        leaf = module.ones(3, 4, dtype=kind, requires_grad=True)
        x = leaf * base
        x.mul_(2).add_(module.ones(4, dtype=module.float32) / 3)
        x[1] = 7
        x[0, :2] *= 3
        x[module.tensor([2, 2]), module.tensor([0, 3])] = module.tensor([1.0, 2.0], dtype=kind)
        x.t()[1].exp_()
        x.sum().backward()
        plain = base.clone()
        plain[module.tensor([0, 1])] = plain[module.tensor([1, 2])]
        plain[plain > 8] = -1
        plain[0].zero_()
        plain[1].fill_(2.5)
        plain[2, 1:3].copy_(module.tensor([0.1, 1 / 3], dtype=module.float64))
        plain.index_put_((module.tensor([1, 1]),), module.ones(4, dtype=kind), accumulate=True)
        return [
            x,
            leaf.grad,
            plain,
            x > 3,
            plain == plain.T.T,
            plain.T.contiguous(),
            plain.sort(1)[0],
        ]

    for a, b in zip(run(jitgrad), run(torch), strict=True):
        assert a.dtype.name == str(b.dtype).removeprefix("torch.")
        np.testing.assert_allclose(
            a.detach().float().numpy(), b.detach().float().numpy(), rtol=TOLERANCE[dtype], atol=1e-2
        )


@pytest.mark.parametrize("dtype", HALVES)
def test_promotion(dtype: str, torch: Any) -> None:
    names = ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64"]
    for name in names:
        found = []
        for module in (jitgrad, torch):
            a = module.ones(2, dtype=getattr(module, dtype))
            b, c = (module.ones(s, dtype=getattr(module, name)) for s in ((2,), ()))
            kinds = [
                (a + b).dtype,
                (a * c).dtype,
                (c * 2.5 + a).dtype,
                (a + 1).dtype,
                (a * 1.5).dtype,
                (a > b).dtype,
                module.result_type(a, c),
                module.promote_types(a.dtype, b.dtype),
                module.where(b > 0, a, b).dtype,
                a.sum().dtype,
                a.mean(0).dtype,
                a.argmax().dtype,
            ]
            found.append([str(kind).rpartition(".")[2] for kind in kinds])
        assert found[0] == found[1], name


def test_numpy_and_python() -> None:
    x = jitgrad.tensor([0.1, 1000.5, -3.0], dtype=jitgrad.float16)
    array = x.numpy()
    assert array.dtype == np.float16
    array[0] = 2  # the same memory
    assert x[0].item() == 2.0
    assert jitgrad.from_numpy(np.float16([1.5])).dtype is jitgrad.float16
    assert x.tolist() == [2.0, 1000.5, -3.0]
    y = x.bfloat16()
    assert y.tolist() == [2.0, 1000.0, -3.0]
    assert y[1].item() == 1000.0
    with pytest.raises(TypeError, match="unsupported ScalarType BFloat16"):
        y.numpy()
    assert repr(x) == "tensor([   2.0000, 1000.5000,   -3.0000], dtype=jitgrad.float16)"
    assert repr(y) == "tensor([   2., 1000.,   -3.], dtype=jitgrad.bfloat16)"
    assert y.itemsize == 2
    assert y.nbytes == 6
    assert x.type() == "torch.HalfTensor"
    assert y.type() == "torch.BFloat16Tensor"
    with pytest.raises(TypeError, match="uint16"):
        jitgrad.from_numpy(np.zeros(2, np.uint16))


@pytest.mark.parametrize("dtype", HALVES)
def test_saved_copied_and_pickled(dtype: str) -> None:
    x = jitgrad.randn(3, 4).to(getattr(jitgrad, dtype)).requires_grad_()
    file = io.BytesIO()
    jitgrad.save({"x": x, "part": x.detach()[1:, ::2]}, file)
    file.seek(0)
    loaded = jitgrad.load(file)
    for y in (loaded["x"], copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.dtype is x.dtype
        assert y.requires_grad
        assert jitgrad.equal(y, x)
    assert jitgrad.equal(loaded["part"], x[1:, ::2])


@pytest.mark.parametrize("dtype", HALVES)
def test_pytorch_files(dtype: str, torch: Any) -> None:
    file = io.BytesIO()
    torch.save({"w": torch.tensor([1.5, -0.1], dtype=getattr(torch, dtype))}, file)
    file.seek(0)
    found = jitgrad.load(file)["w"]
    assert found.dtype is getattr(jitgrad, dtype)
    assert found.tolist() == torch.tensor([1.5, -0.1], dtype=getattr(torch, dtype)).tolist()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_a_model_is_trained(kind: str, dtype: str, torch: Any) -> None:
    rng = np.random.default_rng(3)
    data, target = rng.normal(size=(16, 6)), rng.normal(size=(16, 2))
    weights = [rng.normal(size=s) / 2 for s in ((8, 6), (8,), (2, 8), (2,))]

    def run(module: Any) -> list[float]:
        half = getattr(module, dtype)
        model = module.nn.Sequential(
            module.nn.Linear(6, 8), module.nn.LayerNorm(8), module.nn.ReLU(), module.nn.Linear(8, 2)
        )
        with module.no_grad():
            for p, w in zip([*model[0].parameters(), *model[3].parameters()], weights, strict=True):
                p.copy_(module.tensor(w))
        model = model.half() if dtype == "float16" else model.bfloat16()
        assert all(p.dtype == half for p in model.parameters())
        optimizer = getattr(module.optim, kind)(model.parameters(), lr=0.05)
        x, y = (module.tensor(v).to(half) for v in (data, target))
        losses = []
        for _ in range(12):
            optimizer.zero_grad()
            loss = module.nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    mine, theirs = run(jitgrad), run(torch)
    assert mine[-1] < 0.7 * mine[0]
    np.testing.assert_allclose(mine, theirs, rtol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", HALVES)
def test_batch_norm_keeps_its_statistics(dtype: str) -> None:
    half = getattr(jitgrad, dtype)
    norm, exact = jitgrad.nn.BatchNorm1d(3).to(half), jitgrad.nn.BatchNorm1d(3)
    x = jitgrad.randn(32, 3)
    np.testing.assert_allclose(
        norm(x.to(half)).detach().float().numpy(), exact(x).detach().numpy(), atol=0.05
    )
    np.testing.assert_allclose(
        norm.running_var.float().numpy(), exact.running_var.numpy(), rtol=0.02
    )


@pytest.mark.parametrize("name", [*HALVES, "float32", "float64"])
def test_finfo(name: str, torch: Any) -> None:
    mine, theirs = jitgrad.finfo(getattr(jitgrad, name)), torch.finfo(getattr(torch, name))
    for key in "bits eps max min tiny smallest_normal resolution dtype".split():
        assert getattr(mine, key) == getattr(theirs, key)
    assert repr(mine) == repr(theirs)
    with pytest.raises(TypeError, match="requires a floating point input type"):
        jitgrad.finfo(jitgrad.int32)
    assert repr(jitgrad.iinfo(jitgrad.int16)) == repr(torch.iinfo(torch.int16))
    with pytest.raises(TypeError, match="requires an integer input type"):
        jitgrad.iinfo(jitgrad.float16)


def test_what_has_no_16_bit_form_says_so() -> None:
    x = jitgrad.eye(2, dtype=jitgrad.float16)
    with pytest.raises(NotImplementedError, match="Low precision dtypes not supported. Got Half"):
        jitgrad.linalg.inv(x)
    with pytest.raises(RuntimeError, match="either float or double"):
        jitgrad.quantile(x, 0.5)
    with pytest.raises(RuntimeError, match="same dtype, but got: c10::Half != float"):
        x @ jitgrad.eye(2)
    with pytest.raises(RuntimeError, match="can't be cast"):
        jitgrad.ones(2, dtype=jitgrad.int64).add_(jitgrad.ones(2, dtype=jitgrad.float16))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("function", [lambda x: x * x, lambda x: x.exp(), lambda x: x.softmax(0)])
def test_nodes_show_what_they_saved_in_16_bits(function: Any, dtype: str, torch: Any) -> None:
    def run(module: Any) -> Any:
        x = module.tensor([1.0, 2.0], dtype=getattr(module, dtype), requires_grad=True)
        node = function(x).grad_fn
        saved = {name: getattr(node, name) for name in dir(node) if name.startswith("_saved")}
        return {
            name: (str(t.dtype).rpartition(".")[2], t.float().tolist())
            for name, t in saved.items()
            if hasattr(t, "dtype")
        }

    assert run(jitgrad) == run(torch)
