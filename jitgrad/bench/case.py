"""What a benchmark case is: work that can be set up in a library, and what it amounts to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jitgrad.bench.programs import Program

Namespace = Any  # the module torch, or one that looks like it
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class CannotDo(Exception):
    """A library cannot do a case; the message says why."""


class Prepared(NamedTuple):
    """Work that is ready to be timed."""

    run: Callable[[], object]
    results: Callable[[], list[NDArray[Any]]]  # values left by the last run, gradients mostly


@dataclass(frozen=True)
class Goal:
    """A bound on the time, as a multiple of another time of the same work.

    Parameters
    ----------
    limit
        The greatest ratio that meets the goal.
    of
        "torch", "numpy", or the name of another case, which is then compared per node.
    """

    limit: float
    of: str = "torch"


@dataclass(frozen=True)
class Case:
    """One thing that is measured.

    Attributes
    ----------
    setup
        Makes the case's tensors in a namespace like torch's and returns the work.
    program
        The same as a function of arrays, for libraries that differentiate those.
    ways
        The same in libraries by name, where it takes more than a function of arrays.
    nodes
        Graph nodes in the work, where the time per node is what counts.
    atol, rtol
        What two libraries may differ by; ``atol`` is of the greatest magnitude in a result.
    nbytes, flops
        The least memory traffic, in bytes, and the arithmetic of one run; None if nothing can be said.
    size, line
        The number of elements, and the name of the cases that differ from this one in size only.
    dtype
        Of the arithmetic: BLAS has a peak for each.
    """

    name: str
    what: str
    setup: Callable[[Namespace], Prepared]
    program: Program | None = None
    ways: Mapping[str, Callable[[Any], Prepared]] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()
    nodes: int | None = None
    atol: float = 1e-6
    rtol: float = 1e-4
    nbytes: float | None = None
    flops: float | None = None
    size: int | None = None
    line: str = ""
    dtype: str = "float32"


def compiled(T: Namespace, make: Callable[[Namespace], Any]) -> Any:
    """What `make` makes of the namespace; compiled, if that is what is measured (`peers.Compiling`)."""
    wrap = getattr(T, "compiled_case", None)
    return make(T) if wrap is None else wrap(make)


def gradients(*leaves: Any) -> list[NDArray[Any]]:
    """Copy the gradients of tensors to NumPy."""
    return [leaf.grad.detach().numpy(force=True).copy() for leaf in leaves]


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Floats:
    """Draw normal float32 numbers, always alike."""
    values = np.random.default_rng(seed).normal(0.0, scale, shape)
    return np.asarray(values, dtype=np.float32)
