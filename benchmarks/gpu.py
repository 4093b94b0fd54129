"""Measure the kernels on a GPU: ``python -m benchmarks.gpu``.  Has not run on one yet.

Checks the value and the gradient of every op that `jitgrad bench` knows against the CPU's, then prints the
times of some, and how many bytes a second they move (or multiplications they do) beside the device's peak,
and beside PyTorch and CuPy where they are installed.  Ends with 1 if an op gives other numbers.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

import jitgrad
from jitgrad.bench import operations
from jitgrad.bench.case import CannotDo
from jitgrad.bench.device import OnDevice
from jitgrad.bench.measuring import compare, error_text
from jitgrad.cuda import cublas, memory

#: Name, function of (namespace, tensors), operands of n elements, bytes an element moved (float32).
CASES: tuple[tuple[str, Callable[..., Any], int, int], ...] = (
    ("x * z", lambda t, x, z: x * z, 2, 12),
    ("exp", lambda t, x: t.exp(x), 1, 8),
    ("tanh", lambda t, x: t.tanh(x), 1, 8),
    ("relu", lambda t, x: t.relu(x), 1, 8),
    ("sum", lambda t, x: x.sum(), 1, 4),
    ("sum of rows", lambda t, x: x.reshape(-1, 1024).sum(1), 1, 4),
    ("sum of columns", lambda t, x: x.reshape(1024, -1).sum(0), 1, 4),
    ("softmax", lambda t, x: t.softmax(x.reshape(-1, 1024), 1), 1, 8),
)


def seconds(work: Callable[[], Any], synchronize: Callable[[], Any], rounds: int) -> float:
    """The shortest time of a call, launch and all."""
    work()
    synchronize()
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(10):
            work()
        synchronize()
        best = min(best, (time.perf_counter() - begin) / 10)
    return best


def check(function: Callable[..., Any], arrays: list[Any]) -> None:
    """Fail unless value and gradients are the CPU's."""
    found = []
    for device in ("cuda", "cpu"):
        xs = [jitgrad.tensor(a[:4096], device=device, requires_grad=True) for a in arrays]
        y = function(jitgrad, *xs)
        y.sum().backward()
        found.append([y.detach().cpu().numpy(), *(x.grad.cpu().numpy() for x in xs)])
    for mine, cpu in zip(*found, strict=True):
        np.testing.assert_allclose(mine, cpu, rtol=1e-4, atol=1e-5)


def check_ops(names: Iterable[str], elements: int) -> list[str]:
    """The ops whose values or gradients are not the CPU's; prints them and those without a kernel."""
    wrong, missing = [], []
    gpu = OnDevice(jitgrad, "cuda")
    for name in names:
        for dtype in ("float32", "float64"):
            try:
                case = operations.case(name, "both", elements, dtype, "contiguous")
                try:
                    found, expected = case.setup(gpu), case.setup(jitgrad)
                except CannotDo:
                    # There is no gradient.
                    case = operations.case(name, "forward", elements, dtype, "contiguous")
                    found, expected = case.setup(gpu), case.setup(jitgrad)
                found.run()
                expected.run()
                compare(case, found, expected)
            except NotImplementedError:
                missing.append(name)
            except Exception as error:
                wrong.append(f"{name} {dtype}: {error_text(error)}")
    print("no kernel:", ", ".join(dict.fromkeys(missing)) or "none lacks one")
    print(f"{len(wrong)} wrong", *wrong, sep="\n")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and measure; how many ops are wrong."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--elements", type=int, default=1 << 26)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peak", type=float, default=0.0, help="the device's GB/s, in place of what it says itself"
    )
    parser.add_argument("--sizes", default="1024,4096", help="rows of the matrices, with commas")
    parser.add_argument("--ops", help="check only these, with commas, and measure nothing")
    parser.add_argument("--no-check", action="store_true", help="measure only")
    chosen = parser.parse_args(arguments)
    chosen.peak = chosen.peak or memory.device().peak_bandwidth() / 1e9
    print(f"{jitgrad.cuda.get_device_name()}, {chosen.peak:.0f} GB/s; cuBLAS: {cublas.text()}")
    if chosen.ops:
        return len(check_ops(chosen.ops.split(","), chosen.elements))
    wrong = [] if chosen.no_check else check_ops(operations.OPERATIONS, 1 << 14)
    rng = np.random.default_rng(0)
    for name, function, operands, moved in CASES:
        arrays = [rng.uniform(-1, 1, chosen.elements).astype(np.float32) for _ in range(operands)]
        check(function, arrays)
        mine = [jitgrad.tensor(a, device="cuda") for a in arrays]
        took = seconds(
            lambda f=function, m=mine: f(jitgrad, *m), jitgrad.cuda.synchronize, chosen.rounds
        )
        speed = moved * chosen.elements / took / 1e9
        share = f"  {speed / chosen.peak:.0%} of the peak" if chosen.peak else ""
        print(
            f"{name:16} {took * 1e6:9.1f} us  {speed:7.1f} GB/s{share}{peers(function, arrays, chosen)}"
        )
    for size in map(int, chosen.sizes.split(",")):
        for dtype in ("float32", "float64"):
            measure_product(size, dtype, chosen)
    return len(wrong)


def measure_product(size: int, dtype: str, chosen: Any) -> None:
    """A product of two matrices: by cuBLAS where it is, by jitgrad's kernel, by the others."""
    data = np.random.default_rng(0).normal(size=(size, size)).astype(dtype)
    a = jitgrad.tensor(data, device="cuda")
    ways: dict[str, AbstractContextManager[None]] = {"tiled": cublas.off()}
    if cublas.binding() is not None:
        ways["cuBLAS"] = nullcontext()
    for name, way in ways.items():
        with way:
            np.testing.assert_allclose(
                (a @ a).cpu().numpy(), data @ data, rtol=1e-4, atol=1e-4 * size
            )
            took = seconds(lambda: a @ a, jitgrad.cuda.synchronize, chosen.rounds)
        speed = 2 * size**3 / took / 1e9
        print(f"{size} x {size} {dtype} {name:7} {took * 1e6:9.1f} us  {speed:7.1f} GFLOP/s")
    said = peers(lambda t, x: x @ x, [data], chosen)
    if said:
        print(f"{size} x {size} {dtype}{said}")


def peers(function: Callable[..., Any], arrays: list[Any], chosen: Any) -> str:
    """The times of PyTorch and CuPy, where they are."""
    said = ""
    try:
        torch = importlib.import_module("torch")
        if torch.cuda.is_available():
            xs = [torch.tensor(a, device="cuda") for a in arrays]
            took = seconds(lambda: function(torch, *xs), torch.cuda.synchronize, chosen.rounds)
            said += f"  torch {took * 1e6:.1f} us"
    except ImportError:
        pass
    try:
        cupy = importlib.import_module("cupy")
        xs = [cupy.asarray(a) for a in arrays]
        wait = cupy.cuda.Device().synchronize
        took = seconds(lambda: function(cupy, *xs), wait, chosen.rounds)
        said += f"  cupy {took * 1e6:.1f} us"
    except (ImportError, AttributeError):
        # CuPy has no relu or softmax.
        pass
    return said


if __name__ == "__main__":
    sys.exit(bool(main()))
