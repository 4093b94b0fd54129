"""Neural networks: the functions; modules come with the nn release."""

from __future__ import annotations

from jitgrad.nn import functional

__all__ = ["functional"]
