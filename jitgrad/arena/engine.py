"""The Python side of the arena: makes the header, loads the entries, brings in kernels when asked.

``entry.pointwise``, ``entry.backward``, ... are builtins over jitted functions (`jitgrad.arena.parts`).
They raise `Fault` when something is missing or wrong; `mend` loads what is missing or raises what a user
should see, and `call` is the loop of the two.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.contexts import DONE
from jitgrad.arena.parts import BACKWARD, PART_OF, PARTS, RECORDING
from jitgrad.kernels import cache, companion, loader
from jitgrad.ops.table import KERNEL, OPS, VIEW, Op
from jitgrad.ops.table import words as op_words

FaultWords = tuple[int, int, int, int, int, int]


class Fault(Exception):
    """A jitted entry could not do its work.

    Its arguments say why: the code, three numbers about it, the backward pass that waits, or 0, and the
    device that the call was for.
    """

    args: FaultWords


#: Methods of a custom function's context that a backward pass calls by name.
_METHODS = ("direct", "fitted")

_N_DTYPES = len(dtypes.ALL)
_lock = threading.RLock()
header = np.zeros(col.HEADER_WORDS, np.int64)
H = header.ctypes.data
_kept: list[Any] = []


def _address(array: np.ndarray) -> int:
    _kept.append(array)
    return int(array.ctypes.data)


def renew_lock() -> None:
    """Make a new lock: after a fork another thread, which is not there, may have held the old one."""
    global _lock, _switching
    _lock, _switching = threading.RLock(), threading.Lock()


def _allocate(nbytes: int) -> int:
    malloc = ctypes.pythonapi.PyMem_RawMalloc
    malloc.restype, malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    address = malloc(nbytes)
    if not address:
        raise MemoryError("jitgrad's arena")
    return int(address)


def _aligned(nbytes: int) -> int:
    """Memory that begins on a cache line, as `arena.storage.buffer_new` makes it."""
    raw = _allocate(nbytes + 2 * 64)
    data = (raw + 8 + 63) & ~63
    ctypes.c_int64.from_address(data - 8).value = raw
    return data


def _fill_header() -> None:
    if ctypes.c_int64.from_address(id(header) + 8).value != id(type(header)):
        raise ImportError(
            "jitgrad needs the ordinary build of CPython 3.11 to 3.13 (not a free-threaded or debug one)"
        )
    rows, stores = 4 * col.NEXT_GROUP, 1024
    header[col.H_ROWS] = _aligned(rows * col.ROW_WORDS * 8)
    header[col.H_ROW_CAP] = rows
    header[col.H_STORES] = _aligned(stores * col.STORE_WORDS * 8)
    header[col.H_STORE_CAP] = stores
    for slot in (col.H_ROW_FREE, col.H_STORE_FREE, col.H_PENDING, col.H_PENDING_ROWS):
        header[slot] = col.NONE
    header[col.H_POOL_LIMIT] = 2 << 30
    header[col.H_DEBUG] = os.environ.get("JITGRAD_DEBUG", "0") not in ("", "0")
    header[col.H_GRAD_MODE] = 1
    header[col.H_THREAD] = threading.get_ident()
    header[col.H_THREADS] = 1
    header[col.H_PARALLEL_FROM] = 1 << 15
    header[col.H_OTHER_PARALLEL_FROM] = 1 << 62
    header[col.H_DEFAULT_DTYPE] = dtypes.float32.code
    header[col.H_FLOAT_TYPE] = id(float)
    header[col.H_INT_TYPE] = id(int)
    header[col.H_BOOL_TYPE] = id(bool)
    header[col.H_LIST_TYPE] = id(list)
    header[col.H_TUPLE_TYPE] = id(tuple)
    _note_numpy()
    header[col.H_TRUE] = id(True)
    header[col.H_NONE] = id(None)
    header[col.H_FAULT_TYPE] = id(Fault)
    header[col.H_DIRECT], header[col.H_FITTED] = (id(name) for name in _METHODS)
    _grow_tables(len(OPS) + 64)
    header[col.H_LIST] = _allocate(64 * 8)
    header[col.H_LIST_CAP] = 64
    header[col.H_SCRATCH] = _allocate(col.SCRATCH * 64)


def _note_numpy() -> None:
    """Note what arrays over a tensor's memory are made with: two functions of NumPy's C interface.

    Their places in its table are part of NumPy's binary interface, which lasts through 2.x.
    """
    umath = importlib.import_module("numpy._core._multiarray_umath")
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    table = pointer(umath._ARRAY_API, None)
    assert table
    functions = (ctypes.c_size_t * 283).from_address(table)
    header[col.H_ARRAY_TYPE] = functions[2]
    header[col.H_NEW_ARRAY] = functions[94]
    header[col.H_SET_BASE] = functions[282]
    # The struct of an array begins with object header, data, ndim, shape, strides, base, dtype, flags.
    array = np.zeros((3, 5), np.int16)
    fields = (ctypes.c_size_t * 9).from_address(id(array))
    sizes = (ctypes.c_size_t * 2).from_address(fields[4])
    steps = (ctypes.c_size_t * 2).from_address(fields[5])
    known = (
        header[col.H_ARRAY_TYPE] == id(np.ndarray)
        and fields[2] == array.ctypes.data
        and fields[3] & 0xFFFFFFFF == array.ndim
        and (*sizes, *steps) == (*array.shape, *array.strides)
        and fields[7] == id(array.dtype)
        and fields[8] & 0x500 == 0x500
    )
    if not known:
        raise ImportError(f"jitgrad does not know the binary interface of NumPy {np.__version__}")
    kinds = np.array([id(d.numpy) for d in dtypes.ALL])
    header[col.H_ARRAY_KINDS] = _address(kinds)


#: The tables of ops and kernels in these slots, and the words of an op in each.
_tables: list[np.ndarray] = []
_TABLE_SLOTS = (
    col.H_OPS,
    col.H_FORWARD,
    col.H_BACKWARD,
    col.H_OTHER_FORWARD,
    col.H_OTHER_BACKWARD,
)
_TABLE_WORDS = (
    col.O_WORDS,
    _N_DTYPES,
    col.MAX_INPUTS * _N_DTYPES,
    _N_DTYPES,
    col.MAX_INPUTS * _N_DTYPES,
)


def _grow_tables(ops: int) -> None:
    """Make room for so many ops; jitted code reads the addresses anew in each call."""
    new = [np.zeros((ops, n), np.int64) for n in _TABLE_WORDS]
    for old, table in zip(_tables, new, strict=False):
        table[: len(old)] = old
    new[0][: len(OPS)] = [op_words(op) for op in OPS]
    _tables[:] = new
    for slot, table in zip(_TABLE_SLOTS, new, strict=True):
        header[slot] = _address(table)


def add_op(op: Op) -> None:
    """Let the arena know an op that was added to the table after it was started."""
    with _lock:
        if op.number >= len(_tables[0]):
            _grow_tables(2 * len(OPS))
        _tables[0][op.number] = op_words(op)


def loaded(name: str, build: Callable[[], list[tuple[Callable[..., Any], int]]]) -> list[int]:
    """Addresses of the functions of the unit of that name, from the cache or compiled now."""
    with _lock:
        companion.settle(name)
        compiled = cache.read(name)
        if compiled is None:
            from jitgrad.kernels.compiler import compile_units

            compiled = compile_units(build(), logic=name.startswith("core"))
            cache.write(name, compiled)
        return loader.load(*compiled)


#: When a unit's turn to be compiled ahead comes: what surely follows, what may.
SOON, LATER = 0, 1


def _prepare(turn: int, name: str, *what: Any) -> None:
    """Have a unit that will be asked for compiled by another process, if it is not there."""
    if cache.writable() and not cache.has(name):
        companion.ask(name, what, turn)


def units_of(kind: str, *numbers: int) -> list[tuple[Callable[..., Any], int]]:
    """What to compile for a part of the core (its number) or a kernel (op, dtype code, which)."""
    if kind == "kernel":
        from jitgrad.ops.build import kernels_of

        return [kernels_of(*numbers)]
    from jitgrad.kernels.compiler import by_name

    (number,) = numbers
    part = PARTS[number]
    units = [
        (by_name(f"jitgrad.arena.{module}:{name}"), 3) for name, module in part.modules().items()
    ]
    return units + [(by_name(f"jitgrad.arena.{r.source}"), r.arguments) for r in part.routines]


class _Entries:
    """The entries, as attributes; a part of the core is loaded when one of its is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name not in PART_OF:
            raise AttributeError(name)
        load_part(PART_OF[name])
        return self.__dict__[name]


