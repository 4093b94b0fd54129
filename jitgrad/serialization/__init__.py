"""Saving and loading: tensors and what holds them, in files that run no code when they are read."""

from __future__ import annotations

from jitgrad.serialization.files import load, save

__all__ = ["load", "save"]
