"""``torch.backends``: what scripts ask about and switch.

Only ``cuda.matmul`` has an effect: whether cuBLAS may multiply float32 in TF32, with 10 bits of each factor.
"""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

from jitgrad import settings


def _backend(there: bool, **switches: Any) -> SimpleNamespace:
    return SimpleNamespace(is_available=lambda: there, **switches)


cudnn = _backend(
    False, enabled=True, benchmark=False, deterministic=False, allow_tf32=True, version=lambda: None
)
mps = _backend(False, is_built=lambda: False)
mkl = _backend(False)
mkldnn = _backend(False, enabled=False)
openmp = _backend(True)


class _Matmul:
    """``cuda.matmul``: other names for `jitgrad.set_float32_matmul_precision`."""

    @property
    def allow_tf32(self) -> bool:
        """Whether cuBLAS may multiply float32 in TF32."""
        return settings.get_float32_matmul_precision() != "highest"

    @allow_tf32.setter
    def allow_tf32(self, on: bool) -> None:
        settings.set_float32_matmul_precision("high" if on else "highest")

    @property
    def fp32_precision(self) -> str:
        """``"tf32"`` or ``"ieee"``."""
        return "tf32" if self.allow_tf32 else "ieee"

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        if precision not in ("ieee", "tf32", "none"):
            raise RuntimeError(f"Unknown precision: {precision}")
        self.allow_tf32 = precision == "tf32"


cuda = SimpleNamespace(
    is_built=lambda: importlib.util.find_spec("numba_cuda") is not None, matmul=_Matmul()
)
