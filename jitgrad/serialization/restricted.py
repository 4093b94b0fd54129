"""A machine for pickles that can build plain data and what a table of names makes, and nothing else.

Python's own unpickler calls whatever a pickle names, and also lets it set attributes of what it has made.
Here a name is a token: it can be called only if it stands in the table, and then the table's function
runs.  Opcodes that state dicts have no use for are refused.
"""

from __future__ import annotations

import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

#: What a pickle may name, and what calling it does (None: it is a value, not to be called).
Table = dict[str, Callable[..., Any] | None]


class Name:
    """A global that a pickle names."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class _Mark:
    """Where the items of the next container begin."""


_MARK = _Mark()
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE"
    " BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def hashable(key: Any) -> Any:
    """A key, if it is a plain value: a tuple of tuples of ... could take for ever to be hashed.

    Raises
    ------
    TypeError
        If it is not.
    """
    plain = (str, bytes, int, float, bool, type(None))
    if not isinstance(key, plain):
        if type(key) is not tuple or not all(isinstance(part, plain) for part in key):
            raise TypeError(f"a {type(key).__name__} as a key")
    return key


def _refuse(what: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(
        f"refused to load a pickle that {what}; only tensors, numbers, strings and plain containers are"
        " loaded, and no code is run"
    )


class Machine:
    """Runs one pickle.

    Parameters
    ----------
    table : dict
        What may be named.
    persistent : callable
        What a persistent id stands for.
    """

    def __init__(self, table: Table, persistent: Callable[[Any], Any]) -> None:
        self.table = table
        self.persistent = persistent
        self.stack: list[Any] = []
        # A dict: a pickle may name a memo place of any size.
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """The value of a pickle.

        Raises
        ------
        pickle.UnpicklingError
            If it asks for something that is not allowed, which is named, or is no complete pickle.
        """
        try:
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name == "STOP":
                    (value,) = self.stack
                    return value
                self._step(opcode.name, argument)
        except pickle.UnpicklingError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise pickle.UnpicklingError(f"the pickle is damaged: {error}") from None
        raise pickle.UnpicklingError("the pickle has no end")

    def _since_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise IndexError("a mark is missing")

    def _top(self, *kinds: type) -> Any:
        if not isinstance(self.stack[-1], kinds):
            raise TypeError(f"items for a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def _step(self, op: str, argument: Any) -> None:
        stack = self.stack
        if op in _LITERALS:
            stack.append(argument)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op]())
        elif op in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif op == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif op == "MARK":
            stack.append(_MARK)
        elif op in _SIZES:
            count = _SIZES[op]
            if len(stack) < count:
                raise IndexError("the stack is too short")
            stack[-count:] = [tuple(stack[-count:])]
        elif op == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif op in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if op == "SETITEMS" else [stack.pop(-2), stack.pop()]
            target = self._top(dict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[hashable(key)] = value
        elif op in ("APPEND", "APPENDS"):
            items = self._since_mark() if op == "APPENDS" else [stack.pop()]
            self._top(list).extend(items)
        elif op == "ADDITEMS":
            items = self._since_mark()
            self._top(set).update(hashable(item) for item in items)
        elif op == "GLOBAL":
            self._name(*argument.split(" ", 1))
        elif op == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            self._name(module, name)
        elif op == "BINPERSID":
            stack.append(self.persistent(stack.pop()))
        elif op in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._call(function, arguments))
        elif op == "BUILD":
            self._build(stack.pop())
        elif op not in ("PROTO", "FRAME"):
            raise _refuse(f"has the opcode {op}")

    def _name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise TypeError("a global whose name is no string")
        full = f"{module}.{name}"
        if full not in self.table:
            raise _refuse(f"asks for the global {full[:120]}")
        self.stack.append(Name(full))

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name):
            raise _refuse(f"calls a {type(function).__name__}")
        call = self.table[function.name]
        if call is None:
            raise _refuse(f"calls the global {function.name}")
        if type(arguments) is not tuple:
            raise TypeError("the arguments of a call are no tuple")
        return call(*arguments)

    def _build(self, state: Any) -> None:
        """Only the metadata of a module's state dict may be set."""
        target = self.stack[-1]
        if type(target) is not OrderedDict or type(state) is not dict or set(state) - {"_metadata"}:
            name = target.name if isinstance(target, Name) else type(target).__name__
            raise _refuse(f"sets attributes of {name}")
        vars(target).update(state)
