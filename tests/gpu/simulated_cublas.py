"""Run in a process of its own, as `simulated`: products by cuBLAS, for which `tests.gpu.blas` stands in."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad import cuda, nn
from jitgrad.cuda import cublas, kernel, target
from tests.calls import Call
from tests.gpu.blas import Blas, Math, PointerMode, Status

# Loaded by path: what is beside this file is no package.
_spec = importlib.util.spec_from_file_location("simulated", Path(__file__).parent / "simulated.py")
assert _spec is not None
assert _spec.loader is not None
simulated = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(simulated)

sys.setswitchinterval(0.0002)
_PRODUCTS = re.compile(
    r"\b\w*mm\b|mv\b|dot|matmul|linear \(|linear tr|einsum|outer|inner|kron|attention|F.bilinear|matrix_power"
)
#: Calls that multiply matrices.
PRODUCTS = [call for call in simulated.WITH_OPERANDS if _PRODUCTS.search(call.name)]
#: Those that don't: there are no elements, or integers, or it takes no product after all.
_NONE = re.compile(
    r"nothing|no rows|ints|[(, ]0[,)]|tensordot 0|power 0|inner number|kron|outer"
    r"|einsum (ij->|ii|iji|i\.|of dots|i,j|ij,kl|ba,c|.*2, 1)"
)


@pytest.fixture
def blas(monkeypatch: pytest.MonkeyPatch) -> Iterator[Blas]:
    """The stand-in in the binding's place; the kernel of products may only multiply what it leaves over."""
    found = Blas()
    monkeypatch.setattr(cublas, "_found", [found])
    monkeypatch.setattr(cublas, "_handles", {})
    launch = kernel.Kernel.launch

    def watched(self: Any, grid: Any, block: Any, args: Any) -> None:
        left_over = not self.name.startswith("product_float") or args[2] == 0
        assert left_over, "a product was not given to cuBLAS"
        launch(self, grid, block, args)

    monkeypatch.setattr(kernel.Kernel, "launch", watched)
    yield found
    jitgrad.set_float32_matmul_precision("highest")


def products(blas: Blas) -> list[str]:
    """The functions that multiplied."""
    return [name for name, *_ in blas.calls if "gemm" in name]


# ---------------------------------------------------------------- right
@pytest.mark.parametrize("call", PRODUCTS, ids=[call.name for call in PRODUCTS])
def test_call(blas: Blas, call: Call) -> None:
    dtype = "float64" if len(call.name) % 2 else "float32"
    if call.name == "matrix_power -2":
        with pytest.raises(NotImplementedError, match="'inv' has no CUDA kernel"):
            simulated.outcome(call, dtype, "cuda")
        return
    found = simulated.outcome(call, dtype, "cuda")
    assert bool(products(blas)) != bool(_NONE.search(call.name))
    for mine, cpu in zip(found, simulated.outcome(call, dtype, "cpu"), strict=True):
        simulated.compare(mine, cpu, dtype)


_LAYOUTS = {
    "dense": lambda x: x,
    "transposed": lambda x: x.mT.contiguous().mT,
    "a part of larger rows": lambda x: _inside(x, 3),
    "a part of larger columns": lambda x: _inside(x.mT, 3).mT,
    "every other element": lambda x: _inside(x.unsqueeze(-1), 1)[..., 0],
    "the same row": lambda x: x[..., :1, :].expand_as(x),
    "the same column": lambda x: x[..., :1].expand_as(x),
    "the same matrix": lambda x: x[:1].expand_as(x) if x.ndim == 3 else x,
    "the batch inside": lambda x: (
        x.permute(1, 2, 0).contiguous().permute(2, 0, 1) if x.ndim == 3 else x
    ),
    "overlapping": lambda x: _overlapping(x),
}


def test_a_matrix_that_is_copied_once_for_a_batch(blas: Blas) -> None:
    x = jitgrad.arange(12.0, device="cuda").reshape(2, 6)[:, ::2].expand(3, 2, 3)
    z = jitgrad.ones(3, 3, 1, device="cuda")
    assert (x @ z).flatten().tolist() == [6.0, 24.0] * 3


def _inside(x: Any, more: int) -> Any:
    """The same elements, where each row is followed by others."""
    wide = jitgrad.cat([x, x[..., :1].repeat(*[1] * (x.ndim - 1), more) + 7], -1)
    return wide[..., : x.shape[-1]]


def _overlapping(x: Any) -> Any:
    flat = x.contiguous().flatten()
    strides = [1] * x.ndim
    return flat.as_strided(x.shape, strides)


# Each matrix is described to BLAS by itself, so not every pair is needed: each with itself and two others.
_NAMES = list(_LAYOUTS)
_PAIRS = [(left, _NAMES[i - far]) for i, left in enumerate(_NAMES) for far in (0, 1, 4)]


