"""The Python side of the arena: loads the entries, brings in kernels when asked.

``entry.pointwise``, ``entry.backward``, ... are builtins over jitted functions (`jitgrad.arena.parts`).
They raise `Fault` when something is missing or wrong; `mend` loads what is missing or raises what a user
should see, and `call` is the loop of the two.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.contexts import DONE
from jitgrad.arena.header import Fault, FaultWords, H, fill, header, kept, note_op, set_kernel
from jitgrad.arena.parts import BACKWARD, PART_OF, PARTS, RECORDING
from jitgrad.kernels import cache, companion, loader
from jitgrad.ops.table import KERNEL, OPS, VIEW, Op

_lock = threading.RLock()


def renew_lock() -> None:
    """Make a new lock: after a fork another thread, which is not there, may have held the old one."""
    global _lock, _switching
    _lock, _switching = threading.RLock(), threading.Lock()


def add_op(op: Op) -> None:
    """Let the arena know an op that was added to the table after it was started."""
    with _lock:
        note_op(op)


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

        set_kernel(1, number, dtype, which, kernels.number_of(op, dtype, which))
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
        set_kernel(0, number, dtype, which, address)


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
    fill()
    _load_core()
    # The arena outlives every Tensor, so it is never given back: Tensors that the interpreter releases
    # after this module is gone find it closed.
    for thing in (header, *kept):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    atexit.register(_close)
    from jitgrad.arena import blas, threads

    blas.start()
    threads.start()
