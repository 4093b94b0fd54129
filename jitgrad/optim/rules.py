"""Update rules: what an optimiser does to a parameter, as text that becomes two C functions.

A rule's text is Python arithmetic like the formulas of `jitgrad.ops`.  ``once`` is computed for each
parameter, in float64, from the group's numbers and the parameter's 0-dim state (``step``, ...), to which it
may assign.  ``each`` is computed for each element of ``param``, ``grad`` and the state tensors; what it
assigns to ``param`` and to state tensors is stored.  State has PyTorch's names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena import engine
from jitgrad.arena.engine import entry
from jitgrad.arena.header import Fault
from jitgrad.kernels import formula

Numbers = tuple[float, ...]


class MissingState(Exception):
    """Parameter ``index`` of a group has no state ``key``."""

    def __init__(self, index: int, key: str) -> None:
        self.index, self.key = index, key


def not_a_tensor(param: Any) -> TypeError:
    """PyTorch's error for a parameter that is none."""
    return TypeError(
        f"optimizer can only optimize Tensors, but one of the params is {type_name(param)}"
    )


def type_name(value: Any) -> str:
    """The name of a value's type, with its module unless that is builtins."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


@dataclass(frozen=True)
class Rule:
    """One rule with its options settled.

    Attributes
    ----------
    name : str
        Shown in symbol names.
    tensors, scalars : tuple of str
        Names of the state: tensors of the parameter's shape, and 0-dim ones.
    numbers : tuple of str
        What the group gives: ``lr``, ...
    once, each : str
        Statements, separated by semicolons.
    """

    name: str
    tensors: tuple[str, ...]
    scalars: tuple[str, ...]
    numbers: tuple[str, ...]
    once: str
    each: str
    _loops: dict[int, int] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        # The places that the header and a kernel's arguments have.
        assert len(self.operands) <= col.P_OPERANDS, self
        assert len(self.scalars) <= col.U_SINGLE - col.U_SCALARS, self
        assert len(self.numbers) <= col.U_NUMBERS_MAX, self
        assert len(self.values) <= col.U_VALUES_MAX, self

    @property
    def operands(self) -> tuple[str, ...]:
        """The tensors that the loop walks along, in its order."""
        return ("param", "grad", *self.tensors)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The names of all state."""
        return self.tensors + self.scalars

    @cached_property
    def writes(self) -> int:
        """Bit j is set if operand j is assigned to; the gradient is never written back."""
        assigned = formula.names_of(self.each)[1]
        return sum(1 << j for j, name in enumerate(self.operands) if j != 1 and name in assigned)

    @cached_property
    def values(self) -> tuple[str, ...]:
        """What the loop reads besides tensors: numbers, 0-dim state, and what ``once`` computes."""
        read = formula.names_of(self.each)[0]
        known = {*self.numbers, *self.scalars, *formula.names_of(self.once)[1]}
        return tuple(sorted(read & known))

    def load(self, dtype: int) -> None:
        """Load (compile if need be) the rule for a dtype code."""

        def build() -> list[tuple[Callable[..., Any], int]]:
            from jitgrad.kernels import updates

            return [(updates.prepare(self), 1), (updates.loop(self, dtype), 2)]

        # The name says all that the code follows from, this file's part of it too.
        name = f"{self!r} {self.operands} {self.writes} {self.values} {dtype}"
        prepare, loop = engine.loaded(name, build)
        self._loops[-1] = prepare
        self._loops[dtype] = loop

    def _gpu_loops(self) -> dict[int, int]:
        """What updates parameters on the GPU; a rule's part for each parameter is the CPU's."""
        from jitgrad.cuda import updates

        if -1 not in self._loops:
            self.load(dtypes.float32.code)
        loops = {d.code: updates.number_of(self, d.code) for d in (dtypes.float32, dtypes.float64)}
        return {**loops, -1: self._loops[-1]}

    def __call__(self, params: list[Any], state: dict[Any, Any], numbers: Numbers) -> None:
        """Update all parameters of a list that have a gradient, in one jitted call.

        Raises
        ------
        MissingState
            If a parameter lacks some state; nothing has been changed then.
        RuntimeError
            If a gradient or a state does not fit its parameter.
        """
        loops, update = self._loops, entry.update
        while True:
            arguments = (
                loops.get(-1, 0),
                loops.get(dtypes.float32.code, 0),
                loops.get(dtypes.float64.code, 0),
                self.writes,
                params,
                state,
                self.keys,
                len(self.tensors),
                *numbers,
            )
            try:
                update(*arguments)
                return
            except Fault as fault:
                code, a, b, *_ = fault.args
                if code == col.X_RULE:
                    self.load(a)
                elif code == col.X_DEVICE and loops is self._loops:
                    from jitgrad.cuda import calls

                    loops, update = self._gpu_loops(), calls.update
                elif code == col.X_STATE:
                    raise MissingState(a, self.keys[b]) from None
                elif code == col.X_TYPE:
                    raise not_a_tensor(params[a]) from None
                else:
                    engine.mend(fault.args, arguments)
