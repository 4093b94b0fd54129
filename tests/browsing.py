"""A headless Chromium for the tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium(playwright: Any) -> Iterator[Any]:
    """Start the machine's browser; a machine without one skips the test, but fails it in CI."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        why = f"no browser on this machine (looked for {', '.join(BROWSERS)})"
        if os.environ.get("CI"):
            pytest.fail(f"{why}: CI must install chromium")
        pytest.skip(why)
    # Chromium's sandbox does not start as root.
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=path, args=["--no-sandbox"] * root)
        yield found
        found.close()
