"""Run in a process of its own, as `simulated`: devices, modules, optimisers, errors, an example."""

from __future__ import annotations

import copy
import importlib.util
import json
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad import nn
from jitgrad.cuda import memory

sys.setswitchinterval(0.0002)


def test_devices() -> None:
    assert jitgrad.cuda.is_available()
    assert jitgrad.cuda.device_count() == 1
    assert jitgrad.cuda.get_device_name() == "numba.cuda simulator"
    x = jitgrad.zeros(2, 3, device="cuda")
    assert x.is_cuda
    assert x.device == jitgrad.device("cuda:0")
    assert x.cuda() is x
    assert x.cpu().device == jitgrad.device("cpu")
    assert "device='cuda:0'" in repr(x)
    assert x.tolist() == [[0.0] * 3] * 2
    assert x.T.sum().item() == 0.0
    assert copy.deepcopy(x).is_cuda
    assert pickle.loads(pickle.dumps(x)).is_cuda
    jitgrad.cuda.set_device(0)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        jitgrad.cuda.set_device("cuda:1")
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        jitgrad.cuda.set_device("cpu")
    jitgrad.cuda.manual_seed_all(3)
    drawn = jitgrad.rand(2, device="cuda").tolist()
    assert jitgrad.manual_seed(3)
    assert drawn == jitgrad.rand(2).tolist()
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        x.numpy()
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        x.to("cuda:1")
    with pytest.raises(NotImplementedError, match="'svd' has no CUDA kernel: move its operands to"):
        jitgrad.linalg.svd(x)
    with pytest.raises(NotImplementedError, match="'unique' has no CUDA kernel"):
        x.unique()
    with pytest.raises(NotImplementedError, match="float16' has no CUDA kernel"):
        x.half()


MADE: dict[str, Any] = {
    "empty": lambda **k: jitgrad.empty(2, 3, **k),
    "zeros": lambda **k: jitgrad.zeros(2, 3, **k),
    "ones": lambda **k: jitgrad.ones(2, 3, **k),
    "full": lambda **k: jitgrad.full((2,), 7, **k),
    "eye": lambda **k: jitgrad.eye(3, **k),
    "arange": lambda **k: jitgrad.arange(5, **k),
    "linspace": lambda **k: jitgrad.linspace(0, 1, 5, **k),
    "tensor": lambda **k: jitgrad.tensor([1, 2], **k),
    "as_tensor": lambda **k: jitgrad.as_tensor([1, 2], **k),
    "rand": lambda **k: jitgrad.rand(2, **k),
    "randn": lambda **k: jitgrad.randn(2, **k),
    "randint": lambda **k: jitgrad.randint(5, (3,), **k),
    "randperm": lambda **k: jitgrad.randperm(5, **k),
    "normal": lambda **k: jitgrad.normal(0.0, 1.0, (3,), **k),
    "BatchNorm1d": lambda **k: nn.BatchNorm1d(3, **k).running_mean,
    "InstanceNorm1d": lambda **k: nn.InstanceNorm1d(3, track_running_stats=True, **k).running_var,
    "LSTM": lambda **k: nn.LSTM(3, 2, **k).weight_hh_l0,
    "sparse_": lambda **k: nn.init.sparse_(jitgrad.empty(3, 3, **k), 0.1),
}


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_on_the_device(name: str) -> None:
    made = MADE[name]
    assert made(device="cuda").is_cuda
    assert not made().is_cuda
    found = []
    jitgrad.set_default_device("cuda")
    try:
        assert made().is_cuda
        assert not made(device="cpu").is_cuda
        assert not jitgrad.ones(2).cpu().is_cuda
        assert not jitgrad.get_rng_state().is_cuda
        # Another thread makes its tensors where it has chosen.
        thread = threading.Thread(target=lambda: found.append(made().is_cuda))
        thread.start()
        thread.join()
    finally:
        jitgrad.set_default_device(None)
    assert found == [False]


def test_filled_on_the_device() -> None:
    for dtype in ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"):
        kind = getattr(jitgrad, dtype)
        for value in (0, 1, 2.0 if kind.is_floating_point else 1, -1 if kind.is_signed else 1):
            mine = jitgrad.full((2, 3), value, dtype=kind, device="cuda")
            assert mine.cpu().equal(jitgrad.full((2, 3), value, dtype=kind))
        assert jitgrad.zeros(0, 2, dtype=kind, device="cuda").shape == (0, 2)
        assert jitgrad.ones((), dtype=kind, device="cuda").item() == 1
    with pytest.raises(NotImplementedError, match="float16' has no CUDA kernel"):
        jitgrad.ones(2, dtype=jitgrad.float16, device="cuda")