entry: Any = _Entries()
_addresses: dict[str, int] = {}


def address_of(name: str) -> int:
    """The address of an entry's C function."""
    if name not in _addresses:
        load_part(PART_OF[name])
    return _addresses[name]


@functools.cache
def part_names() -> tuple[str, ...]:
    """The names of the core's parts in the cache."""
    # The numbers of these ops are constants in the compiled core.
    known = (op for op in OPS if op.family == VIEW or op.node == "ToCopy")
    numbers = " ".join(f"{op.name}={op.number}" for op in known)
    return tuple(f"core {part} {numbers}" for part in range(len(PARTS)))


def load_part(number: int) -> None:
    """Load a part of the core, compiled now if need be."""
    part = PARTS[number]
    modules = part.modules()
    with _lock:
        if _addresses.keys() >= modules.keys():
            return
        found = loaded(part_names()[number], partial(units_of, "core", number))
        _addresses.update(zip(modules, found, strict=False))
        for routine, address in zip(part.routines, found[len(modules) :], strict=True):
            header[routine.slot] = address
        for name in modules:
            function = loader.builtin(name, _addresses[name], _me())
            setattr(entry, name, _checked(function))


@functools.cache
def _me() -> Any:
    """What the entries get as ``self``: a capsule with the header's address."""
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    return new(H, None, None)


