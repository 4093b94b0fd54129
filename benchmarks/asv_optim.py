"""asv: one step of an optimiser over many small and a few large parameters."""

from __future__ import annotations

import jitgrad
from jitgrad.bench.cases import CASES


class Step:
    """The update alone; gradients are there."""

    params = ([name for name in CASES if name.startswith("E_")],)
    param_names = ("case",)

    def setup(self, case: str) -> None:
        """Prepare the step, compile what it needs and make the state."""
        jitgrad.set_num_threads(1)
        self.run = CASES[case].setup(jitgrad).run
        self.run()

    def time_step(self, case: str) -> None:
        """Time one step."""
        self.run()
