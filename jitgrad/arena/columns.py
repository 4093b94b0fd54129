"""What the arena stores: the columns of a row and of a storage, and the words of the header.

A *row* is one tensor and the node of the graph that made it: 64 int64 words in two halves.  The *near* half
holds what a backward pass reads of every row, the *far* half, from word ``FAR`` on, the rest.  The near
halves of ``GROUP`` rows lie side by side and their far halves behind them, so that a pass over 10^5 rows
touches a quarter of the pages that it would with the halves in one place: 100 ns a node instead of 300.  A
column is a fixed word of every row, counted from where the row's near half begins, and row numbers count
halves: those of the far ones are left out.  `jitgrad.arena.inspect.rows` shows the columns to Python without
a copy.

==========  ====================================================================================
column      holds
==========  ====================================================================================
OP          op code: index into ``ops.table.OPS``; ``LEAF`` (0) for data without history
DTYPE       dtype code (``jitgrad.dtypes``)
NDIM        number of dims, at most ``MAX_DIMS``
NUMEL       number of elements
SHAPE       sizes, one word a dim
OFFSET      first element's position in the storage, in elements
STORAGE     storage number, or ``NONE`` once nothing needs the value any more
FLAGS       the ``F_*`` bits below
REFS        what keeps the row alive: its Tensor, rows above it, the gradient column of a leaf
USES        what keeps its value alive: its Tensor and the rows whose backward reads it
SEQ         creation number; every input of a row has a smaller one
NIN         number of inputs
INPUT       row numbers of the first ``MAX_INPUTS`` inputs, ``NONE`` where none is recorded
SAVED       bit i: input i's value is kept for backward; bit ``SAVED_OUT``: the row's own is
VERSION     version of each saved input's storage when it was saved
OUTVER      version of the row's own storage when it was saved
PASS        number of the backward pass that reached the row last
LOCAL       position in it
HELD        address of the Python object that backward meets here (hooks, a custom function), or 0
STRIDE      strides in elements, one word a dim
GRAD        row number of the accumulated gradient of a leaf, or ``NONE``
MORE        address of the list of all inputs when there are more than ``MAX_INPUTS``, else 0
FAMILY      address of the row's family (`arena.families`), or 0: of a base, or of a view that a Tensor shows
OUTNR       which output of its op this row is
OWNER       address of the one Tensor object that holds the row, or 0
NEXT        next row of the free list; also links rows that wait to be released.  While the row is
            alive: HANDLES, the Python nodes that hold it
GEN         how often the row number was given out; odd while it is alive
MADE        for a view: the storage's version when the row got its history
ATTR        what the op's kernels need besides: numbers (float64 bits or integers), dims, view strides
==========  ====================================================================================
"""

from __future__ import annotations

MAX_DIMS = 8
MAX_INPUTS = 4
NONE = -1
LEAF = 0

# ---------------------------------------------------------------- a row
OP = 0
DTYPE = 1
NDIM = 2
NUMEL = 3
SHAPE = 4
OFFSET = SHAPE + MAX_DIMS
STORAGE = 13
FLAGS = 14
REFS = 15
USES = 16
SEQ = 17
NIN = 18
INPUT = 19
SAVED = INPUT + MAX_INPUTS
VERSION = 24
OUTVER = VERSION + MAX_INPUTS
PASS = 29
LOCAL = 30
HELD = 31
ROW_WORDS = 32  # of a half
GROUP = 256
# Four numbers are left out, as the halves of a row would lie a multiple of 4 KB apart: a processor takes a
# load for one of what was just stored if the low twelve bits of their addresses agree.
FAR_HALF = GROUP + 4
NEXT_GROUP = 2 * FAR_HALF
FAR = FAR_HALF * ROW_WORDS
STRIDE = FAR
GRAD = STRIDE + MAX_DIMS
MORE = FAR + 9
FAMILY = FAR + 10
OUTNR = FAR + 11
OWNER = FAR + 12
NEXT = FAR + 13
HANDLES = FAR + 13
GEN = FAR + 14
MADE = FAR + 15
ATTR = FAR + 16
ATTR_WORDS = 16

