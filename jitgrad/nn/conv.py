"""Convolutions as layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from jitgrad import creation
from jitgrad.nn import functional as F
from jitgrad.nn import init
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter
from jitgrad.tensor import Tensor

_MODES = ("zeros", "reflect", "replicate", "circular")


def spread(value: Any, n: int) -> tuple[Any, ...]:
    """A value for each of ``n`` dims: the same, unless several are given."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * n


class _ConvNd(Module):
    """What all convolutions keep, and how their parameters begin."""

    #: Number of dims that the kernel moves along.
    _dims: ClassVar[int]
    _transposed: ClassVar[bool] = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        output_padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        n = self._dims
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        for name, count in (("in", in_channels), ("out", out_channels)):
            if count % groups:
                raise ValueError(f"{name}_channels must be divisible by groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = spread(kernel_size, n), spread(stride, n)
        self.padding: Any = padding if isinstance(padding, str) else spread(padding, n)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(
                    f"Invalid padding string {padding!r}, should be one of 'same' and 'valid'"
                )
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _MODES:
            raise ValueError(
                f"padding_mode must be one of {_MODES}, but got padding_mode='{padding_mode}'"
            )
        self.dilation, self.padding_mode = spread(dilation, n), padding_mode
        self.transposed, self.output_padding = self._transposed, spread(output_padding, n)
        self.weight = Parameter(creation.empty(*self._weight_shape(), dtype=dtype, device=device))
        made = Parameter(creation.empty(out_channels, dtype=dtype, device=device))
        self.register_parameter("bias", made if bias else None)
        self.reset_parameters()

    def _weight_shape(self) -> tuple[int, ...]:
        first, second = self.out_channels, self.in_channels
        if self._transposed:
            first, second = second, first
        return first, second // self.groups, *self.kernel_size

    def reset_parameters(self) -> None:
        """Draw the parameters anew: uniform within ``1 / sqrt(fan_in)`` of 0."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """The arguments that are not the defaults."""
        n = self._dims
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        for name, default in (
            ("padding", (0,) * n),
            ("dilation", (1,) * n),
            ("output_padding", (0,) * n),
            ("groups", 1),
        ):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Forward(_ConvNd):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _around(self) -> list[int]:
        """How much is put before and after each dim, the last dim first, as `pad` wants it."""
        found: list[int] = []
        for d in reversed(range(self._dims)):
            if self.padding == "valid":
                found += [0, 0]
            elif self.padding == "same":
                total = self.dilation[d] * (self.kernel_size[d] - 1)
                found += [total // 2, total - total // 2]
            else:
                found += [self.padding[d], self.padding[d]]
        return found

    def _convolve(self, function: Any, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            pad: Any = F.pad
            input, padding = pad(input, self._around(), mode=self.padding_mode), 0
        return function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv1d(_Forward):
    """Convolution in one dim; see `Conv2d`."""

    _dims = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) or (C, L)."""
        return self._convolve(F.conv1d, input)


class Conv2d(_Forward):
    """Convolution in two dims.

    Parameters
    ----------
    in_channels, out_channels : int
        Number of channels of the input and of the result.
    kernel_size, stride, dilation : int or (int, int)
        Size of the kernel, its steps, and the distance between its elements.
    padding : int, (int, int), "valid" or "same"
        How much is put on each side; "same" keeps the size.
    groups : int
        In how many groups, computed apart, the channels are.
    bias : bool
        Whether there is a bias.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What is put there.

    Attributes
    ----------
    weight : Parameter
        (out_channels, in_channels // groups, *kernel_size), uniform within ``1 / sqrt(fan_in)`` of 0.
    bias : Parameter or None
        (out_channels), likewise.

    Raises
    ------
    ValueError
        If the channels are not divisible by the groups, or a padding is unknown.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.Conv2d(3, 8, 3, padding=1)(jitgrad.ones(2, 3, 5, 5)).shape
    jitgrad.Size([2, 8, 5, 5])
    """

    _dims = 2

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) or (C, H, W)."""
        return self._convolve(F.conv2d, input)


class Conv3d(_Forward):
    """Convolution in three dims; see `Conv2d`."""

    _dims = 3

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, D, H, W) or (C, D, H, W)."""
        return self._convolve(F.conv3d, input)


# ---------------------------------------------------------------- transposed
class _ConvTransposeNd(_ConvNd):
    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _convolve(self, function: Any, input: Tensor, output_size: Any) -> Tensor:
        return function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self._more(input, output_size),
            self.groups,
            self.dilation,
        )

    def _more(self, input: Tensor, output_size: Any) -> Any:
        """The output padding that leads to a size."""
        if output_size is None:
            return self.output_padding
        n, before = self._dims, input.ndim - self._dims
        wanted = list(output_size)
        if len(wanted) == n + before:
            wanted = wanted[before:]
        if len(wanted) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.ndim}D input, output_size must have {n} or"
                f" {before + n} elements (got {len(wanted)})"
            )
        least = [
            (input.shape[before + d] - 1) * self.stride[d]
            - 2 * self.padding[d]
            + self.dilation[d] * (self.kernel_size[d] - 1)
            + 1
            for d in range(n)
        ]
        most = [a + self.stride[d] - 1 for d, a in enumerate(least)]
        if any(not a <= w <= b for a, w, b in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most}"
                f" (for an input of {input.shape[2:]})"
            )
        return tuple(w - a for w, a in zip(wanted, least, strict=True))


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution in one dim; see `ConvTranspose2d`."""

    _dims = 1

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """(N, C, L) or (C, L)."""
        return self._convolve(F.conv_transpose1d, input, output_size)


class ConvTranspose2d(_ConvTransposeNd):
    """The map that takes a convolution's output gradient to its input gradient, as a layer.

    Parameters are those of `Conv2d`, and ``output_padding``, which adds to one side of the result.
    ``forward`` takes the result's size where several are possible.

    Attributes
    ----------
    weight : Parameter
        (in_channels, out_channels // groups, *kernel_size).
    bias : Parameter or None
        (out_channels).

    Examples
    --------
    >>> import jitgrad
    >>> up = jitgrad.nn.ConvTranspose2d(3, 8, 2, stride=2)
    >>> up(jitgrad.ones(2, 3, 5, 5)).shape
    jitgrad.Size([2, 8, 10, 10])
    """

    _dims = 2

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """(N, C, H, W) or (C, H, W)."""
        return self._convolve(F.conv_transpose2d, input, output_size)


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution in three dims; see `ConvTranspose2d`."""

    _dims = 3

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """(N, C, D, H, W) or (C, D, H, W)."""
        return self._convolve(F.conv_transpose3d, input, output_size)


__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
]
