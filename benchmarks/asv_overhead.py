"""asv: what one small op costs, and whether a long graph stays cheap per node."""

from __future__ import annotations

import time

import jitgrad
from jitgrad.bench.cases import A5_NAMES, CASES


class Small:
    """Graphs on four elements, built and walked back."""

    params = (["A1", "A2"],)
    param_names = ("case",)

    def setup(self, case: str) -> None:
        """Prepare the work and compile what it needs."""
        jitgrad.set_num_threads(1)
        self.run = CASES[case].setup(jitgrad).run
        self.run()

    def time_step(self, case: str) -> None:
        """Time forward and backward."""
        self.run()


class Deep:
    """Backward through a chain of nodes."""

    params = (list(A5_NAMES),)
    param_names = ("nodes",)
    unit = "ns"
    timeout = 300

    def setup(self, nodes: int) -> None:
        """Build the chain and walk it once."""
        jitgrad.set_num_threads(1)
        self.run = CASES[A5_NAMES[nodes]].setup(jitgrad).run
        self.run()

    def track_backward_per_node(self, nodes: int) -> float:
        """Return the nanoseconds per node, the best of some walks."""
        best = float("inf")
        for _ in range(max(3, 10**5 // nodes)):
            begin = time.perf_counter()
            self.run()
            best = min(best, time.perf_counter() - begin)
        return 1e9 * best / nodes
