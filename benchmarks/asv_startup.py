"""asv: fresh processes, with the compiled code in the cache and with an empty cache."""

from __future__ import annotations

import subprocess
import sys

from .startup import FIRST_GRADIENT

IMPORT = "import jitgrad as T\n"
#: Runs before the clock: the cache is a folder of its own that the process deletes at its end.
EMPTY = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["JITGRAD_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"] = folder.name
"""


class Warm:
    """What a new process costs (`timeraw`: asv runs the returned source in one)."""

    number = 1
    repeat = 5

    def setup(self) -> None:
        """Fill the cache."""
        subprocess.run([sys.executable, "-c", IMPORT + FIRST_GRADIENT], check=True)

    def timeraw_import(self) -> str:
        """Time the import."""
        return IMPORT

    def timeraw_first_gradient(self) -> str:
        """Time the import and the first gradient of a small perceptron."""
        return IMPORT + FIRST_GRADIENT

    def timeraw_control(self) -> str:
        """Time importing NumPy, the control."""
        return "import numpy"


class Cold:
    """The same where nothing has been compiled before."""

    number = 1
    repeat = 1
    timeout = 300

    def timeraw_import(self) -> tuple[str, str]:
        """Time the import."""
        return IMPORT, EMPTY

    def timeraw_first_gradient(self) -> tuple[str, str]:
        """Time the import and the first gradient of a small perceptron."""
        return IMPORT + FIRST_GRADIENT, EMPTY
