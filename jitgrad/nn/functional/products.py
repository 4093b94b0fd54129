"""Linear maps as functions."""

from __future__ import annotations

from jitgrad.ops.products import linear

__all__ = ["linear"]