def test_watchers_see_what_is_recorded_for_the_device() -> None:
    """Hooks on saved tensors, anomaly mode, checkpoints: they stand around the entries."""
    x = jitgrad.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    seen = {}
    for device in ("cuda", "cpu"):
        seen[device] = []
        z = x.detach().to(device).requires_grad_()

        def pack(t: Any, device: str = device) -> Any:
            seen[device].append(tuple(t.shape))
            return t

        with jitgrad.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            y = jitgrad.stack([z, z * z]).exp().sum() + (z.reshape(1, 2) @ z.reshape(2, 1)).sum()
        y.backward()
        seen[device].append(z.grad.cpu().tolist())
    assert len(seen["cuda"]) > 3
    np.testing.assert_allclose(seen["cuda"].pop(), seen["cpu"].pop(), rtol=1e-6)
    assert seen["cuda"] == seen["cpu"]
    with jitgrad.autograd.graph.save_on_cpu():
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0]
    with (
        pytest.warns(UserWarning, match="Anomaly|Error detected in"),
        jitgrad.autograd.detect_anomaly(),
        pytest.raises(RuntimeError, match="returned nan values"),
    ):
        (x * 0).sqrt().mul(0).sum().backward()


def test_a_checkpoint_runs_where_the_user_makes_tensors() -> None:
    x = jitgrad.ones(2, device="cuda", requires_grad=True)
    made = []

    def part(x: Any) -> Any:
        made.append(jitgrad.ones(1).is_cuda)
        return (x.exp().reshape(1, 2) @ x.reshape(2, 1)).sum()

    jitgrad.utils.checkpoint.checkpoint(part, x, use_reentrant=False).backward()
    np.testing.assert_allclose(x.grad.tolist(), [2 * np.e] * 2, rtol=1e-6)
    assert made == [False, False]


def test_gradcheck() -> None:
    x = jitgrad.tensor([1.0, 2.0], device="cuda", dtype=jitgrad.float64, requires_grad=True)
    assert jitgrad.autograd.gradcheck(lambda x: (x.exp() * x, x.sum()), (x,))
    assert x.tolist() == [1.0, 2.0]

    class Wrong(jitgrad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 3

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        jitgrad.autograd.gradcheck(Wrong.apply, (x,))


def test_saved_and_loaded(tmp_path: Path) -> None:
    """To the CPU: sharing, strides and classes are kept."""
    model = nn.Linear(2, 3).to("cuda")
    x = jitgrad.arange(12.0, device="cuda").reshape(3, 4)
    path = tmp_path / "file"
    jitgrad.save({"x": x, "part": x[1:, ::2].T, "none": x[:0], "model": model.weight}, path)
    found = jitgrad.load(path)
    assert not any(t.is_cuda for t in found.values())
    assert found["x"].equal(x.cpu())
    assert found["part"].stride() == (2, 4)
    found["x"].zero_()
    assert found["part"].tolist() == [[0.0, 0.0]] * 2
    assert found["none"].shape == (0, 4)
    assert isinstance(found["model"], nn.Parameter)
    assert found["model"].equal(model.weight.detach().cpu())
    jitgrad.save(model.state_dict(), path)
    model.load_state_dict(jitgrad.load(path))
    assert model.weight.is_cuda


def test_state_of_an_optimiser_goes_where_its_parameters_are() -> None:
    model = nn.Linear(2, 2)
    optimiser = jitgrad.optim.Adam(model.parameters())
    model(jitgrad.ones(1, 2)).sum().backward()
    optimiser.step()
    state = optimiser.state_dict()
    model.to("cuda")
    optimiser = jitgrad.optim.Adam(model.parameters())
    optimiser.load_state_dict(state)
    found = optimiser.state[model.weight]
    assert found["exp_avg"].is_cuda
    assert not found["step"].is_cuda
    model(jitgrad.ones(1, 2, device="cuda")).sum().backward()
    optimiser.step()


def test_memory_is_counted_and_given_back() -> None:
    before = jitgrad.cuda.memory_allocated()
    x = jitgrad.ones(1000, device="cuda")
    assert jitgrad.cuda.memory_allocated() - before >= 4000
    del x
    assert jitgrad.cuda.memory_allocated() == before
    # Sums of long lanes and indexing leave scratch memory behind, which is given back as well.
    assert jitgrad.cuda.max_memory_allocated() >= before + 4000
    jitgrad.cuda.reset_peak_memory_stats()
    assert jitgrad.cuda.max_memory_allocated() == before
    y = jitgrad.ones(200, device="cuda").sum()
    z = jitgrad.zeros(3, device="cuda").index_add(
        0, jitgrad.tensor([1], device="cuda"), y.reshape(1)
    )
    jitgrad.cuda.empty_cache()
    assert len(memory._scratch) <= 1
    assert z.tolist() == [0.0, 200.0, 0.0]
    assert jitgrad.ones(1000, device="cuda").sum().item() == 1000


def test_gradients_cross_devices() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = (x.cuda() * 3).cpu() * x
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [6.0, 12.0])
    assert not x.grad.is_cuda


