"""asv: one training step of a perceptron."""

from __future__ import annotations

from jitgrad.bench.cases import CASES

from .prepared import Prepared


class Step(Prepared):
    """Forward, cross-entropy, backward and the momentum update."""

    params = (["B1", "B2"],)
    param_names = ("case",)

    def setup(self, case: str) -> None:
        """Prepare the step."""
        self.prepare(CASES[case])

    def time_step(self, case: str) -> None:
        """Time one step."""
        self.run()
