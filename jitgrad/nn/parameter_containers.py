"""Containers of parameters: in a list, in a dict."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jitgrad.nn.containers import iterable_of, pairs, position
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter
from jitgrad.tensor import Tensor


def _registered(value: Any) -> Any:
    """Tensors become parameters; other values stay what they are."""
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        return Parameter(value)
    return value


def _described(value: Any, kind: str) -> str:
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    size = "x".join(str(n) for n in value.shape)
    return f"Parameter containing: [{kind} of size {size}]"


class ParameterList(Module):
    """A list of parameters, which are registered; tensors become parameters, other values may be in it.

    Examples
    --------
    >>> import jitgrad
    >>> scales = jitgrad.nn.ParameterList([jitgrad.ones(2), jitgrad.ones(3)])
    >>> [name for name, _ in scales.named_parameters()]
    ['0', '1']
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """RuntimeError: it only holds things."""
        raise RuntimeError("ParameterList should not be called.")

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)([getattr(self, str(i)) for i in range(len(self))[index]])
        return getattr(self, str(position(index, len(self))))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, str(position(index, len(self))), _registered(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter(self[i] for i in range(len(self)))

    def __iadd__(self, values: Iterable[Any]) -> Any:
        return self.extend(values)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def append(self, value: Any) -> Any:
        """Add a value at the end; returns the list."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Any:
        """Add values at the end; returns the list."""
        if isinstance(values, Tensor):
            raise TypeError(
                "ParameterList.extend should be called with an iterable, but got Tensor"
            )
        for value in list(iterable_of("ParameterList.extend", values)):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """A line for each value."""
        lines = []
        for i, value in enumerate(self):
            kind = f"torch.{value.dtype.name}" if isinstance(value, Tensor) else ""
            lines.append(f"  ({i}): {_described(value, kind)}")
        return "\n".join(lines)


class ParameterDict(Module):
    """A dict of parameters, which are registered; tensors become parameters, other values may be in it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """RuntimeError: it only holds things."""
        raise RuntimeError("ParameterDict should not be called.")

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, self._checked(key))

    def __setitem__(self, key: str, value: Any) -> None:
        self._keys[self._checked(key)] = None
        value = _registered(value)
        if isinstance(value, Tensor) and key not in self._parameters:
            self.register_parameter(key, value)  # type: ignore[arg-type]
        else:
            setattr(self, key, value)

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    @staticmethod
    def _checked(key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(
                "Index given to ParameterDict cannot be used as a key as it is not a string (type is"
                f" '{type(key).__name__}'). Open an issue on github if you need non-string keys."
            )
        return key

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def copy(self) -> ParameterDict:
        """Another ParameterDict of the same parameters."""
        return ParameterDict(OrderedDict((key, self[key]) for key in self._keys))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """What is there; ``default``, which is put there, if nothing is."""
        if key not in self:
            self[key] = default
        return self[key]

    def get(self, key: str, default: Any = None) -> Any:
        """What is there, or ``default``."""
        return self[key] if key in self else default

    def pop(self, key: str) -> Any:
        """Take a value out and return it."""
        found = self[key]
        del self[key]
        return found

    def popitem(self) -> tuple[str, Any]:
        """Take the last key and value out and return them."""
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Hold nothing."""
        for key in list(self._keys):
            del self[key]

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A ParameterDict with these keys and one value for all."""
        return ParameterDict([(key, default) for key in keys])

    def keys(self) -> Iterable[str]:
        """The keys."""
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Keys and values."""
        return ((key, self[key]) for key in self._keys)

    def values(self) -> Iterable[Any]:
        """The values."""
        return (self[key] for key in self._keys)

    def update(self, parameters: Any) -> None:
        """Take over the values of a mapping (a plain dict in the order of its keys) or of pairs."""
        found = pairs("ParameterDict", parameters)
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            found = sorted(found)
        for key, value in found:
            self[key] = value

    def __or__(self, other: ParameterDict) -> ParameterDict:
        made = self.copy()
        made.update(OrderedDict(other.items()))
        return made

    def __ror__(self, other: ParameterDict) -> ParameterDict:
        made = ParameterDict(OrderedDict(other.items()))
        made.update(self)
        return made

    def __ior__(self, other: ParameterDict) -> Any:
        self.update(OrderedDict(other.items()))
        return self

    def extra_repr(self) -> str:
        """A line for each value."""
        lines = []
        for key, value in self.items():
            kind = value.type() if isinstance(value, Tensor) else ""
            lines.append(f"  ({key}): {_described(value, kind)}")
        return "\n".join(lines)


__all__ = ["ParameterDict", "ParameterList"]