def _checked(function: Any) -> Any:
    """An entry that checks the arena after each call, in debug mode."""
    if not header[col.H_DEBUG]:
        return function
    from jitgrad.arena import debug

    return debug.checked(function)


def _load_core() -> None:
    """Load what every program needs, and have the rest compiled meanwhile if it is not there."""
    for number, name in enumerate(part_names()):
        if number != RECORDING:
            _prepare(SOON if number == BACKWARD else LATER, name, "core", number)
    load_part(RECORDING)


def bind(tensor: type, slot: Any) -> None:
    """Tell the arena what a Tensor is: the class and its row slot, which is hidden from Python."""
    # A member descriptor keeps its PyMemberDef* behind the header of a descriptor:
    # PyObject, d_type, d_name, d_qualname; the offset follows the name and the type code there.
    base = id(slot) + 16
    member = ctypes.c_void_p.from_address(base + 3 * 8).value
    assert member is not None
    offset = ctypes.c_ssize_t.from_address(member + 16).value
    header[col.H_SLOT] = offset
    header[col.H_TENSOR_TYPE] = id(tensor)


#: Ops whose kernels are the user's: from which kernel to its address.
own_kernels: dict[int, Callable[[int], int]] = {}


def load_kernel(number: int, dtype: int, which: int, device: int) -> None:
    """Load (compile if need be) kernel ``which`` of an op for a dtype code and a device."""
    op = OPS[number]
    if device:
        from jitgrad.cuda import kernels

        _set_kernel(1, number, dtype, which, kernels.number_of(op, dtype, which))
        return

    own = own_kernels.get(number)
    same = [which]
    if own:
        address = own(which)
    else:
        if which > 0:
            same = _served_alike(op, which)
        elif header[col.H_GRAD_MODE] and not cache.has(_unit(op, dtype, 0)):
            _prepare_gradients(op, dtype)
        name = _unit(op, dtype, same[0])
        (address,) = loaded(name, partial(units_of, "kernel", number, dtype, same[0]))
    for which in same:
        _set_kernel(0, number, dtype, which, address)


def _set_kernel(device: int, number: int, dtype: int, which: int, value: int) -> None:
    tables = _tables[3:] if device else _tables[1:3]
    if which == 0:
        tables[0][number, dtype] = value
    else:
        tables[1][number, (which - 1) * _N_DTYPES + dtype] = value


def _unit(op: Op, dtype: int, which: int) -> str:
    """The name of a kernel in the cache."""
    return f"{op!r} {dtype} {which}"


def _served_alike(op: Op, which: int) -> list[int]:
    """Which kernels of an op are one and the same: one may serve several inputs."""
    if op.family != KERNEL:
        return [which]
    return [i for i, vjp in enumerate(op.vjps, 1) if vjp == op.vjps[which - 1]]


def _prepare_gradients(op: Op, dtype: int) -> None:
    for i, vjp in enumerate(op.vjps, 1):
        if vjp and dtype >= dtypes.FIRST_FLOAT and _served_alike(op, i)[0] == i:
            _prepare(SOON, _unit(op, dtype, i), "kernel", op.number, dtype, i)


_own = threading.local()
_switching = threading.Lock()
#: The modes of the thread that the header shows, as they were when it was shown: grad, inference.
_shown = _own.modes = [1, 0]


def grad_mode() -> bool:
    """Whether operations of this thread are recorded."""
    return bool(call(entry.mode, col.H_GRAD_MODE))


def set_grad_mode(on: bool) -> bool:
    """Set this thread's mode; returns what it was."""
    try:
        return bool(entry.mode(col.H_GRAD_MODE, on))
    except Fault:
        return bool(call(entry.mode, col.H_GRAD_MODE, on))


def inference_mode() -> bool:
    """Whether this thread makes inference tensors."""
    return bool(call(entry.mode, col.H_INFERENCE))


def set_inference_mode(on: bool) -> None:
    """Set it."""
    call(entry.mode, col.H_INFERENCE, col.INFERENCE if on else 0)


def _switch_thread() -> None:
    """Show this thread's modes in the header, and keep those of the thread that was shown."""
    global _shown
    with _switching:
        mine = getattr(_own, "modes", None)
        if mine is None:
            mine = _own.modes = [1, 0]
        if mine is not _shown:
            _shown[:] = entry.take_modes(*mine)
            _shown = mine