def test_create_graph() -> None:
    x = jitgrad.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    (g,) = jitgrad.autograd.grad((x**3).sum(), x, create_graph=True)
    (h,) = jitgrad.autograd.grad(g.sum(), x)
    assert h.is_cuda
    np.testing.assert_allclose(h.cpu().numpy(), [6.0, 12.0], rtol=1e-6)


def test_hooks_and_retained_gradients() -> None:
    x = jitgrad.ones(3, device="cuda", requires_grad=True)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    (y * jitgrad.tensor([1.0, 2.0, 3.0], device="cuda")).sum().backward()
    assert y.grad.tolist() == [10.0, 20.0, 30.0]
    assert x.grad.tolist() == [20.0, 40.0, 60.0]


def test_changes_in_place() -> None:
    x = jitgrad.ones(2, 3, device="cuda")
    x[:, 1] += 5
    x.mul_(2)
    assert x.tolist() == [[2.0, 12.0, 2.0]] * 2
    w = jitgrad.ones(3, device="cuda", requires_grad=True)
    y = w * 2
    y[0] = 7
    y.sum().backward()
    assert w.grad.tolist() == [0.0, 2.0, 2.0]


def test_two_devices() -> None:
    gpu, cpu = jitgrad.ones(2, device="cuda"), jitgrad.ones(2)
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu!"):
        gpu + cpu
    with pytest.raises(RuntimeError, match="at least two devices, cpu and cuda:0!"):
        cpu.add_(gpu)
    with pytest.raises(RuntimeError, match="different device"):
        gpu.requires_grad_().grad = cpu
    with pytest.raises(RuntimeError, match="same device"):
        (gpu * 2).backward(cpu)
    # A tensor of the CPU without dims counts as a number, as in PyTorch.
    assert (gpu * jitgrad.tensor(3.0)).tolist() == [3.0, 3.0]


def test_copies_between_devices_in_place() -> None:
    gpu, cpu = jitgrad.zeros(2, device="cuda"), jitgrad.tensor([1.0, 2.0])
    assert gpu.copy_(cpu).tolist() == [1.0, 2.0]
    assert cpu.zero_().copy_(gpu * 2).tolist() == [2.0, 4.0]
    dropped = jitgrad.nn.functional.dropout(jitgrad.ones(50, device="cuda"))
    assert set(dropped.tolist()) == {0.0, 2.0}


def test_custom_pointwise_ops_have_a_kernel() -> None:
    cube = jitgrad.custom.pointwise(lambda x: x * x * x)
    x = jitgrad.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    y = cube(x)
    y.sum().backward()
    assert y.tolist() == [1.0, 8.0]
    assert x.grad.tolist() == [3.0, 12.0]


def test_a_gradient_of_an_expand_that_changes_nothing() -> None:
    x = jitgrad.ones(2, 3, device="cuda", requires_grad=True)
    weight = jitgrad.arange(6, device="cuda").to(jitgrad.float32).reshape(2, 3)
    (x.expand(2, 3) * weight).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_the_threads_of_a_block_share_their_array() -> None:
    """With numba's own `shared.array` two threads had one each in a few of these rounds."""
    jitgrad.cuda.synchronize()
    from numba.cuda.simulator import kernelapi

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(200):
            shared = kernelapi.FakeCUDAShared(0)
            start, found = threading.Barrier(8), []

            def work(shared: Any = shared, start: Any = start, found: list[Any] = found) -> None:
                start.wait()
                found.append(shared.array((2, 2), np.float32))

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len({array.ctypes.data for array in found}) == 1
            assert np.isnan(found[0]).all()
    finally:
        sys.setswitchinterval(before)


SHAPES = ((), (1,), (7,), (9, 3), (2, 0), (3, 1, 5))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=shape)
    for function in (lambda x: x.exp().sum(), lambda x: (x * 2 + 1).tanh().mean()):
        found = []
        for device in ("cuda", "cpu"):
            x = jitgrad.tensor(data, device=device, requires_grad=True)
            y = function(x)
            y.backward()
            found.append((y.item(), x.grad.cpu().numpy()))
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)


