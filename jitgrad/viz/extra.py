"""The packages of the extra ``viz``: brought in when something is drawn."""

from __future__ import annotations

import importlib
from typing import Any


def needed(name: str) -> Any:
    """Import a package of the extra; an ImportError says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f'drawing a graph needs {package}: pip install "jitgrad[viz]" ({error})', name=package
        ) from error
