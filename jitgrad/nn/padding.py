"""Padding as layers: how much goes before and after each dim, the last dim first."""

from __future__ import annotations

from typing import Any, ClassVar

from jitgrad.nn import functional as F
from jitgrad.nn.conv import spread
from jitgrad.nn.module import Module
from jitgrad.tensor import Tensor


class _Pad(Module):
    _dims: ClassVar[int]
    _mode: ClassVar[str]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = spread(padding, 2 * self._dims)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) or (C, ...)."""
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        """The argument."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    _mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """Any number of dims."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The argument."""
        return f"{self.padding}"


class ConstantPad1d(_ConstantPad):
    """A number on both sides of the last dim."""

    _dims = 1


class ConstantPad2d(_ConstantPad):
    """A number on both sides of the last two dims.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.ConstantPad2d((1, 0, 0, 1), 7)(jitgrad.zeros(1, 1, 2))
    tensor([[[7., 0., 0.],
             [7., 7., 7.]]])
    """

    _dims = 2


class ConstantPad3d(_ConstantPad):
    """A number on both sides of the last three dims."""

    _dims = 3


class ZeroPad1d(_ZeroPad):
    """Zeros on both sides of the last dim."""

    _dims = 1


class ZeroPad2d(_ZeroPad):
    """Zeros on both sides of the last two dims."""

    _dims = 2


class ZeroPad3d(_ZeroPad):
    """Zeros on both sides of the last three dims."""

    _dims = 3


class ReflectionPad1d(_Pad):
    """The last dim mirrored at its ends, which are not repeated."""

    _dims, _mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """The last two dims mirrored at their ends, which are not repeated."""

    _dims, _mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """The last three dims mirrored at their ends, which are not repeated."""

    _dims, _mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The ends of the last dim repeated."""

    _dims, _mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The ends of the last two dims repeated."""

    _dims, _mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The ends of the last three dims repeated."""

    _dims, _mode = 3, "replicate"


class _CircularPad(_Pad):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) or (C, ...)."""
        if input.ndim - self._dims not in (1, 2):
            raise ValueError(
                f"expected {self._dims + 1}D or {self._dims + 2}D input (got {input.ndim}D input)"
            )
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """The last dim as if it went round in a circle."""

    _dims = 1


class CircularPad2d(_CircularPad):
    """The last two dims as if they went round in circles."""

    _dims = 2


class CircularPad3d(_CircularPad):
    """The last three dims as if they went round in circles."""

    _dims = 3


__all__ = [
    f"{kind}Pad{n}d"
    for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero")
    for n in (1, 2, 3)
]