@pytest.mark.parametrize(("left", "right"), _PAIRS)
def test_layouts(blas: Blas, left: str, right: str) -> None:
    rng = np.random.default_rng(0)
    for batch in ((), (3,)):
        for m, k, n in ((2, 3, 4), (1, 3, 1), (2, 1, 4)):
            results = []
            a, b = rng.normal(size=(*batch, m, k)), rng.normal(size=(*batch, k, n))
            for device in ("cuda", "cpu"):
                x, z = (jitgrad.from_numpy(v).to(device).requires_grad_() for v in (a, b))
                y = _LAYOUTS[left](x) @ _LAYOUTS[right](z)
                (y * y).sum().backward()
                results.append([t.detach().cpu().numpy() for t in (y, x.grad, z.grad)])
            for mine, cpu in zip(*results, strict=True):
                np.testing.assert_allclose(mine, cpu, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 4), (4,), (1, 4), (2, 1), (1, 1), ()])
@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5])
def test_what_is_added(blas: Blas, shape: tuple[int, ...], beta: float) -> None:
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=shape), rng.normal(size=(2, 3)), rng.normal(size=(3, 4))
    results = []
    for device in ("cuda", "cpu"):
        c, x, z = (jitgrad.from_numpy(v).to(device).requires_grad_() for v in arrays)
        y = jitgrad.addmm(c, x, z.mT.contiguous().mT, beta=beta, alpha=2.5)
        (y * y).sum().backward()
        results.append([t.detach().cpu().numpy() for t in (y, c.grad, x.grad, z.grad)])
    for mine, cpu in zip(*results, strict=True):
        np.testing.assert_allclose(mine, cpu, rtol=1e-10, atol=1e-12)


def test_what_is_added_by_0_is_not_read(blas: Blas) -> None:
    c = jitgrad.full((2, 2), float("nan"), device="cuda")
    x = jitgrad.eye(2, device="cuda")
    assert jitgrad.addmm(c, x, x, beta=0).tolist() == [[1.0, 0.0], [0.0, 1.0]]