@pytest.mark.parametrize("n", [63, 64, 65, 200])
def test_a_long_lane_is_summed_in_parts(n: int) -> None:
    data = np.random.default_rng(n).normal(size=(2, n))
    x = jitgrad.tensor(data, device="cuda")
    np.testing.assert_allclose(x.sum().item(), data.sum(), rtol=1e-12)
    np.testing.assert_allclose(x.sum(1).tolist(), data.sum(1), rtol=1e-12)
    np.testing.assert_allclose(x.T.amax(0).tolist(), data.max(1))
    assert x.argmax(1).tolist() == data.argmax(1).tolist()
    assert x.sum().item() == x.sum().item()


OPTIMISERS: dict[str, Any] = {
    "SGD": lambda p: jitgrad.optim.SGD(p, lr=0.1, momentum=0.9),
    "AdamW": lambda p: jitgrad.optim.AdamW(p, lr=0.01),
    "RMSprop": lambda p: jitgrad.optim.RMSprop(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(name: str) -> None:
    found = []
    for device in ("cuda", "cpu"):
        w = jitgrad.tensor([[1.0, -2.0, 3.0]], device=device, requires_grad=True)
        optimiser = OPTIMISERS[name]([w])
        for _ in range(3):
            optimiser.zero_grad()
            (w * w).sum().backward()
            optimiser.step()
        found.append(w.detach().cpu().numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_a_module_moves() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    x = jitgrad.randn(4, 3)
    expected = model(x).detach().numpy()
    assert model.to("cuda")[0].weight.is_cuda
    found = model(x.cuda())
    np.testing.assert_allclose(found.detach().cpu().numpy(), expected, rtol=1e-6)
    found.sum().backward()
    assert model[0].weight.grad.is_cuda
    assert not model.cpu()[0].weight.grad.is_cuda


def test_digits_trains_as_on_the_cpu() -> None:
    pytest.importorskip("sklearn")
    path = Path(__file__).parents[2] / "examples" / "digits.py"
    spec = importlib.util.spec_from_file_location("digits", path)
    assert spec is not None
    assert spec.loader is not None
    digits = importlib.util.module_from_spec(spec)
    sys.modules["digits"] = digits
    spec.loader.exec_module(digits)
    data = digits.load_digits()
    part = digits.Digits(data.train_x[:6], data.train_y[:6], data.test_x[:4], data.test_y[:4])
    losses = []
    for device in ("cuda", "cpu"):
        settings = digits.Settings(epochs=2, batch=3, hidden=5, device=device)
        losses.append(digits.train(jitgrad, part, settings).losses)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_bench_on_the_device(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from jitgrad.cli.app import app

    file = tmp_path / "out.json"
    options = ["--ops", "exp,mm", "--sizes", "4", "--rounds", "1", "--budget", "0.001"]
    done = CliRunner().invoke(app, ["bench", "--device", "cuda", *options, "--json", str(file)])
    assert done.exit_code == 0, done.output
    data = json.loads(file.read_text())
    assert data["about"]["device"] == "numba.cuda simulator"
    assert len(data["measurements"]) == 2
    for measured in data["measurements"]:
        assert measured["samples"]
        assert not measured["error"]
    for wrong in (
        ["--device", "tpu"],
        ["--device", "cuda", "--vs", "jax"],
        ["--device", "cuda", "--memory"],
    ):
        assert CliRunner().invoke(app, ["bench", *options, *wrong]).exit_code == 2


def test_the_gpu_benchmark_finds_every_op_right(capsys: pytest.CaptureFixture[str]) -> None:
    """All that it does before it measures; matrices of 6 x 6."""
    from benchmarks import gpu
    from jitgrad.bench import operations

    assert gpu.check_ops(operations.OPERATIONS, 36) == []
    assert "no kernel: to_float16, to_bfloat16, ctc_loss\n0 wrong" in capsys.readouterr().out


def test_the_gpu_benchmark_measures(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import gpu

    options = ["--no-check", "--elements", "1024", "--sizes", "4", "--rounds", "1", "--peak", "10"]
    assert gpu.main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "numba.cuda simulator, 10 GB/s; cuBLAS: not used (not in the simulator)"
    assert sum("of the peak" in line for line in lines) == len(gpu.CASES)
    assert [line.split()[:5] for line in lines if "GFLOP/s" in line] == [
        ["4", "x", "4", dtype, "tiled"] for dtype in ("float32", "float64")
    ]
    assert gpu.main(["--ops", "exp", "--elements", "16"]) == 0