#: name -> (first word, words): the table above, for `jitgrad.arena.inspect` and the tests.
ROW_COLUMNS = {
    "op": (OP, 1),
    "dtype": (DTYPE, 1),
    "ndim": (NDIM, 1),
    "numel": (NUMEL, 1),
    "shape": (SHAPE, MAX_DIMS),
    "offset": (OFFSET, 1),
    "storage": (STORAGE, 1),
    "flags": (FLAGS, 1),
    "refs": (REFS, 1),
    "uses": (USES, 1),
    "seq": (SEQ, 1),
    "nin": (NIN, 1),
    "input": (INPUT, MAX_INPUTS),
    "saved": (SAVED, 1),
    "version": (VERSION, MAX_INPUTS),
    "outver": (OUTVER, 1),
    "pass": (PASS, 1),
    "local": (LOCAL, 1),
    "held": (HELD, 1),
    "stride": (STRIDE, MAX_DIMS),
    "grad": (GRAD, 1),
    "more": (MORE, 1),
    "family": (FAMILY, 1),
    "outnr": (OUTNR, 1),
    "owner": (OWNER, 1),
    "next": (NEXT, 1),
    "gen": (GEN, 1),
    "made": (MADE, 1),
    "attr": (ATTR, ATTR_WORDS),
}

SAVED_OUT = 16

#: bits of FLAGS
F_REQUIRES_GRAD = 1
F_CONTIGUOUS = 2  # row-major without gaps, as PyTorch's is_contiguous()
F_FREED = 4  # a backward pass has released what the row had saved
F_VIEW = 8  # shares its storage with the row it was taken from
F_RETAIN = 16  # a non-leaf that keeps its gradient
F_PYTHON = 32  # backward must stop here and let Python act (hooks, custom functions)
F_IMPLICIT = 64  # a cast that promotion inserted, not an op the user wrote
F_HOLDS = 128  # something was saved when the row was recorded
F_VIEW_NO_GRAD = 256  # a view taken while nothing was recorded
F_VIEW_SEVERAL = 512  # one of several views that one call returned
F_VIEW_FUNCTION = 1024  # a view that a custom function returned
F_NO_FLOW = (
    2048  # a view that requires grad because its base does, and has no history: no gradient flows
)
F_WAS_ELSEWHERE = 4096  # its value, which is gone, was on the GPU
F_DIRECT = 8192  # of F_PYTHON rows: nothing acts here but the method of what the row holds
F_VIEW_MEMORY = 16384  # a view of kind VIEW_MEMORY, or taken from one
F_FLOAT16 = 32768  # the value of an op on float16, before it is rounded to that
F_BFLOAT16 = 65536
F_VIEW_MADE = F_VIEW_NO_GRAD | F_VIEW_SEVERAL | F_VIEW_FUNCTION  # not to be changed in place

# View rows keep in ATTR how their elements lie in a contiguous gradient of their input.
VIEW_STRIDE = 0  # MAX_DIMS words
VIEW_OFFSET = MAX_DIMS  # 1 word
VIEW_ARGS = MAX_DIMS + 2  # the first of the op's own arguments, for those who look at the graph
VIEW_ARGS_MAX = ATTR_WORDS - VIEW_ARGS
VIEW_KIND = MAX_DIMS + 1  # one of:
VIEW_REGION = 0  # each element of the view is another element of the input
VIEW_ALIAS = 1  # the same elements in the same order: the gradient is passed on as it is
VIEW_EXPAND = 2  # the input was broadcast: the gradient is summed
VIEW_OVERLAP = (
    3  # a region with elements that several of the view show: their gradients are added up
)
VIEW_MEMORY = 4  # no region: gradients go by the memory, where the input has the strides noted here
VIEW_SLICES = 5  # input 1 has replaced that region of input 0
VIEW_WHOLE = 6  # the same, and the region is everything

# A family: what a base and its views share.
M_BASE = 0  # the row that the base shows at present
M_VIEWS = 1  # rows in it that are views
FAMILY_WORDS = 2

# Rows of ops along dims keep in ATTR:
A_MASK = 0  # bit d: the op runs along dim d
A_KEEP = 1  # bit 0: dims kept with size 1; bit 1: the user named the dims
A_FIRST = 2  # first attribute of the op itself

# ---------------------------------------------------------------- a storage
S_DATA = (
    0  # address of the first byte, 64-byte aligned unless borrowed; of the GPU: `arena.devices`
)
S_BYTES = 1  # bytes that were asked for (of the GPU: that can be used)
S_REFS = 2  # rows (and lists of rows) that share it
S_VERSION = 3  # counts in-place changes
S_CLASS = 4  # size class of the pool (the GPU's: after POOL_CLASSES, stream by stream), NONE: borrowed, or:
SHARED = -2  # the buffer of another storage
S_OWNER = 5  # Python object that owns borrowed memory; the storage whose buffer is shared; else 0
S_GEN = 6  # odd while the number is in use
S_NEXT = 7  # next number of the free list
STORE_WORDS = 8

