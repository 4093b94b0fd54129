"""asv: one op, forward and backward, by size and dtype."""

from __future__ import annotations

from jitgrad.bench import operations

from .prepared import Prepared

OPS = "exp relu tanh sum mean var softmax logsumexp mm".split()


class Op(Prepared):
    """Pointwise ops, reductions of rows and a matrix product, on a square array."""

    params = (OPS, [2**10, 2**14, 2**18], ["float32", "float64"])
    param_names = ("op", "elements", "dtype")

    def setup(self, op: str, elements: int, dtype: str) -> None:
        """Prepare the op."""
        self.prepare(operations.case(op, "both", elements, dtype, "contiguous"))

    def time_forward_backward(self, op: str, elements: int, dtype: str) -> None:
        """Time forward and backward."""
        self.run()
