"""The libraries that are measured beside jitgrad, and what each can do with a case."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from jitgrad.bench.case import CannotDo, Case, Prepared

OURS = "jitgrad"


class NotInstalled(Exception):
    """A peer that was asked for is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Peer:
    """A library: what is imported, how it is installed, how a case is set up in it."""

    name: str
    module: str
    install: str
    prepare: Callable[[Case, Any], Prepared]


def _eager(case: Case, module: Any) -> Prepared:
    return case.setup(module)


def _numpy(case: Case, module: Any) -> Prepared:
    if case.by_hand is not None:
        return case.by_hand()
    if case.program is None:
        raise CannotDo("not written by hand in NumPy")
    return case.program.numpy(module)


def _autograd(case: Case, module: Any) -> Prepared:
    if case.program is None:
        raise CannotDo("written with tensors; autograd differentiates functions of arrays")
    return case.program.autograd(module)


def _jax(case: Case, module: Any) -> Prepared:
    if case.program is None:
        raise CannotDo("written with tensors; JAX differentiates functions of arrays")
    return case.program.jax(module)


PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, "jitgrad", "pip install jitgrad", _eager),
        Peer("torch", "torch", "pip install torch", _eager),
        Peer("jax", "jax", "pip install jax", _jax),
        Peer("autograd", "autograd", "pip install autograd", _autograd),
        Peer("numpy", "numpy", "pip install numpy", _numpy),
    )
}


def load(name: str, threads: int) -> Any:
    """Import a library and set its threads.

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
    return module


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
