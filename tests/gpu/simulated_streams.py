"""Run in a process of its own, as `simulated`: streams and events, on the device of `tests.gpu.late`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad import cuda, nn
from jitgrad.arena import columns as col
from jitgrad.arena.inspect import storages
from jitgrad.cuda import cublas, memory, streams
from tests.gpu import late
from tests.gpu.blas import Blas

sys.setswitchinterval(0.0002)


@pytest.fixture(params=["late", "others first", "turns"])
def order(request: pytest.FixtureRequest) -> str:
    """In which order the device does what nobody has asked it to do in order."""
    return str(request.param)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[late.Device]:
    """The late device, with no buffers, no streams and no kernels loaded."""
    memory.device()
    memory.empty_cache()
    found = late.Device()
    monkeypatch.setattr(memory, "_found", [found])
    for name in ("_buffers", "_scratch", "_visits"):
        monkeypatch.setattr(memory, name, {})
    monkeypatch.setattr(memory, "_watched", set())
    monkeypatch.setattr(streams, "_handles", {0: 0})
    _forget_loaded()
    yield found
    cuda.set_stream(cuda.default_stream())
    found.synchronize()
    memory.empty_cache()
    _forget_loaded()


def _forget_loaded() -> None:
    import gc

    from jitgrad.cuda.kernel import Kernel

    for kernel in gc.get_objects():
        if isinstance(kernel, Kernel):
            kernel._loaded = None


def number(x: Any) -> int:
    """The number of a tensor's storage."""
    return memory.number_of(jitgrad.arena.engine.entry.address(x))


def filled(value: float, n: int = 6) -> Any:
    """A tensor that a kernel has filled."""
    return jitgrad.empty(n, device="cuda").fill_(value)


# ---------------------------------------------------------------- which stream a thread launches on
def test_the_current_stream_is_the_threads_own(device: late.Device) -> None:
    s, t = cuda.Stream(), cuda.Stream(priority=-1)
    assert (s.priority, t.priority, cuda.default_stream().priority) == (0, -1, 0)
    assert len({s, t, cuda.default_stream(), s}) == 3
    assert s != t
    assert cuda.current_stream() == cuda.default_stream()
    found = []
    with cuda.stream(s):
        thread = threading.Thread(target=lambda: found.append(cuda.current_stream()))
        thread.start()
        thread.join()
        with cuda.stream(t):
            assert cuda.current_stream() == t
            with cuda.stream(None):
                assert cuda.current_stream() == t
        assert cuda.current_stream() == s
        with pytest.raises(ZeroDivisionError), cuda.stream(t):
            raise ZeroDivisionError
        assert cuda.current_stream() == s
    assert found == [cuda.default_stream()]
    cuda.set_stream(t)
    filled(1.0)
    assert device.log[-1][-1] == t.cuda_stream != 0
    assert repr(t) == f"<jitgrad.cuda.Stream device=cuda:0 cuda_stream={t.cuda_stream:#x}>"
    with pytest.raises(RuntimeError, match="priority to be less than or equal to 0, got 1"):
        cuda.Stream(priority=1)
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        cuda.Stream("cpu")
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        cuda.Stream("cuda:1")


def test_streams_are_given_out_in_turn(device: late.Device) -> None:
    made = [cuda.Stream() for _ in range(33)]
    assert len(set(made)) == 32
    assert made[0] == made[32]
    assert len(streams._handles) == 33


def test_each_launch_is_on_the_stream_of_its_thread(device: late.Device) -> None:
    s = cuda.Stream()
    x = jitgrad.ones(6, device="cuda", requires_grad=True)
    with cuda.stream(s):
        s.wait_stream(cuda.default_stream())
        y = (x * 3).sum()
    launches = [entry for entry in device.log if entry[0] == "launch"]
    assert {entry[-1] for entry in launches[-2:]} == {s.cuda_stream}
    del device.log[:]
    cuda.current_stream().wait_stream(s)
    assert device.log == [("record", s.cuda_stream), ("wait for", s.cuda_stream, 0)]
    y.backward()
    launches = [entry for entry in device.log if entry[0] == "launch"]
    assert {entry[-1] for entry in launches} == {0}
    assert x.grad.tolist() == [3.0] * 6