# ---------------------------------------------------------------- the header
H_ROWS = 0  # address of the rows; changes when they grow, so it is read anew after every allocation
H_ROW_CAP = 1  # halves of rows that there is room for
H_ROW_TOP = 2  # the first row number that was never used
H_ROW_FREE = 3  # head of the free list
H_ROW_LIVE = 4
H_STORES = 5
H_STORE_CAP = 6
H_STORE_TOP = 7
H_STORE_FREE = 8
H_STORE_LIVE = 9
H_LIVE_BYTES = 10  # bytes in live pool buffers
H_PEAK_BYTES = 11
H_POOL_BYTES = 12  # bytes in buffers that wait in the pool
H_POOL_LIMIT = 13
H_BORROWED_BYTES = 14
H_FAMILIES = 15  # families there are
H_SEQ = 16
H_PASS = 17
H_CLOSED = 18  # 1 once the interpreter is going down: releasing does nothing
H_DEBUG = 19
H_GRAD_MODE = 20  # of the thread named next
H_THREAD = 21  # thread whose grad mode stands in H_GRAD_MODE
H_THREADS = 22  # threads a kernel may use
H_PARALLEL_FROM = 23  # elements from which a pointwise kernel is split among threads
H_PARALLEL = 24  # address of Numba's parallel-for, 0 until its threads are launched
H_DEFAULT_DTYPE = 25
H_TENSOR_TYPE = 26  # addresses of Python types and objects
H_FLOAT_TYPE = 27
H_INT_TYPE = 28
H_BOOL_TYPE = 29
H_TRUE = 30
H_NONE = 31
H_SLOT = 32  # byte offset of Tensor's row slot
H_DESTRUCTOR = 33  # address of the capsule destructor
H_FAULT_TYPE = 34  # exception class that carries a fault to Python
H_FAULT = 35  # fault code
H_DETAIL = 36  # 4 words about it
H_PENDING = 40  # storages whose Python owner is to be released before returning
H_OPS = 41  # address of the op table's words
H_FORWARD = 42  # address of the table of forward kernels, [op, dtype]
H_BACKWARD = 43  # the same for backward, [op, input, dtype]
H_SCRATCH = 44  # address of the blocks that kernels compute in, one area a thread
H_LIST = 45  # address of a list of row numbers, and its capacity
H_LIST_CAP = 46
H_GEMM32 = 47  # BLAS, Fortran interface
H_GEMM64 = 48
H_CHUNK = 49  # address of driver.chunk
H_POOL_THREADS = 50  # threads that Numba has launched
H_BUSY = 51  # 1 while a backward context is being run
H_RECORDED = 52  # rows recorded so far
H_PARAMETER_TYPE = 53
H_ADD32 = 54  # kernels x + z that gradients are accumulated with
H_ADD64 = 55
H_CONTEXT = 56  # the backward pass that stopped for Python
H_CONTEXTS = 57  # all backward passes that have begun and not ended, as a list
H_PENDING_ROWS = 58  # freed rows whose Python object is to be released before returning, as a list
H_FLUSHING = 59  # 1 while that is being done
H_NODE_DESTRUCTOR = 60  # address of the destructor of capsules that hold a row without its value
H_FAMILY_FREE = 61  # freed families, as a list
H_LABELS = 62  # the pass whose numbers stand in the rows it shares with others
H_INFERENCE = 63  # the version with which that thread's storages begin: 0, or INFERENCE
H_CALL = 64  # arguments of the call in progress: 64 words
H_PLAN = 128  # the pointwise plan in progress
H_POOL = 256  # heads of the pool's free lists, one word a size class
POOL_CLASSES = 192
H_LANES = H_POOL + POOL_CLASSES  # a permuted shape and strides
H_ARGS = H_LANES + 2 * MAX_DIMS  # arguments of the kernel in progress
H_SPLIT = H_ARGS + 32  # arguments of the parallel-for: 3 words
H_UPDATE = H_SPLIT + 8  # an optimiser's step: the U_* words below
H_REFUSED = H_SPLIT + 3  # 1 if what was just recorded can't be: it would save an inference tensor
H_ADD_FLOAT16 = H_SPLIT + 4  # as H_ADD32
H_ADD_BFLOAT16 = H_SPLIT + 5
H_DEVICE = H_SPLIT + 6  # device of the call in progress: 0 the CPU, 1 the GPU
H_GPU = H_UPDATE + 64
H_OTHER_FORWARD = H_GPU  # while the call in progress is for one device: the other's kernels, ...
H_OTHER_BACKWARD = H_GPU + 1
H_OTHER_PARALLEL_FROM = H_GPU + 2
H_COMMANDS = H_GPU + 3  # address of the launches that wait for Python (`arena.devices`)
H_COMMANDS_N = H_GPU + 4  # words of them
H_COMMANDS_CAP = H_GPU + 5
H_COMMANDS_LOST = H_GPU + 6  # 1 if there was no memory for one
H_GPU_BYTES = H_GPU + 7  # bytes in live buffers of the GPU
H_GPU_PEAK = H_GPU + 8
H_DIRECT = H_GPU + 9  # the name of the method by which a pass calls a custom function
H_FITTED = H_GPU + 10  # and of the one that makes its gradients fit
H_SPARE = (
    H_GPU + 11
)  # nodes and heap of a pass that has ended, for the next: the address or 0, and how many
H_SPARE_CAP = H_GPU + 12
H_BLAS_THREADS = (
    H_GPU + 13
)  # addresses of BLAS' functions that tell its number of threads, and set it, or 0
H_BLAS_LIMIT = H_GPU + 14
H_LANES_CHUNK = H_GPU + 15  # address of lanes.lanes_chunk
H_DRIVE = H_GPU + 16  # address of driver.drive_c
H_REGENERATED = H_GPU + 17  # address of histories.regenerated_c; 0 until that part is loaded
H_VIEW_VJP = H_GPU + 18  # address of view_vjps.view_vjp, or 0
H_CALLED = H_GPU + 19  # address of stops.called_c, or 0
H_FINISH = H_GPU + 20  # address of passes.finish_c
H_LIST_TYPE = H_GPU + 21  # addresses of Python types
H_TUPLE_TYPE = H_GPU + 22
H_NEW_ARRAY = H_GPU + 23  # addresses of NumPy's functions that make an array, and give it a base
H_SET_BASE = H_GPU + 24
H_ARRAY_TYPE = H_GPU + 25
H_ARRAY_KINDS = H_GPU + 26  # address of a table of NumPy's dtypes, by dtype code
H_STREAM = H_GPU + 27  # number of the stream of the GPU that a call's new storages belong to
H_GPU_POOL = H_GPU + 28  # for each stream and size class the first waiting storage, plus 1
STREAMS = 65  # the default one, and 32 of each priority
HEADER_WORDS = H_GPU_POOL + STREAMS * POOL_CLASSES

