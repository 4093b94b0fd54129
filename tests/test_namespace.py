"""Functions and attributes that are one-liners or compositions: the same as PyTorch's, to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.ops.both import outcome

VALUES = [
    # what tensors say of themselves
    "[x.is_cpu, x.is_sparse, x.is_quantized, x.is_meta, x.is_mps, x.is_shared(), x.is_pinned()]",
    "[x.layout == T.strided, x.is_same_size(x.t()), x.is_set_to(x), x.is_set_to(x[:1])]",
    "[T.is_floating_point(x), T.is_complex(x), T.is_signed(x), T.is_nonzero(T.tensor([2.0]))]",
    "T.is_nonzero(x)",
    "[x.real, x.conj(), x.mH, x.adjoint(), T.real(x), T.adjoint(x)]",
    "[T.typename(x), T.typename(3), T.typename(T.nn.Parameter(x))]",
    "[x.dim_order(), x.t().dim_order()]",
    "x.H",
    "y.H",
    # memory formats
    "list(T.ones(2, 3, 4, 5).contiguous(memory_format=T.channels_last).stride())",
    "[x.clone(memory_format=T.preserve_format), x.is_contiguous(memory_format=T.contiguous_format)]",
    "T.zeros_like(x, memory_format=T.preserve_format)",
    "y.contiguous(memory_format=T.channels_last)",
    # older names
    "T.FloatTensor([1, 2])",
    "T.LongTensor([1, 2])",
    "list(T.DoubleTensor(2, 3).shape)",
    "[isinstance(x, T.FloatTensor), isinstance(x, T.DoubleTensor)]",
    "x.type('torch.DoubleTensor')",
    "x.type(T.IntTensor)",
    "x.type('torch.foo')",
    "T.Tensor(2.5)",
    "T.autograd.Variable(x, requires_grad=True).requires_grad",
    # pieces and shapes
    "T.broadcast_tensors(x, T.ones(1, 3))",
    "T.broadcast_tensors(x, T.ones(2))",
    "T.split_with_sizes(x, [1, 2], 1)",
    "x.split_with_sizes([1, 2], 1)",
    "x.swapdims(0, 1)",
    "T.swapdims(x, 0, 1)",
    "T.narrow_copy(x, 1, 0, 2)",
    "T.unravel_index(T.tensor([3, 5]), (2, 3))",
    "T.unravel_index(T.tensor(5), (2, 3))",
    "T.scalar_tensor(3)",
    "T.range(1, 3)",
    "T.fill(x, 3)",
    "T.detach(g)",
    "T.frombuffer(bytearray(range(8)), dtype=T.int32)",
    "T.frombuffer(bytearray(range(8)), dtype=T.int32, offset=4)",
    "T.frombuffer(bytearray(3), dtype=T.float32)",
    "T.frombuffer(bytearray(0), dtype=T.float32)",
    "x.new(2, 2).shape == (2, 2)",
    "T.tensor(x)",
    "T.tensor(np.arange(3)[::-1])",
    "T.as_tensor(np.arange(3)[::-1])",
    # element by element in Python
    "x.apply_(lambda v: v * 3)",
    "x.map_(x + 1, lambda a, b: a * b)",
    "g.apply_(lambda v: v)",
    # in place as functions
    "T.exp_(T.zeros(2))",
    "T.relu_(T.tensor([-1.0, 1.0]))",
    "T.zero_(x)",
    "T.fill_(x, 3)",
    # samples
    "T.cov(g)",
    "T.cov(g, correction=0)",
    "T.cov(g, fweights=T.tensor([1, 2, 3]), aweights=T.tensor([0.5, 1.0, 2.0]))",
    "T.cov(T.ones(2, 2, 2))",
    "T.cov(T.tensor([1.0, 2.0, 4.0]))",
    "T.corrcoef(g)",
    "T.trapezoid(g)",
    "T.trapz(g, dx=2)",
    "T.trapezoid(g, T.tensor([0.0, 1.0, 3.0]))",
    "T.trapezoid(g, dim=0)",
    "T.cumulative_trapezoid(g, T.tensor([0.0, 1.0, 3.0]))",
    "T.gradient(T.arange(12.0).view(3, 4) ** 2)",
    "T.gradient(T.arange(12.0).view(3, 4) ** 2, spacing=2.0, dim=1, edge_order=2)",
    "T.gradient(T.tensor([1.0, 2.0, 4.0, 8.0]), spacing=(T.tensor([0.0, 1.0, 3.0, 4.0]),))",
    "T.gradient(T.tensor([1.0, 2.0, 4.0, 8.0]), spacing=(T.tensor([0.0, 1.0, 3.0, 4.0]),), edge_order=2)",
    "T.gradient(x, edge_order=2)",
    "T.vander(T.tensor([1.0, 2.0, 3.0]))",
    "T.hann_window(5)",
    "T.hann_window(5, periodic=False)",
    "T.hann_window(1)",
    "T.hann_window(0)",
    "T.hamming_window(4, True, 0.5)",
    "T.blackman_window(6, dtype=T.float64)",
    "T.bartlett_window(5)",
    "T.kaiser_window(5, True, 3.0)",
    # special functions
    *(
        f"T.special.{name}(g)"
        for name in "i0 i0e i1 i1e ndtr log_ndtr erfcx expit sinc expm1".split()
    ),
    *(f"T.special.{name}(g.abs() / 5)" for name in "ndtri entr gammaln psi log1p".split()),
    "T.i0(T.tensor([0.0, 1.0], requires_grad=True))",
    "T.special.i1e(T.tensor([0.0, 1.0], requires_grad=True))",
    "T.special.xlog1py(g, h.abs())",
    "T.special.zeta(T.tensor([2.0, 3.0]), T.tensor([1.0, 2.0]))",
    "T.special.multigammaln(g.abs() + 2, 2)",
    "T.igamma(T.tensor([1.0, 2.0]), T.tensor([0.5, 3.0], requires_grad=True))",
    "T.igammac(T.tensor([1.0, 2.0]), T.tensor([0.5, 3.0], requires_grad=True))",
    "x.polygamma(1)",
    "T.nextafter(x, x + 1) - x",
    "T.frexp(x)",
    "T.frexp(g)[0]",
    "T.angle(x - 2)",
    # linear algebra
    "T.linalg.matrix_exp(g.T @ h / 4)",
    "T.logdet(g @ g.T)",
    "T.logdet(T.tensor([[0.0, 1.0], [1.0, 0.0]]))",
    "T.linalg.cond(g @ g.T)",
    "T.linalg.cond((g @ g.T).detach(), 1)",
    "T.linalg.solve_triangular(g @ h.T, g, upper=True)",
    "T.linalg.solve_triangular(g @ h.T, g, upper=False, unitriangular=True)",
    "T.triangular_solve(x, T.tensor([[2.0, 1.0], [0.0, 3.0]])).solution",
    "T.cholesky_solve(x, T.tensor([[2.0, 0.0], [1.0, 3.0]]))",
    "T.cholesky_inverse(T.tensor([[2.0, 0.0], [1.0, 3.0]]))",
    "T.linalg.inv_ex(T.zeros(2, 2)).info",
    "T.linalg.inv_ex(T.eye(2) * 2)",
    "T.linalg.cholesky_ex(-T.eye(2)).info",
    "T.linalg.solve_ex(T.eye(2) * 2, x).result",
    "T.linalg.vecdot(g, h)",
    "T.linalg.vander(T.tensor([1.0, 2.0, 3.0]), N=4)",
    "T.linalg.diagonal(g)",
    "T.linalg.tensorinv(T.eye(4).view(2, 2, 4), 2)",
    "T.linalg.tensorsolve((T.eye(6) * 2).view(2, 3, 6), x)",
    "T.svd(x).S",
    "x.svd().S",
    "x.qr().R.abs()",
    "T.unsafe_chunk(x, 2, 1)",
    "x.unsafe_split(1, 1)",
    # switches
    "[T.set_float32_matmul_precision('high'), T.get_float32_matmul_precision()]",
    "T.set_float32_matmul_precision('low')",
    "[T.use_deterministic_algorithms(True), T.are_deterministic_algorithms_enabled(),"
    " T.use_deterministic_algorithms(False)]",
    "[T.backends.cudnn.deterministic, T.backends.mps.is_available(), T.newaxis]",
    "T.vmap(lambda a: a * 2)(x)",
    "T.get_default_device().type",
    "list(T.poisson(T.zeros(3)))",
    "T.poisson(T.tensor([-1.0]))",
    "T.cosine_similarity(g, h)",
]


def _close(mine: Any, theirs: Any) -> None:
    if isinstance(theirs, list):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            _close(a, b)
    elif isinstance(theirs, float):
        assert mine == pytest.approx(theirs, rel=2e-5, abs=2e-6, nan_ok=True)
    else:
        assert mine == theirs


@pytest.mark.parametrize("source", VALUES)
def test_same_as_pytorch(source: str, torch: Any) -> None:
    mine, theirs = outcome(jitgrad, source), outcome(torch, source)
    assert mine.get("error") == theirs.get("error"), mine.get("message", mine)
    _close(mine.get("value"), theirs.get("value"))
    _close(mine["gradients"], theirs["gradients"])


def test_warnings_of_older_ways() -> None:
    with pytest.warns(UserWarning, match="copy construct from a tensor"):
        jitgrad.tensor(jitgrad.ones(1))
    with pytest.warns(UserWarning, match=r"x\.mT"):
        _ = jitgrad.ones(2, 3, 4).T
    with pytest.warns(UserWarning, match=r"torch\.range is deprecated"):
        jitgrad.range(1, 2)


def test_numpy_functions_of_tensors_give_tensors() -> None:
    found = np.sin(jitgrad.tensor([1.0, 2.0]))
    assert isinstance(found, jitgrad.Tensor)


def test_memory_of_a_buffer_is_shared() -> None:
    memory = bytearray(4)
    x = jitgrad.frombuffer(memory, dtype=jitgrad.uint8)
    memory[1] = 7
    assert x.tolist() == [0, 7, 0, 0]


def test_default_tensor_type() -> None:
    jitgrad.set_default_tensor_type("torch.DoubleTensor")
    try:
        assert jitgrad.tensor([1.0]).dtype is jitgrad.float64
    finally:
        jitgrad.set_default_tensor_type(jitgrad.FloatTensor)
    assert jitgrad.tensor([1.0]).dtype is jitgrad.float32


def test_matrix_exp_twice_differentiable() -> None:
    x = jitgrad.randn(3, 3, dtype=jitgrad.float64, requires_grad=True)
    assert jitgrad.autograd.gradcheck(jitgrad.matrix_exp, (x,))
    assert jitgrad.autograd.gradgradcheck(jitgrad.matrix_exp, (x,))