# ---------------------------------------------------------------- waiting
def test_what_nobody_waits_for_comes_too_late(device: late.Device) -> None:
    """Else the other tests here would show nothing."""
    s = cuda.Stream()
    with cuda.stream(s):
        x = filled(1.0)
    assert np.isnan((x * 2).tolist()).all()


@pytest.mark.parametrize("how", ["stream", "event", "recorded", "host", "host event"])
def test_waiting(device: late.Device, order: str, how: str) -> None:
    device.order = order
    s = cuda.Stream()
    with cuda.stream(s):
        x = filled(1.0)
    here = cuda.current_stream()
    if how == "stream":
        here.wait_stream(s)
    elif how == "event":
        event = cuda.Event()
        event.record(s)
        event.wait()
    elif how == "recorded":
        here.wait_event(s.record_event())
    elif how == "host":
        assert not s.query()
        s.synchronize()
        assert s.query()
    else:
        event = s.record_event()
        assert not event.query()
        event.synchronize()
        assert event.query()
    assert (x * 2).tolist() == [2.0] * 6


def test_events_take_the_time(device: late.Device) -> None:
    timed = [cuda.Event(enable_timing=True) for _ in range(2)]
    assert timed[0].query()
    timed[0].wait()
    timed[0].synchronize()
    assert repr(timed[0]) == "<jitgrad.cuda.Event uninitialized>"
    with pytest.raises(ValueError, match="must be recorded"):
        timed[0].elapsed_time(timed[1])
    timed[0].record()
    filled(1.0)
    timed[1].record()
    with pytest.raises(ValueError, match="must be completed"):
        timed[0].elapsed_time(timed[1])
    with pytest.raises(ValueError, match="'enable_timing=True'"):
        timed[0].elapsed_time(cuda.Event())
    with pytest.raises(NotImplementedError, match="interprocess"):
        cuda.Event(interprocess=True)


def test_an_index_out_of_range_is_reported_by_its_stream(device: late.Device) -> None:
    s = cuda.Stream()
    x = jitgrad.ones(5, device="cuda")
    cuda.synchronize()
    with cuda.stream(s):
        x[jitgrad.tensor([7], device="cuda")]
    # Waiting for another stream does not see it, nor forget to look.
    assert x.tolist() == [1.0] * 5
    with pytest.raises(RuntimeError, match="an index was out of range"):
        s.synchronize()
    cuda.synchronize()


# ---------------------------------------------------------------- memory
def test_each_stream_has_its_own_pool(device: late.Device) -> None:
    s = cuda.Stream()
    x = filled(1.0)
    numbers = {number(x)}
    del x
    with cuda.stream(s):
        y = filled(2.0)
        assert number(y) not in numbers
        numbers.add(number(y))
        z = number(y)
        del y
    x = filled(1.0)
    assert number(x) != z
    with cuda.stream(s):
        y = filled(3.0)
        assert number(y) in numbers
        assert number(y) != number(x)


def test_memory_waits_for_the_streams_that_use_it(device: late.Device, order: str) -> None:
    device.order = order
    s = cuda.Stream()
    x = filled(1.0)
    s.wait_stream(cuda.default_stream())
    with cuda.stream(s):
        y = x * 2
    place = number(x)
    del x
    # The same buffer, with other elements, before the other stream has read it.
    others = [filled(5.0) for _ in range(4)]
    assert place in {number(other) for other in others}
    cuda.current_stream().wait_stream(s)
    assert y.tolist() == [2.0] * 6
    assert [other.tolist() for other in others] == [[5.0] * 6] * 4


def test_a_third_stream_waits_as_well(device: late.Device, order: str) -> None:
    """What is made on one stream and first written on another, where a third still reads the old elements."""
    device.order = order
    s, t = cuda.Stream(), cuda.Stream()
    x = filled(1.0)
    s.wait_stream(cuda.default_stream())
    with cuda.stream(s):
        y = x + 1
    place = number(x)
    del x
    fresh = [jitgrad.empty(6, device="cuda") for _ in range(2)]
    assert place in {number(z) for z in fresh}
    t.wait_stream(cuda.default_stream())
    with cuda.stream(t):
        for z in fresh:
            z.fill_(7.0)
    t.synchronize()
    cuda.current_stream().wait_stream(s)
    assert y.tolist() == [2.0] * 6


