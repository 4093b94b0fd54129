"""asv: the control, in plain NumPy. If this one changes, the machine did, not jitgrad."""

from __future__ import annotations

import numpy as np

from jitgrad.bench.case import random
from jitgrad.bench.cases import CASES


class Control:
    """Work that no change of jitgrad can make slower or faster."""

    def setup(self) -> None:
        """Prepare the perceptron step by hand, and an array that fits in the cache."""
        self.step = CASES["B1"].ways["numpy"](np).run
        self.x = random(2**14)
        self.y = np.empty_like(self.x)

    def time_perceptron_by_hand(self) -> None:
        """Time the small perceptron's step in NumPy."""
        self.step()

    def time_exp(self) -> None:
        """Time one NumPy function on 16,384 elements."""
        np.exp(self.x, out=self.y)

    def time_python(self) -> None:
        """Time the interpreter alone."""
        total = 0
        for i in range(1000):
            total += i
