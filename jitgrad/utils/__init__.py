"""What is useful around a model: data, checkpointing."""

from __future__ import annotations

from jitgrad.utils import data, hooks

__all__ = ["data", "hooks"]
