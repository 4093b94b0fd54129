"""``torch.backends``: what scripts ask about and switch; nothing here has an effect."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def _backend(there: bool, **switches: Any) -> SimpleNamespace:
    return SimpleNamespace(is_available=lambda: there, **switches)


cudnn = _backend(
    False, enabled=True, benchmark=False, deterministic=False, allow_tf32=True, version=lambda: None
)
mps = _backend(False, is_built=lambda: False)
mkl = _backend(False)
mkldnn = _backend(False, enabled=False)
openmp = _backend(True)
cuda = SimpleNamespace(
    is_built=lambda: False, matmul=SimpleNamespace(allow_tf32=False, fp32_precision="ieee")
)
