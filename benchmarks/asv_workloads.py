"""asv: whole programs, from likelihoods to training steps of small models."""

from __future__ import annotations

from jitgrad.bench.workloads import WORKLOADS

from .prepared import Prepared


class Workload(Prepared):
    """One run of a program, gradients and all."""

    params = (list(WORKLOADS),)
    param_names = ("workload",)

    def setup(self, workload: str) -> None:
        """Prepare the program."""
        self.prepare(WORKLOADS[workload])

    def time_run(self, workload: str) -> None:
        """Time one run."""
        self.run()

    def peakmem_run(self, workload: str) -> None:
        """Measure the process's greatest memory, Python and the library included."""
        self.run()
