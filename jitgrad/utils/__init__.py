"""What is useful around a model: data, checkpointing."""

from __future__ import annotations

import importlib

from jitgrad.utils import data, hooks

__all__ = ["checkpoint", "data", "hooks"]


def __getattr__(name: str) -> object:
    """Import `jitgrad.utils.checkpoint` when it is first asked for."""
    if name == "checkpoint":
        return importlib.import_module("jitgrad.utils.checkpoint")
    raise AttributeError(f"module 'jitgrad.utils' has no attribute {name!r}")
