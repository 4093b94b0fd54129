"""The optimisers' rules on the GPU: one kernel updates a parameter and its state."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jitgrad import dtypes
from jitgrad.cuda import formulas, kernels, launching
from jitgrad.cuda.kernel import Argument, Kernel, Pointer, made
from jitgrad.cuda.target import FLOAT64, INT64
from jitgrad.errors import no_cuda_kernel

if TYPE_CHECKING:
    from jitgrad.cuda.geometry import Plan
    from jitgrad.optim.rules import Rule

_numbers: dict[tuple[Rule, int], int] = {}


class Update:
    """The kernel of a rule for a dtype."""

    def __init__(self, rule: Rule, dtype: int) -> None:
        self.rule = rule
        operands = rule.operands
        parameters = ["_n", *(f"_p{j}" for j in range(len(operands)))]
        parameters += [f"_v{i}" for i in range(len(rule.values))]
        lines = [f"def kernel({', '.join(parameters)}):"]
        lines += [f" {name} = _T(_v{i})" for i, name in enumerate(rule.values)]
        lines += [" _i = cuda.grid(1)", " _step = cuda.gridsize(1)", " while _i < _n:"]
        body = [f"{name} = _p{j}[_i]" for j, name in enumerate(operands)]
        body += formulas.rule_lines(rule.each, dtype)
        body += [f"_p{j}[_i] = _T({n})" for j, n in enumerate(operands) if rule.writes >> j & 1]
        lines += [*(f"  {line}" for line in body), "  _i += _step"]
        signature: list[Argument] = [INT64, *(Pointer(dtype) for _ in operands)]
        signature += [FLOAT64 for _ in rule.values]
        function = made("\n".join(lines), "kernel", formulas.environment(dtype))
        self.kernel = Kernel(f"{rule.name}_{dtypes.ALL[dtype].name}", function, tuple(signature))

    def launch(self, plan: Plan, values: Sequence[int]) -> None:
        """Update the elements of a plan.

        Raises
        ------
        NotImplementedError
            If the parameter, its gradient and its state do not lie in the same order.
        """
        if plan.n == 0:
            return
        if any(o.strides != plan.operands[0].strides for o in plan.operands):
            raise no_cuda_kernel(f"{self.rule.name}_of_strided_parameters")
        numbers = struct.unpack(f"{len(values)}d", struct.pack(f"{len(values)}q", *values))
        arguments = [plan.n, *(o.address for o in plan.operands), *numbers[: len(self.rule.values)]]
        self.kernel.launch(*launching.over(plan.n), arguments)


def number_of(rule: Rule, dtype: int) -> int:
    """The number of a rule's kernel."""
    key = (rule, dtype)
    if key not in _numbers:
        _numbers[key] = kernels.add(Update(rule, dtype))
    return _numbers[key]
