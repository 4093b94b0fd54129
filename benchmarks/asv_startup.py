"""asv: fresh processes, the compiled code in the cache."""

from __future__ import annotations

from .startup import FIRST_GRADIENT


class Start:
    """What a new process costs (`timeraw`: asv runs the returned source in one)."""

    number = 1
    repeat = 5

    def timeraw_import(self) -> str:
        """Time the import."""
        return "import jitgrad"

    def timeraw_first_gradient(self) -> str:
        """Time the import and the first gradient of a small perceptron."""
        return "import jitgrad as T\n" + FIRST_GRADIENT

    def timeraw_control(self) -> str:
        """Time importing NumPy, the control."""
        return "import numpy"
