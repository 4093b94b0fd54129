"""What is useful around a model: data, checkpointing."""

from __future__ import annotations

from jitgrad.utils import data

__all__ = ["data"]
