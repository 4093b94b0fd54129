"""The words of a command: what the arena asks Python to launch on the GPU (`jitgrad.arena.devices`).

Plain numbers, so that Python reads them without Numba.
"""

from __future__ import annotations

from jitgrad.arena.columns import MAX_DIMS

# A command: its length in words, what it is, its kernel, then:
PLAN = 0  # a pointwise plan: n, operands, dims, shape; each operand: address, bytes, kind, byte strides
LANES = 1  # an op along dims: the words L_*
EXPLICIT = (
    2  # any other op: inputs, ATTR; the rows of the result and of each input (`ROW_GEOMETRY`)
)
SUM_TO = 3  # a plan of two operands: the gradient, and where it is summed to (stride 0 along summed dims)
UPDATE = 4  # a plan, then the values of an optimiser's rule
ROW_GEOMETRY = 4 + 2 * MAX_DIMS  # address, dtype, dims, elements, shape, strides

# What an operand of a plan is.
STRIDED = 0
ONE = 1  # one element in the GPU's memory
NUMBER = 2  # a number of the host: its eight bytes stand in the address's place