def mend(fault: FaultWords, args: tuple[Any, ...]) -> None:
    """Put right what a fault of a call names, or raise the exception a user should see."""
    code, a, b, c, _, device = fault
    if code == col.X_KERNEL:
        load_kernel(a, b, c, device)
    elif code == col.X_THREAD:
        _switch_thread()
    elif code == col.X_PARALLEL:
        load_parallel()
    elif code == col.X_PART:
        load_part(a)
    else:
        from jitgrad import errors

        raise errors.from_fault(code, a, b, c, args)


def call(function: Any, *args: Any) -> Any:
    """Call an entry until nothing is missing any more."""
    while True:
        try:
            return function(*args)
        except Fault as fault:
            if fault.args[0] == col.X_DEVICE:
                from jitgrad.cuda import calls

                return calls.call(function, args)
            mend(fault.args, args)


#: Bits of a pass's mode, as `passes.backward` takes them.
RETAIN, COLLECT, CHOSEN, DIRECT = 1, 2, 4, 8
#: Whether somebody has put a function of theirs in the place of `run_backward`, which no pass may go round.
watched = False


def run_backward(
    mode: int, *arguments: Any, watch: Callable[[int, int], bool] | None = None
) -> Any:
    """Run a backward pass to its end: ``count, root, gradient, ..., input, ...``.

    Returns None or, in mode COLLECT, the inputs' gradients.  Where the pass stops for Python (a
    hook, a custom function), `jitgrad.autograd.stops` acts; an exception there ends the pass and gives
    back all it held.  ``watch(row, context)`` is called first at each such stop; if it returns True, the
    row is passed over.
    """
    if watch is None:
        mode |= DIRECT
    try:
        return entry.backward(mode, *arguments)
    except Fault as error:
        return go_on(mode, arguments, error.args, watch)


def go_on(
    mode: int,
    arguments: tuple[Any, ...],
    fault: FaultWords,
    watch: Callable[[int, int], bool] | None = None,
) -> Any:
    """The rest of `run_backward` after a fault of ``entry.backward(mode, *arguments)``."""
    from jitgrad.autograd import stops

    before = set_grad_mode(False)
    stash: dict[int, list[Any]] = {}
    context, gradients = 0, ()
    outer = stops.begin(not mode & CHOSEN)
    try:
        while True:
            code = fault[0]
            if header[col.H_COMMANDS_N]:
                launch()
            if code in _STOPS:
                context = fault[4]
            step: tuple[Any, ...]
            if code == col.X_LAUNCH:
                step = (entry.resume, context, 0)
            elif code == col.X_KERNEL and not _has_kernel(fault):
                step = stops.by_recipe(context, bool(mode & RETAIN))
            elif code == col.X_PYTHON:
                if watch is not None and watch(fault[1], context):
                    step = (entry.resume, context, DONE)
                else:
                    step = stops.act(context, stash, bool(mode & RETAIN))
            elif code == col.X_GIVE:
                _, _, node = call(entry.stopped, context)
                step = (entry.send, context, *stops.fitted(node, gradients))
            else:
                mend(fault, arguments[1:])
                step = (entry.resume, context, 0) if context else (entry.backward, mode, *arguments)
            gradients = step[2:]
            running, context = context, 0
            try:
                found = step[0](*step[1:])
            except Fault as error:
                fault = error.args
                if fault[0] == col.X_GIVE:
                    context = running
            else:
                stops.finish()
                return found
    finally:
        stops.end(outer)
        set_grad_mode(before)
        if context:
            entry.abort(context)
        if header[col.H_COMMANDS_N]:
            launch()


def launch() -> None:
    """Launch what waits for the GPU."""
    from jitgrad.cuda import commands

    commands.launch()


def _has_kernel(fault: FaultWords) -> bool:
    """Whether the device of a missing kernel has one; if not, the op's recipe takes its place."""
    _, number, dtype, which, _, device = fault
    if not device:
        return True
    from jitgrad.cuda import kernels

    return which == 0 or kernels.has(OPS[number], dtype, which)


#: Faults after which a backward pass waits in the header to be resumed.
_STOPS = (col.X_KERNEL, col.X_PARALLEL, col.X_PART, col.X_PYTHON, col.X_LAUNCH)


def load_parallel() -> None:
    """Launch Numba's threads; only the parallel-for of its threading layer is used, by address."""
    from jitgrad.kernels import parallel

    header[col.H_PARALLEL], header[col.H_POOL_THREADS] = parallel.launch()


def _close() -> None:
    header[col.H_CLOSED] = 1


def start() -> None:
    """Make the arena; called once, when jitgrad is imported."""
    _fill_header()
    _load_core()
    # The arena outlives every Tensor, so it is never given back: Tensors that the interpreter releases
    # after this module is gone find it closed.
    for thing in (header, *_kept):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    atexit.register(_close)
    from jitgrad.arena import blas, threads

    blas.start()
    threads.start()
