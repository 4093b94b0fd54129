"""The words of a backward pass: its *context*, a block of memory that outlives the call, and its nodes.

Plain numbers, so that the debug checks can read a context without Numba.
"""

from __future__ import annotations

# A context.
B_N = 0  # nodes reached
B_CAP = 1
B_NODES = 2  # address of the nodes
B_HEAP_N = 3
B_HEAP = 4  # address of the heap: pairs (sequence number, node)
B_PASS = 5
B_RETAIN = 6  # 1: keep what the graph saved
B_NODE = 7  # node in progress, when stopped
B_ROOTS = 8  # number of roots
B_STATE = 9  # how far the node in progress is: one of
FRESH = 0  # not begun
HOOKED = 1  # Python has been here; the row itself is still to be run
DONE = 2  # its gradients have been sent on
B_INPUTS = 10  # address of the nodes whose gradients are asked for; 0: those of all leaves
B_INPUTS_N = 11
B_COLLECT = 12  # 1: those gradients are the result; 0: they are added to the rows' ``.grad``
B_NEXT = 13  # the list of contexts that have not ended
B_BEFORE = 14
B_GPU = 15  # 1: Python knows that it has to launch
B_DIRECT = 16  # whether the pass may call custom functions itself: 0, ALLOWED or READY
ALLOWED = 1  # once Python has met it
READY = 2  # it has: this thread's grad mode is off
B_CALL = 17  # arguments of such a call: 3 words
B_WORDS = 20

# A node of a context.
N_ROW = 0
N_PENDING = 1  # edges through which a gradient can still come
N_GRAD = 2  # storage of its gradient so far, or NONE
N_UNIFORM = 3
N_MARKS = 4  # with B_INPUTS, bits:
ASKED = 1  # this row's gradient is asked for
BELOW = 2  # that of a row further down is
KEPT_UNIFORM = 4  # the kept gradient is uniform
N_KEPT = 5  # storage of the gradient that was asked for, or NONE
N_WORDS = 6
