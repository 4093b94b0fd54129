"""Containers of modules: one after the other, in a list, in a dict."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jitgrad.nn.members import Members
from jitgrad.nn.module import Module, indented


def position(index: Any, n: int) -> int:
    """An index into ``n`` things counted from the front; raises IndexError."""
    index = operator.index(index)
    if not -n <= index < n:
        raise IndexError(f"index {index} is out of range")
    return index % n if n else 0


def iterable_of(what: str, values: Any) -> Any:
    """Values if they can be iterated over; raises TypeError."""
    if not isinstance(values, Iterable):
        raise TypeError(
            f"{what} should be called with an iterable, but got {type(values).__name__}"
        )
    return values


class _Listed(Module):
    """Modules under the names "0", "1", ...: what Sequential and ModuleList share."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, str(list(self._modules)[position(index, len(self))]), module)

    def __delitem__(self, index: int | slice) -> None:
        kept = list(self._modules.values())
        if not isinstance(index, slice):
            index = position(index, len(self))
        del kept[index]
        self._renumber(kept)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def _renumber(self, modules: Iterable[Any]) -> None:
        """Hold these modules and no others."""
        self._modules.clear()
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def _put(self, index: int, module: Any) -> None:
        modules = list(self._modules.values())
        modules.insert(index, module)
        self._renumber(modules)

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns the container."""
        self.add_module(str(len(self)), module)
        return self

    def pop(self, key: Any) -> Any:
        """Take a module out and return it."""
        found = list(self._modules.values())[position(key, len(self))]
        del self[key]
        return found


class Sequential(_Listed):
    """Modules that are called one after the other, each with the result of the one before.

    Parameters
    ----------
    *args : Module, or one OrderedDict
        The modules, named "0", "1", ... or by the dict's keys.

    Examples
    --------
    >>> import jitgrad
    >>> nn = jitgrad.nn
    >>> nn.Sequential(nn.Flatten(), nn.ReLU())
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): ReLU()
    )
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def forward(self, input: Any) -> Any:
        """The result of the last module."""
        for module in self._modules.values():
            input = module(input)
        return input

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return list(self._modules.values())[position(index, len(self))]

    def __add__(self, other: Any) -> Any:
        made = Sequential()
        for module in [*self, *_sequential(other)]:
            made.append(module)
        return made

    def __iadd__(self, other: Any) -> Any:
        for module in list(_sequential(other)):
            self.append(module)
        return self

    def __mul__(self, times: int) -> Any:
        made = Sequential()
        for _ in range(_factor(times, self)):
            made.extend(self)
        return made

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Any:
        modules = list(self)
        for _ in range(_factor(times, self) - 1):
            self.extend(modules)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Put a module before that position; returns the container."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Index out of range: {index}")
        self._put(index, module)
        return self

    def extend(self, sequential: Iterable[Module]) -> Any:
        """Add modules at the end; returns the container."""
        for module in list(sequential):
            self.append(module)
        return self


def _sequential(other: Any) -> Any:
    if not isinstance(other, Sequential):
        raise ValueError(
            f"add operator supports only objects of Sequential class, but {type(other)} is given."
        )
    return other


def _factor(times: Any, container: Any) -> int:
    if not isinstance(times, int):
        raise TypeError(f"unsupported operand type(s) for *: {type(container)} and {type(times)}")
    if times <= 0:
        raise ValueError(f"Non-positive multiplication factor {times} for {type(container)}")
    return times


class ModuleList(_Listed):
    """A list whose modules are registered; it has no forward of its own.

    Examples
    --------
    >>> import jitgrad
    >>> layers = jitgrad.nn.ModuleList([jitgrad.nn.ReLU() for _ in range(2)])
    >>> layers
    ModuleList(
      (0-1): 2 x ReLU()
    )
    """

    def __init__(self, modules: Iterable[Any] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self._modules.values())[index])
        return list(self._modules.values())[position(index, len(self))]

    def __add__(self, other: Iterable[Any]) -> Any:
        return ModuleList([*self, *other])

    def __iadd__(self, modules: Iterable[Any]) -> Any:
        return self.extend(modules)

    def insert(self, index: int, module: Any) -> None:
        """Put a module before that position."""
        self._put(index, module)

    def extend(self, modules: Iterable[Any]) -> Any:
        """Add modules at the end; returns the list."""
        for module in list(iterable_of("ModuleList.extend", modules)):
            self.append(module)
        return self

    def __repr__(self) -> str:
        """Neighbours that read the same stand in one line with their number."""
        groups: list[tuple[int, int, str]] = []
        for i, module in enumerate(self):
            text = repr(module)
            if groups and groups[-1][2] == text:
                groups[-1] = (groups[-1][0], i, text)
            else:
                groups.append((i, i, text))
        if not groups:
            return f"{self._get_name()}()"
        lines = []
        for first, last, text in groups:
            line = f"({first}): {text}"
            if first != last:
                line = f"({first}-{last}): {last - first + 1} x {text}"
            lines.append(indented(line, 2))
        body = "\n  ".join(lines)
        return f"{self._get_name()}(\n  {body}\n)"


class ModuleDict(Module):
    """A dict from names to modules, which are registered; it has no forward of its own."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Any) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Hold nothing."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Take a module out and return it."""
        return self._modules.pop(key)

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """Names and modules."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Take over the modules of a mapping or of an iterable of pairs."""
        for key, module in pairs("ModuleDict", modules):
            self[key] = module


def pairs(name: str, values: Any) -> list[tuple[Any, Any]]:
    """The items of a mapping, a ModuleDict or an iterable of pairs."""
    if not isinstance(values, Iterable):
        # PyTorch calls a ParameterDict so here, and only here.
        plural = name.replace("Parameter", "Parameters")
        raise TypeError(
            f"{plural}.update should be called with an iterable of key/value pairs, but got"
            f" {type(values).__name__}"
        )
    if isinstance(values, (Mapping, Members)):
        return list(values.items())
    found = []
    for i, pair in enumerate(values):
        if not isinstance(pair, Iterable):
            raise TypeError(
                f"{name} update sequence element #{i} should be Iterable; is {type(pair).__name__}"
            )
        pair = tuple(pair)
        if len(pair) != 2:
            raise ValueError(
                f"{name} update sequence element #{i} has length {len(pair)}; 2 is required"
            )
        found.append(pair)
    return found


__all__ = ["ModuleDict", "ModuleList", "Sequential"]
