"""The kernels of the GPU, in numba's simulator: in processes of their own, which it takes over."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def interpreter() -> str:
    """A Python that has numba-cuda: this one, or the one that JITGRAD_CUDA_PYTHON names."""
    found = os.environ.get("JITGRAD_CUDA_PYTHON")
    if found:
        return found
    if importlib.util.find_spec("numba_cuda") is None:
        if os.environ.get("CI"):
            pytest.fail("numba-cuda must be installed in CI")
        pytest.skip("numba-cuda is not installed: pip install 'jitgrad[cuda]'")
    return sys.executable


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("simulated*.py")))
def test_simulated(name: str) -> None:
    python = interpreter()
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [python, "-m", "pytest", "-q", str(HERE / f"{name}.py"), "-p", "no:cacheprovider"],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