def test_record_stream(device: late.Device) -> None:
    s = cuda.Stream()
    x = filled(1.0)
    x.record_stream(s)
    place = number(x)
    del x, device.log[:]
    others = [filled(5.0) for _ in range(4)]
    assert place in {number(other) for other in others}
    assert ("wait for", s.cuda_stream, 0) in device.log
    del device.log[:]
    others[0].add_(1.0)
    assert "wait for" not in {entry[0] for entry in device.log}
    with pytest.raises(NotImplementedError, match="a tensor of the CPU"):
        jitgrad.ones(2).record_stream(s)
    jitgrad.ones(0, device="cuda").record_stream(s)


def test_no_stream_waits_for_who_only_reads_the_same(device: late.Device) -> None:
    s, t = cuda.Stream(), cuda.Stream()
    x = filled(1.0)
    cuda.synchronize()
    del device.log[:]
    for stream in (s, t, None, s, t, None):
        with cuda.stream(stream):
            x * 2
    assert {entry[0] for entry in device.log} == {"launch"}


def test_scratch_memory_is_each_streams_own(device: late.Device, order: str) -> None:
    device.order = order
    s = cuda.Stream()
    x = jitgrad.ones(200, device="cuda")
    z = jitgrad.ones(200, device="cuda") * 2
    cuda.synchronize()
    with cuda.stream(s):
        a = x.sum()
    b = z.sum()
    with cuda.stream(s):
        assert a.item() == 200.0
    assert b.item() == 400.0
    assert len({key[0] for key in memory._scratch}) >= 2


def test_empty_cache(device: late.Device) -> None:
    s = cuda.Stream()
    x = filled(1.0)
    s.wait_stream(cuda.default_stream())
    with cuda.stream(s):
        y = x * 2
        kept = number(y)
    del x
    cuda.empty_cache()
    assert not any(device._queues.values())
    assert kept in memory._buffers
    live = storages()
    assert all(live[n, col.S_GEN] % 2 for n in memory._buffers)
    assert y.tolist() == [2.0] * 6
    assert filled(3.0).tolist() == [3.0] * 6


def test_out_of_memory_gives_free_buffers_back(device: late.Device) -> None:
    kept = filled(1.0)
    gone = [filled(2.0, 64) for _ in range(4)]
    before = cuda.memory_allocated()
    del gone
    assert cuda.memory_allocated() == before - 4 * 256
    device.left = 64
    assert filled(3.0, 60).tolist() == [3.0] * 60
    device.left = 0
    with pytest.raises(
        cuda.OutOfMemoryError, match=r"CUDA out of memory. Tried to allocate 409\d+ bytes"
    ):
        filled(1.0, 1000)
    assert kept.tolist() == [1.0] * 6


def test_out_of_memory_in_backward_spares_what_it_still_reads(device: late.Device) -> None:
    """A pass has given saved tensors back by the time its launches are made."""
    w = jitgrad.ones(64, device="cuda", requires_grad=True)
    y = ((w * 2).exp() * 3).tanh().sum()
    device.left = 0
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        y.backward()
    device.left = 1 << 20
    w.grad = None
    y = ((w * 0.1).exp() * 3).sum()
    free = [filled(1.0, 64) for _ in range(3)]
    del free
    device.left = 0
    y.backward()
    np.testing.assert_allclose(w.grad.tolist(), [0.3 * np.exp(0.1)] * 64, rtol=1e-6)