#: An address with this bit is one of the GPU: a storage's number and, in its low bits, the byte in it.
GPU_BIT = 62
OFFSET_BITS = 40

#: Storages made in inference mode count no versions: theirs stay far below zero.
INFERENCE = -(1 << 60)

# ---------------------------------------------------------------- an optimiser's step (words from H_UPDATE)
U_CHUNK = 0  # address of updates.update_chunk
U_CALLS = 1  # steps so far
U_WRITES = 2  # bit j: the rule writes tensor j
U_NUMBERS = 4  # the group's numbers, float64 bits
U_NUMBERS_MAX = 16
U_SCALARS = 20  # the parameter's 0-dim state, float64 bits
U_SINGLE = 24  # 1 where that is kept in float32
U_VALUES = 28  # what the loop reads besides tensors, float64 bits
U_VALUES_MAX = 24
U_HALF = (
    U_VALUES + U_VALUES_MAX
)  # the 16-bit dtype of the tensors, which the loop sees as float32; or 0

# ---------------------------------------------------------------- the op table, as kernels see it
O_FAMILY = 0
O_RULE = 1  # how the result's dtype follows from the operands'
O_BITS = 2  # the OB_* bits
O_MASKS = 3  # bit i: operand i is a bool mask and takes no part in promotion
O_NEEDS = 4  # MAX_INPUTS words: values that the gradient of input i reads (bits as in SAVED)
O_DIFF = 8  # bit i: input i has a gradient
O_ALIAS = 9  # bit i: the gradient of operand i is the cotangent itself
O_WORDS = 16

OB_NO_BOOL = 1  # not defined for bool
OB_NO_FLOAT = 2  # not defined for floating point
OB_NO_INT = 4
OB_SAME_SHAPE = 8  # a lanes op whose result has the input's shape
OB_FORMULA = 16  # a lanes op whose gradient is a formula in g, x, y and n (elements of a lane)
OB_NO_BOOL_OPERAND = 64  # operands 0 and 1 may not be bool, whatever the common dtype
OB_FILLS = 128  # a pointwise op that does not read operand 0
OB_NOT_EMPTY = 32  # a lanes op that has no value for lanes without elements
OB_ROUNDS = 512  # a number beside a 16-bit float counts as rounded to it
OB_IN_PLACE = 1024  # an op with kernels that writes its result over operand 0
OB_COPIES = 256  # a pointwise op that only moves elements: 16-bit floats need not be widened

