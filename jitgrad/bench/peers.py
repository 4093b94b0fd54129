"""The libraries that are measured beside jitgrad, and what each can do with a case."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from jitgrad.bench.case import CannotDo, Case, Prepared
from jitgrad.bench.device import OnDevice
from jitgrad.bench.programs import Program

OURS = "jitgrad"
Setup = Callable[[Case, Any], Prepared]


class NotInstalled(Exception):
    """A peer that was asked for is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Peer:
    """A library: what is imported, how it is installed, how a case is set up in it."""

    name: str
    module: str
    install: str
    prepare: Setup


def _eager(case: Case, module: Any) -> Prepared:
    work = case.setup(module)
    return module.launched(work) if isinstance(module, OnDevice) else work


def _compiled(case: Case, module: Any) -> Prepared:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise CannotDo("torch.compile needs a C++ compiler, and there is no g++ here")
    namespace = Compiling(module)
    work = case.setup(namespace)
    if not namespace.compiled_something:
        raise CannotDo("there is no function in it to be compiled")
    return work


class Compiling:
    """The module torch, whose cases compile their function or model (`case.compiled`)."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self.compiled_something = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def compiled_case(self, make: Callable[[Any], Any]) -> Any:
        """Compile what is made of the real torch."""
        self.compiled_something = True
        made = make(self._torch)
        self._torch._dynamo.reset()  # each case is compiled as if it were the first one
        return self._torch.compile(made, dynamic=False)


def _of_arrays(name: str, why: str, prepare: Callable[[Program, Any], Prepared]) -> Setup:
    """How a library is set up that works on arrays: the case's own way, or its function of arrays."""

    def setup(case: Case, module: Any) -> Prepared:
        if name in case.ways:
            return case.ways[name](module)
        if case.program is None:
            raise CannotDo(why)
        return prepare(case.program, module)

    return setup


_TENSORS = "written with tensors or modules; this library differentiates functions of arrays"
PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, "jitgrad", "pip install jitgrad", _eager),
        Peer("torch", "torch", "pip install torch", _eager),
        Peer("torch.compile", "torch", "pip install torch", _compiled),
        Peer("jax", "jax", "pip install jax", _of_arrays("jax", _TENSORS, Program.jax)),
        Peer(
            "autograd",
            "autograd",
            "pip install autograd",
            _of_arrays("autograd", _TENSORS, Program.autograd),
        ),
        Peer(
            "numpy",
            "numpy",
            "pip install numpy",
            _of_arrays("numpy", "not written by hand in NumPy", Program.numpy),
        ),
    )
}


#: The libraries whose cases can be put on another device.
WITH_DEVICES = (OURS, "torch")


def load(name: str, threads: int, device: str = "cpu") -> Any:
    """Import a library and set its threads; its tensors are on a device (of `WITH_DEVICES`).

    Raises
    ------
    NotInstalled
        If it is not there.
    """
    peer = PEERS[name]
    if name == "jax":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        if threads == 1:  # JAX reads this once, when it is imported
            flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    try:
        module = importlib.import_module(peer.module)
        if name == "autograd":
            importlib.import_module("autograd.numpy")
    except ModuleNotFoundError as error:
        if error.name != peer.module:
            raise
        raise NotInstalled(f"{name} is not installed: {peer.install}") from None
    if name == "jax":
        module.config.update("jax_enable_x64", True)
    if hasattr(module, "set_num_threads"):
        module.set_num_threads(threads)
    return module if device == "cpu" else OnDevice(module, device)


def version(module: Any) -> str:
    """The version of a library."""
    found = getattr(module, "__version__", None)
    if found is None:
        from importlib import metadata

        try:
            found = metadata.version(module.__name__)
        except metadata.PackageNotFoundError:
            found = "?"
    return str(found)


def limit_blas(threads: int) -> AbstractContextManager[object]:
    """Limit the threads of NumPy's BLAS, if threadpoolctl is there."""
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(threads, user_api="blas")
    return limits