# ---------------------------------------------------------------- backward
@pytest.mark.parametrize("by", ["kernel", "cublas"])
def test_backward_waits_for_the_streams_of_forward(
    device: late.Device, order: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an op's gradient is its recipe, as that of a product."""
    device.order = order
    if by == "cublas":
        blas = Blas(lambda stream, work: device._later(stream, work, "launch", "gemm"))
        monkeypatch.setattr(cublas, "_found", [blas])
        monkeypatch.setattr(cublas, "_handles", {})
    s = cuda.Stream()
    x = jitgrad.tensor(np.arange(6.0).reshape(2, 3), device="cuda", requires_grad=True)
    w = jitgrad.tensor(np.arange(12.0).reshape(3, 4) / 7, device="cuda", requires_grad=True)
    s.wait_stream(cuda.default_stream())
    with cuda.stream(s):
        y = ((x @ w).tanh() * 2).sum()
    # Without a wait here.
    y.backward()
    assert ("launch", "gemm", s.cuda_stream) in device.log or by == "kernel"
    found = [x.grad.tolist(), w.grad.tolist()]
    a, b = (v.detach().cpu().requires_grad_() for v in (x, w))
    ((a @ b).tanh() * 2).sum().backward()
    np.testing.assert_allclose(found[0], a.grad.numpy(), rtol=1e-6)
    np.testing.assert_allclose(found[1], b.grad.numpy(), rtol=1e-6)


def test_a_recipe_waits_for_the_streams_of_forward(device: late.Device, order: str) -> None:
    """What only the recipe reads: the gradient of a product, computed by ops when the pass has stopped."""
    device.order = order
    s = cuda.Stream()
    x = jitgrad.tensor([[1.0, 2.0]], device="cuda")
    w = jitgrad.ones(2, 1, device="cuda", requires_grad=True)
    g = jitgrad.ones(1, 1, device="cuda")
    s.wait_stream(cuda.default_stream())
    with cuda.stream(s):
        y = (x * 2) @ w
    y.backward(g)
    assert w.grad.tolist() == [[2.0], [4.0]]


def test_backward_on_a_stream(device: late.Device, order: str) -> None:
    device.order = order
    s = cuda.Stream()
    x = jitgrad.tensor([1.0, 2.0, 3.0], device="cuda", requires_grad=True)
    seen = []
    y = x * x
    y.register_hook(lambda g: seen.append(cuda.current_stream()))
    z = (y * 2).sum()
    with cuda.stream(s):
        s.wait_stream(cuda.default_stream())
        z.backward()
        home = int(storages()[number(x.grad), col.S_CLASS]) // col.POOL_CLASSES - 1
        assert home == s.stream_id
    assert seen == [s]
    cuda.current_stream().wait_stream(s)
    assert x.grad.tolist() == [4.0, 8.0, 12.0]


def test_a_pass_waits_once_for_a_stream(device: late.Device) -> None:
    s = cuda.Stream()
    x = jitgrad.ones(6, device="cuda", requires_grad=True)
    with cuda.stream(s):
        s.wait_stream(cuda.default_stream())
        y = (x.exp().exp() * 2).tanh().sum()
    del device.log[:]
    y.backward()
    assert [entry for entry in device.log if entry[0] == "wait for"] == [
        ("wait for", s.cuda_stream, 0)
    ]


def _train(stream: Any, data: Any, device: str) -> list[float]:
    """The losses of a few steps."""
    with cuda.stream(stream):
        jitgrad.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        for i, p in enumerate(model.parameters()):
            with jitgrad.no_grad():
                p.copy_(jitgrad.from_numpy(np.cos(np.arange(p.numel()) + i)).reshape(p.shape))
        model.to(device)
        optimiser = jitgrad.optim.Adam(model.parameters(), lr=0.05)
        x, y = (jitgrad.from_numpy(a).to(device) for a in data)
        losses = []
        for _ in range(3):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses


def test_threads_train_on_streams_of_their_own(device: late.Device, order: str) -> None:
    device.order = order
    rng = np.random.default_rng(0)
    data = [(rng.normal(size=(5, 3)).astype("float32"), rng.integers(0, 2, 5)) for _ in range(3)]
    expected = [_train(None, d, "cpu") for d in data]
    made = [cuda.Stream(), cuda.Stream(), cuda.default_stream()]
    found: dict[int, Any] = {}

    def work(i: int) -> None:
        found[i] = _train(made[i], data[i], "cuda")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(3):
        np.testing.assert_allclose(found[i], expected[i], rtol=1e-5)
    # They share no buffers, so nobody has had to wait for another.
    assert "wait for" not in {entry[0] for entry in device.log}
