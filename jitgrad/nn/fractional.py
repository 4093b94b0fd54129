"""Max pooling over windows that lie at random, as layers."""

from __future__ import annotations

from typing import Any, ClassVar

from jitgrad.nn import functional as F
from jitgrad.nn.conv import spread
from jitgrad.nn.module import Module
from jitgrad.tensor import Tensor


class _FractionalMaxPool(Module):
    _dims: ClassVar[int]
    _function: ClassVar[Any]

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        n = self._dims
        if (output_size is None) == (output_ratio is None):
            if output_size is not None:
                raise ValueError("only one of output_size and output_ratio may be specified")
            raise ValueError(
                f"{type(self).__name__} requires specifying either an output size, or a pooling ratio"
            )
        self.kernel_size, self.return_indices = spread(kernel_size, n), return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else spread(output_size, n)
        self.output_ratio = None if output_ratio is None else spread(output_ratio, n)
        if self.output_ratio and not all(0 < r < 1 for r in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        """(N, C, ...) or (C, ...); with ``return_indices`` also the places of the largest."""
        return type(self)._function(
            input,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            _random_samples=self._random_samples,
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest element of each window; where the windows lie is random (Graham 2014).

    Parameters
    ----------
    kernel_size : int or tuple of int
        Size of the windows.
    output_size : int or tuple of int, optional
        Of the result.
    output_ratio : float or tuple of float, optional
        Or its size over that of the input, between 0 and 1.
    return_indices : bool
        Whether the places are returned as well.

    Raises
    ------
    ValueError
        If not exactly one of size and ratio is given, or a ratio is not between 0 and 1.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.FractionalMaxPool2d(2, output_ratio=0.7)(jitgrad.randn(1, 2, 10, 10)).shape
    jitgrad.Size([1, 2, 7, 7])
    """

    _dims, _function = 2, staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPool):
    """`FractionalMaxPool2d` in three dims."""

    _dims, _function = 3, staticmethod(F.fractional_max_pool3d)


__all__ = ["FractionalMaxPool2d", "FractionalMaxPool3d"]