# dtype rules
R_COMMON = 0  # the operands' common dtype
R_FLOAT = 1  # the same, integers become the default float
R_BOOL = 2  # computed in the common dtype, the answer is bool
R_FIRST = 3  # the first operand's dtype
R_SUM = 4  # the same, integers become int64
R_INDEX = 5  # int64
R_TRUTH = 6  # bool, but uint8 stays

# ---------------------------------------------------------------- pointwise plan (words from H_PLAN)
P_N = 0  # elements of the result
P_NIN = 1
P_NDIM = 2  # dims after collapsing
P_KERNEL = 3
P_FLAT = 4  # 1 if every operand is contiguous or one element
P_SHAPE = 5
P_BASE = 16  # address of operand j (0 is the result)
P_SIZE = 24  # bytes of an element of operand j
P_CONST = 32  # 1 if operand j is one element
P_STRIDES = 40  # byte strides of operand j: MAX_DIMS words each
P_OPERANDS = 8
P_WORDS = P_STRIDES + P_OPERANDS * MAX_DIMS

#: Elements a kernel computes at a time when an operand has to be gathered: they stay in the L1 cache.
BLOCK = 1024
#: Bytes of scratch a thread: a block of 8-byte elements for each operand, and the argument words.
SCRATCH = (P_OPERANDS + 2) * BLOCK * 8

# ---------------------------------------------------------------- faults
# A jitted entry that can't do its work sets H_FAULT and raises H_FAULT_TYPE; Python then compiles what is
# missing and calls again, or finds the words (errors.py).
X_KERNEL = 1  # kernel (op, dtype, which) is not loaded yet
X_THREAD = 2  # another thread's grad mode stands in the header
X_PARALLEL = 3  # the parallel-for is not loaded yet
X_TYPE = 4  # operand i is no tensor or number
X_BROADCAST = 5  # shapes do not broadcast
X_MEMORY = 6  # out of memory
X_DTYPE = 7  # the op is not defined for that dtype
X_DIMS = 8  # more dims than MAX_DIMS
X_CAST = 9  # in-place result dtype
X_LEAF = 10  # in-place on a leaf
X_FREED = 11  # backward a second time
X_VERSION = 12  # a saved value was changed
X_OUTPUT_SHAPE = 13  # in-place: result shape differs from self
X_INTERNAL = 14
X_PYTHON = 15  # backward has reached a row that needs Python
X_SLOW = 16  # needs the general path in Python
X_MASK = 17  # condition is not bool
X_OVERLAP = 18  # in-place on a tensor whose elements share memory
X_DIM = 19  # dim out of range
X_VIEW_INPLACE = 20  # a view whose new history can't be told
X_SHAPE = 21  # shapes do not fit the op
X_INDEX = 22  # index out of range
X_STATUS = 23  # a kernel returned a status
X_ROOT = 24  # backward of a tensor without history
X_SCALAR = 26  # backward of several elements without a gradient
X_VIEW_LEAF = 27  # in-place on a view of a leaf
X_GIVE = 28  # a gradient that Python gives does not fit input i
X_NOT_SAVED = 29  # a value that the row did not save is asked for
X_NO_GRAD = 30  # an input to be differentiated does not require grad
X_NO_ROOM = 31  # a row that can't become a function's output
X_STATE = 40  # an optimiser's parameter has no state of that name
X_RULE = 41  # an update rule is not loaded for a dtype
X_FIT = 42  # a gradient or state does not fit its parameter
X_VIEW_MADE = 32  # a view that may not be changed in place was, itself (0) or through its base (1)
X_INFERENCE = 43  # an inference tensor would have to be saved for backward
X_INFERENCE_INPLACE = 44  # in-place on an inference tensor outside inference mode
X_LAUNCH = 46  # backward has reached a row on the GPU, whose launches wait for Python
X_DEVICE = 45  # operand i is not on the device that the call is for
X_BOUNDS = 47  # strides that reach outside the storage, which has so many bytes
X_LAYOUT = 48  # an input that is laid out otherwise than the op was made for
X_PART = 49  # a part of the core is not loaded yet (`arena.parts`)
X_EMPTY = 25  # a reduction over nothing that has no value for it

#: which kernel is missing (first detail word after op and dtype)
W_FORWARD = 0
W_BACKWARD = 1
