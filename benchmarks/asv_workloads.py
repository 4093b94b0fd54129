"""asv: whole programs, from likelihoods to training steps of small models."""

from __future__ import annotations

import jitgrad
from jitgrad.bench.workloads import WORKLOADS


class Workload:
    """One run of a program, gradients and all."""

    params = (list(WORKLOADS),)
    param_names = ("workload",)

    def setup(self, workload: str) -> None:
        """Prepare the program and compile what it needs."""
        jitgrad.set_num_threads(1)
        self.run = WORKLOADS[workload].setup(jitgrad).run
        self.run()

    def time_run(self, workload: str) -> None:
        """Time one run."""
        self.run()
