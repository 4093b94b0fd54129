"""What all tests share: optional packages, seeds, hypothesis' settings."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

Required = Callable[[str], ModuleType]

# A kernel compiles when it is first used, so the first example of a test may take seconds. In CI
# the examples are the same in every run.
settings.register_profile(
    "jitgrad",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("jitgrad")


_WHOLE_CORE = """
import jitgrad
from jitgrad.arena import engine, parts
for number in range(len(parts.PARTS)):
    engine.load_part(number)
"""


def pytest_configure(config: pytest.Config) -> None:
    """Compile the core once, in two processes, before workers start; a worker compiles in one.

    Workers share the processors already: companions beside them would compile gradients that no test
    asks for, and start Numba anew after each pause.  What a test starts inherits this.
    """
    if hasattr(config, "workerinput"):
        os.environ.setdefault("JITGRAD_COMPILER", "alone")
    elif config.getoption("numprocesses", None):
        # Should it fail, so do the tests, and say more.
        subprocess.run([sys.executable, "-c", _WHOLE_CORE], stderr=subprocess.DEVNULL)


def _longest(item: pytest.Item) -> float:
    """The seconds that a test is given, if it needs more than the others."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that run a process of tests first: at the end one worker would be left with them."""
    items.sort(key=_longest, reverse=True)


def _required(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        if os.environ.get("CI"):
            pytest.fail(f"{name} must be installed in CI")
        pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def required() -> Required:
    """Give a function that imports an optional package: missing, it fails CI and skips here."""
    return _required


@pytest.fixture(scope="session")
def torch(required: Required) -> ModuleType:
    """Give PyTorch, the reference, on one thread."""
    module = required("torch")
    module.set_num_threads(1)
    return module


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Begin every test with the same random numbers and one thread: the tests run side by side."""
    import jitgrad

    jitgrad.manual_seed(0)
    jitgrad.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    """Give NumPy random numbers, always alike."""
    return np.random.default_rng(0)
