"""``torch.testing``: `assert_close`."""

from __future__ import annotations

from jitgrad.testing.closeness import assert_close

__all__ = ["assert_close"]
