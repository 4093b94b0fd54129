"""From an update rule to its two C functions (`jitgrad.arena.updates`).  Imported by the compiler only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numba
from numba import types

from jitgrad.arena.columns import U_NUMBERS, U_SCALARS, U_SINGLE, U_VALUES
from jitgrad.dtypes import float64
from jitgrad.kernels import formula
from jitgrad.kernels.lowlevel import OPTIONS, POINTERS, TYPES, bits, from_bits, words
from jitgrad.kernels.scalars import environment

if TYPE_CHECKING:
    from jitgrad.optim.rules import Rule


@numba.njit(**OPTIONS)
def _stored(x, single):
    """What is left of a number in a 0-dim state that is kept in float32 if ``single``."""
    return types.float64(types.float32(x)) if single != 0 else x


def _made(lines: list[str], space: dict[str, Any], name: str) -> Callable[..., Any]:
    exec(compile("\n".join(lines), f"<rule {name}>", "exec"), space)
    made: Callable[..., Any] = space[name]
    return made


def prepare(rule: Rule) -> Callable[[Any], Any]:
    """``prepare(work)``: the rule's ``once`` on the words of `H_UPDATE`."""
    name = f"{rule.name}_prepare"
    lines = [f"def {name}(_work):", " _w = _words(_work)", f" single = _w[{U_SINGLE}]"]
    lines += [f" {n} = _from_bits(_w[{U_NUMBERS + i}])" for i, n in enumerate(rule.numbers)]
    lines += [f" {n} = _from_bits(_w[{U_SCALARS + i}])" for i, n in enumerate(rule.scalars)]
    lines += [f" {line}" for line in formula.typed_statements(rule.once)]
    lines += [f" _w[{U_SCALARS + i}] = _bits({n})" for i, n in enumerate(rule.scalars)]
    lines += [f" _w[{U_VALUES + i}] = _bits({n})" for i, n in enumerate(rule.values)]
    space = environment(float64.code, formula.names_of(rule.once)[0])
    space |= {"_words": words, "_bits": bits, "_from_bits": from_bits, "stored": _stored}
    return _made([*lines, " return 0"], space, name)


def loop(rule: Rule, dtype: int) -> Callable[[Any, Any], Any]:
    """``loop(n, args)``: the rule's ``each`` over ``n`` elements; ``args`` are addresses, then values."""
    name = f"{rule.name}_loop"
    tensors = rule.operands
    lines = [f"def {name}(_n, _args):", " _a = _words(_args)"]
    lines += [f" _p{j} = _pointer(_a[{j}])" for j in range(len(tensors))]
    lines += [f" {n} = _T(_from_bits(_a[{8 + i}]))" for i, n in enumerate(rule.values)]
    lines.append(" for _i in range(_n):")
    lines += [f"  {n} = _p{j}[_i]" for j, n in enumerate(tensors)]
    lines += [f"  {line}" for line in formula.typed_statements(rule.each)]
    lines += [f"  _p{j}[_i] = _T({n})" for j, n in enumerate(tensors) if rule.writes >> j & 1]
    space = environment(dtype, formula.names_of(rule.each)[0])
    space |= {"_words": words, "_from_bits": from_bits}
    space |= {"_pointer": POINTERS[dtype], "_T": TYPES[dtype]}
    return _made([*lines, " return 0"], space, name)
