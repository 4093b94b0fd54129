"""asv: one op on many elements, forward and backward."""

from __future__ import annotations

import jitgrad
from jitgrad.bench.cases import C_OPS, C_SIZES, CASES


class Op:
    """Pointwise ops on a flat array, reductions on the rows of a square one."""

    params = (list(C_OPS), list(C_SIZES))
    param_names = ("op", "elements")

    def setup(self, op: str, elements: int) -> None:
        """Prepare the op, compile it and fault its memory in."""
        jitgrad.set_num_threads(1)
        self.run = CASES[f"C_{op}_{C_SIZES[elements]}"].setup(jitgrad).run
        self.run()

    def time_forward_backward(self, op: str, elements: int) -> None:
        """Time forward and backward."""
        self.run()
