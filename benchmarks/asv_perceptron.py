"""asv: one training step of a perceptron."""

from __future__ import annotations

import jitgrad
from jitgrad.bench.cases import CASES


class Step:
    """Forward, cross-entropy, backward and the momentum update."""

    params = (["B1", "B2"],)
    param_names = ("case",)

    def setup(self, case: str) -> None:
        """Prepare the step and compile what it needs."""
        jitgrad.set_num_threads(1)
        self.run = CASES[case].setup(jitgrad).run
        self.run()

    def time_step(self, case: str) -> None:
        """Time one step."""
        self.run()
