"""asv: one step of an optimiser over many small and a few large parameters."""

from __future__ import annotations

from jitgrad.bench.cases import CASES

from .prepared import Prepared


class Step(Prepared):
    """The update alone; gradients are there."""

    params = ([name for name in CASES if name.startswith("E_")],)
    param_names = ("case",)

    def setup(self, case: str) -> None:
        """Prepare the step."""
        self.prepare(CASES[case])

    def time_step(self, case: str) -> None:
        """Time one step."""
        self.run()