# ---------------------------------------------------------------- views are read as they are
def test_transposed_operands_are_not_copied(blas: Blas, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = []
    monkeypatch.setattr(cublas, "_copy", lambda *a: copied.append(a))
    x, z = jitgrad.ones(2, 3, device="cuda"), jitgrad.ones(4, 3, device="cuda")
    for a, b in ((x, z.T), (x.T, x), (x.T.contiguous().T, z.T), (x[:, :2], z[:2, :2].T)):
        a @ b
    jitgrad.bmm(x.expand(5, 2, 3), z.T.expand(5, 3, 4))
    nn.functional.linear(x, z)
    assert not copied
    jitgrad.ones(2, 6, device="cuda")[:, ::2] @ z.T
    assert len(copied) == 1
    assert set(products(blas)) == {"sgemm_64", "sgemm_strided_batched_64"}


# ---------------------------------------------------------------- state
def test_tf32_only_when_asked(blas: Blas) -> None:
    x = jitgrad.ones(2, 2, device="cuda")

    def mode(x: Any) -> Any:
        del blas.calls[:]
        x @ x
        return next(value[0] for name, *value in blas.calls if name == "set_math_mode")

    assert mode(x) == Math.DEFAULT_MATH
    jitgrad.backends.cuda.matmul.allow_tf32 = True
    assert mode(x) == Math.TF32_TENSOR_OP_MATH
    assert mode(x.double()) == Math.DEFAULT_MATH
    jitgrad.set_float32_matmul_precision("highest")
    assert not jitgrad.backends.cuda.matmul.allow_tf32
    assert mode(x) == Math.DEFAULT_MATH


def test_a_handle_for_each_stream(blas: Blas) -> None:
    x = jitgrad.ones(2, 2, device="cuda")
    s = cuda.Stream()
    for stream in (None, s, None, s):
        with cuda.stream(stream):
            x @ x
    names = [name for name, *_ in blas.calls]
    assert names.count("create") == 2
    assert ("set_pointer_mode", PointerMode.HOST) in blas.calls
    # Set before each product.
    assert names[-3:] == ["set_stream", "set_math_mode", "sgemm_64"]
    found = [value[0] for name, *value in blas.calls if name == "set_stream"]
    assert found == [0, s.cuda_stream, 0, s.cuda_stream]
    threads = [threading.Thread(target=lambda: x @ x) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [name for name, *_ in blas.calls].count("create") == 2


# ---------------------------------------------------------------- errors
def test_errors_have_the_name_of_the_status(blas: Blas) -> None:
    x = jitgrad.ones(2, 2, device="cuda")
    for name, function in (
        ("create", "cublasCreate"),
        ("set_stream", "cublasSetStream"),
        ("sgemm_64", "cublasSgemm"),
    ):
        blas.failing[name] = Status.ALLOC_FAILED
        with pytest.raises(
            RuntimeError, match=f"CUBLAS_STATUS_ALLOC_FAILED when calling `{function}`"
        ):
            x @ x
        assert (x @ x).tolist() == [[2.0, 2.0]] * 2
    blas.failing["sgemm_strided_batched_64"] = Status.EXECUTION_FAILED
    with pytest.raises(
        RuntimeError, match="STATUS_EXECUTION_FAILED when calling `cublasSgemmStridedBatched`"
    ):
        x.expand(3, 2, 2) @ x.expand(3, 2, 2)


def test_the_stand_in_refuses_what_cublas_refuses(blas: Blas) -> None:
    """Else the other tests here would show nothing."""
    x = jitgrad.ones(2, 3, device="cuda")
    place, handle = x.data_ptr(), blas.create()
    blas.set_pointer_mode(handle, PointerMode.HOST)
    one = np.ones(1, "f")
    right = [0, 0, 2, 3, 3, one.ctypes.data, place, 2, place, 3, one.ctypes.data, place, 2]
    with pytest.raises(Exception, match="NOT_INITIALIZED"):
        blas.sgemm_64(handle + 1, *right)
    for i, wrong in ((2, -1), (7, 1), (9, 2), (12, 1), (0, 3), (5, 0)):
        arguments = list(right)
        arguments[i] = wrong
        with pytest.raises(Exception, match="INVALID_VALUE"):
            blas.sgemm_64(handle, *arguments)
    for i, wrong in ((6, 4096), (9, 1 << 20), (11, place - 1024)):
        arguments = list(right)
        arguments[i] = wrong
        with pytest.raises(Exception, match="EXECUTION_FAILED"):
            blas.sgemm_64(handle, *arguments)


def test_a_binding_without_its_library(blas: Blas, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where only nvmath-python is installed: products go on, by the kernel."""
    monkeypatch.undo()
    monkeypatch.setattr(cublas, "_found", [blas])
    monkeypatch.setattr(cublas, "_handles", {})

    def create() -> int:
        raise RuntimeError("cublas is not found")

    monkeypatch.setattr(blas, "create", create)
    x = jitgrad.ones(2, 2, device="cuda")
    with pytest.warns(RuntimeWarning, match="cuBLAS can't be used, .* cublas is not found"):
        y = x @ x
    assert (y @ x).tolist() == [[4.0, 4.0]] * 2


# ---------------------------------------------------------------- whether it is used
def test_whether_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cublas.binding() is None
    assert cublas.text() == "not used (not in the simulator)"
    monkeypatch.setattr(target, "SIMULATED", False)
    monkeypatch.setattr(cublas, "_found", [])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'jitgrad[cublas]'" in cublas.text()
    assert cublas.binding() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("JITGRAD_CUBLAS", "0")
    assert cublas.text() == "not used (JITGRAD_CUBLAS=0)"
    monkeypatch.setattr(cublas, "_found", [])
    assert cublas.binding() is None
    monkeypatch.setenv("JITGRAD_CUBLAS", "1")
    monkeypatch.setattr(cublas, "_found", [])

    def missing(name: str) -> Any:
        assert name == "nvmath.bindings.cublas"
        raise ImportError("no libcublas")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.warns(RuntimeWarning, match="cuBLAS can't be used, .* ImportError: no libcublas"):
        assert cublas.binding() is None
    assert cublas.binding() is None


def test_signatures_of_the_stand_in() -> None:
    """Those of nvmath-python 1.0, where it is installed compared with it."""
    arguments = [
        "transa",
        "transb",
        "m",
        "n",
        "k",
        "alpha",
        "a",
        "lda",
        "b",
        "ldb",
        "beta",
        "c",
        "ldc",
    ]
    expected = {"create": [], "set_stream": ["handle", "stream_id"]}
    expected |= dict.fromkeys(("set_pointer_mode", "set_math_mode"), ["handle", "mode"])
    expected |= dict.fromkeys(("sgemm_64", "dgemm_64"), ["handle", *arguments])
    batched = ["handle", *arguments[:8], "stride_a", "b", "ldb", "stride_b", *arguments[10:]]
    batched += ["stride_c", "batch_count"]
    expected |= dict.fromkeys(("sgemm_strided_batched_64", "dgemm_strided_batched_64"), batched)
    modules: list[Any] = [Blas()]
    if importlib.util.find_spec("nvmath") is not None:
        modules.append(importlib.import_module("nvmath.bindings.cublas"))
    for module in modules:
        for name, parameters in expected.items():
            assert list(inspect.signature(getattr(module, name)).parameters) == parameters
        assert (module.PointerMode.HOST, module.Math.DEFAULT_MATH) == (0, 0)
        assert module.Math.TF32_TENSOR_OP_MATH == 3
        assert module.Status(3).name == "ALLOC_FAILED"
