"""asv: what one small op costs, and whether a long graph stays cheap per node."""

from __future__ import annotations

import time

from jitgrad.bench.cases import A5_NAMES, CASES

from .prepared import Prepared


class Small(Prepared):
    """Graphs on four elements, built and walked back."""

    params = (["A1", "A2"],)
    param_names = ("case",)

    def setup(self, case: str) -> None:
        """Prepare the work."""
        self.prepare(CASES[case])

    def time_step(self, case: str) -> None:
        """Time forward and backward."""
        self.run()


class Deep(Prepared):
    """Backward through a chain of nodes."""

    params = (list(A5_NAMES),)
    param_names = ("nodes",)

    def setup(self, nodes: int) -> None:
        """Build the chain and walk it once."""
        self.prepare(CASES[A5_NAMES[nodes]])

    def track_backward_per_node(self, nodes: int) -> float:
        """Return the nanoseconds per node, the best of some walks."""
        best = float("inf")
        for _ in range(max(3, 10**5 // nodes)):
            begin = time.perf_counter()
            self.run()
            best = min(best, time.perf_counter() - begin)
        return 1e9 * best / nodes

    track_backward_per_node.unit = "ns"  # type: ignore[attr-defined]
