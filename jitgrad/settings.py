"""Switches of PyTorch's that choose between algorithms; most of these only remember, since there is one."""

from __future__ import annotations

import warnings
from typing import Any

_state: dict[str, Any] = {
    "deterministic": False,
    "warn_only": False,
    "precision": "highest",
    "interop": 1,
    "warn_always": False,
}


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Remember it: every result is the same for the same number of threads anyway."""
    _state["deterministic"], _state["warn_only"] = bool(mode), bool(mode) and bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return bool(_state["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return bool(_state["warn_only"])


def set_float32_matmul_precision(precision: str) -> None:
    """How exactly products of float32 are computed: "highest", "high" or "medium".

    Only cuBLAS asks (`jitgrad.cuda`): below "highest" it may multiply in TF32, with 10 bits of each factor.
    """
    if precision not in ("highest", "high", "medium"):
        warnings.warn(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current setFloat32MatmulPrecision"
            " call has no effect.",
            UserWarning,
            stacklevel=2,
        )
        return
    _state["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told."""
    return str(_state["precision"])


def set_num_interop_threads(number: int) -> None:
    """Remember it: ops run one after the other."""
    if number <= 0:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _state["interop"] = number


def get_num_interop_threads() -> int:
    """What `set_num_interop_threads` was told, or 1."""
    return int(_state["interop"])


def set_warn_always(mode: bool) -> None:
    """Remember it: Python's filters say how often a warning is shown."""
    _state["warn_always"] = bool(mode)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was told."""
    return bool(_state["warn_always"])


def set_flush_denormal(mode: bool) -> bool:
    """False: the processor is left to compute with denormal numbers."""
    return False
