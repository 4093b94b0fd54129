"""Normalizations; the kernels are in `jitgrad.kernels.layer_norm` and `jitgrad.kernels.channel_norm`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index
from typing import TYPE_CHECKING, Any

from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.dtypes import FIRST_HALF, float32, float64
from jitgrad.errors import dim_out_of_range, sizes
from jitgrad.ops import record
from jitgrad.ops.recipe import Gradients, Step, recipe
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _normalization(name: str, node: str, module: str) -> Op:
    """An op on (x, statistics, weight or bias, bias).

    The statistics are a Tensor that forward writes and backward reads; they have no gradient, that of x
    takes them into account.
    """
    kernels = f"jitgrad.kernels.{module}:{module}"
    vjps = (f"{kernels}_dx", None, f"{kernels}_daffine", f"{kernels}_daffine")
    return register(Op(name, node, KERNEL, 4, kernels, vjps, (7, 0, 7, 7)))


LAYER = _normalization("native_layer_norm", "NativeLayerNorm", "layer_norm")
RMS = _normalization("fused_rms_norm", "FusedRmsNorm", "layer_norm")
BATCH = _normalization("native_batch_norm", "NativeBatchNorm", "channel_norm")
GROUP = _normalization("native_group_norm", "NativeGroupNorm", "channel_norm")


def _affine(weight: Tensor | None, bias: Tensor | None) -> tuple[list[Tensor], int]:
    """Those that are there, and which they are."""
    found = [t for t in (weight, bias) if t is not None]
    return found, (weight is not None) | (bias is not None) << 1


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    from jitgrad.creation import empty

    # A kernel writes there, and computes 16-bit floats in float32.
    dtype = float32 if like.dtype.code >= FIRST_HALF else like.dtype
    return empty(shape, dtype=dtype, device=like.device)


def _check_floating(input: Tensor, name: str) -> None:
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"{name}\" not implemented for '{input.dtype.letter}'")


def _check_dtypes(input: Tensor, others: Sequence[Tensor | None], error: str) -> None:
    for other in others:
        if other is not None and other.dtype is not input.dtype:
            raise RuntimeError(error.format(input.dtype.letter))


def _mixed(input: Tensor, others: Sequence[Tensor | None]) -> bool:
    """Whether 16-bit numbers meet parameters in float32: both are computed with in float32 then."""
    given = [t for t in others if t is not None]
    half = input.dtype.code >= FIRST_HALF
    return half and bool(given) and all(t.dtype is float32 for t in given)


# ---------------------------------------------------------------- lines
def _line_shape(input: Tensor, normalized_shape: Any, function: str, gap: str) -> tuple[int, ...]:
    if not isinstance(normalized_shape, (tuple, list)):
        raise TypeError(
            f"{function}(): argument 'normalized_shape' (position 2) must be tuple of ints, not"
            f" {type(normalized_shape).__name__}"
        )
    shape = tuple(map(index, normalized_shape))
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one"
            " element, but got normalized_shape = []"
        )
    x = entry.shape(input)
    if x[max(len(x) - len(shape), 0) :] != shape:
        wanted = ", ".join(map(str, shape))
        raise RuntimeError(
            f"Given normalized_shape={sizes(shape)}, expected input with shape [*{gap}{wanted}], but"
            f" got input of size{sizes(x)}"
        )
    return shape


def _check_line(name: str, affine: Tensor | None, shape: tuple[int, ...]) -> None:
    if affine is not None and affine.shape != shape:
        raise RuntimeError(
            f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape"
            f" {sizes(affine.shape)} and normalized_shape = {sizes(shape)}"
        )


def _lines(
    op: Op,
    input: Tensor,
    shape: tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    affine, which = _affine(weight, bias)
    n = prod(shape)
    x = entry.shape(input)
    lines = input.numel() // n if n else 0
    inputs = [input, _empty((2, lines), input), *affine]
    attributes = (col.NONE, which, float(eps), int(op is LAYER), n, len(shape))
    return record.explicit(op, inputs, x, attributes)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """The last dims shifted and scaled to mean 0 and variance 1, then times weight, plus bias.

    Parameters
    ----------
    input : Tensor
        Floating point.
    normalized_shape : sequence of int
        The sizes of the dims over which mean and variance are taken: the last ones of ``input``.
    weight, bias : Tensor, optional
        Of that shape and the dtype of ``input``.
    eps : float
        Added to the variance.

    Raises
    ------
    RuntimeError
        If shapes or dtypes do not fit.
    TypeError
        If ``normalized_shape`` is no sequence.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([[1.0, 3.0], [5.0, 9.0]])
    >>> jitgrad.nn.functional.layer_norm(x, (2,), eps=0).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """
    shape = _line_shape(input, normalized_shape, "layer_norm", ", ")
    _check_line("weight", weight, shape)
    _check_line("bias", bias, shape)
    _check_floating(input, "LayerNormKernelImpl")
    if _mixed(input, (weight, bias)):
        return layer_norm(input.to(float32), shape, weight, bias, eps).to(input.dtype)
    _check_dtypes(
        input, (weight, bias), "mixed dtype (CPU): expect parameter to have scalar type of {}"
    )
    return _lines(LAYER, input, shape, weight, bias, eps)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """The last dims divided by the root of their mean square, then times weight.

    Arguments and errors as for `layer_norm`; ``eps`` defaults to the dtype's.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.rms_norm(jitgrad.tensor([2.0, 2.0, -2.0]), (3,)).tolist()
    [1.0, 1.0, -1.0]
    """
    shape = _line_shape(input, normalized_shape, "rms_norm", "")
    _check_line("weight", weight, shape)
    _check_floating(input, "rms_norm")
    if _mixed(input, (weight,)):
        return rms_norm(input.to(float32), shape, weight, eps).to(input.dtype)
    _check_dtypes(input, (weight,), "mixed dtype: expect weight to have scalar type of {}")
    if eps is None:
        eps = 2.0**-52 if input.dtype is float64 else 2.0**-23
    return _lines(RMS, input, shape, weight, None, eps)


# ---------------------------------------------------------------- channels
def _check_values(shape: tuple[int, ...]) -> None:
    if prod(shape) == shape[1] and shape[1] != 0:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {_size(shape)}"
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"torch.Size({sizes(shape)})"


def _channels(
    op: Op,
    input: Tensor,
    stats: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    sets: int,
    given: bool = False,
) -> Tensor:
    affine, which = _affine(weight, bias)
    attributes = (col.NONE, which, float(eps), sets, int(given))
    return record.explicit(op, [input, stats, *affine], entry.shape(input), attributes)


def _follow(running: Tensor | None, value: Tensor, momentum: float) -> None:
    """Move a running statistic towards a new value, in place."""
    if running is not None:
        running.detach().mul_(1 - momentum).add_(value, alpha=momentum)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel shifted and scaled to mean 0 and variance 1, then times weight, plus bias.

    Parameters
    ----------
    input : Tensor
        (n, channels, ...), floating point.
    running_mean, running_var : Tensor, optional
        (channels).  What is used unless ``training``; then they follow the batch's mean and (unbiased)
        variance, in place.
    weight, bias : Tensor, optional
        (channels).
    training : bool
        Whether the statistics of the batch are used.
    momentum : float
        How far the running statistics move towards the batch's.
    eps : float
        Added to the variance.

    Raises
    ------
    ValueError
        If ``training`` and there is one value per channel, or ``eps`` is not positive.
    RuntimeError
        If shapes or dtypes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([[1.0, 2.0], [3.0, 6.0]])
    >>> jitgrad.nn.functional.batch_norm(x, None, None, training=True, eps=1e-12).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """
    x = entry.shape(input)
    if len(x) < 2:
        raise dim_out_of_range(1, max(len(x), 1))
    if training:
        _check_values(x)
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    _check_floating(input, "batch_norm")
    named = {
        "running_mean": running_mean,
        "running_var": running_var,
        "weight": weight,
        "bias": bias,
    }
    for name, t in named.items():
        if t is None:
            if not training and name.startswith("running"):
                raise RuntimeError(f"{name} must be defined in evaluation mode")
        elif t.numel() != x[1]:
            raise RuntimeError(f"{name} should contain {x[1]} elements not {t.numel()}")
    others = tuple(named.values())
    if _mixed(input, others):
        wide = input.to(float32)
        y = batch_norm(wide, running_mean, running_var, weight, bias, training, momentum, eps)
        return y.to(input.dtype)
    _check_dtypes(input, others, "mixed dtype (CPU): all inputs must share same datatype.")
    if not isinstance(momentum, (int, float)):
        raise TypeError(
            "batch_norm(): argument 'momentum' (position 7) must be float, not"
            f" {type(momentum).__name__}"
        )
    if not training:
        assert running_mean is not None
        assert running_var is not None
        mean, var = running_mean.detach(), running_var.detach()
        stats = _stacked(mean, (var + eps).rsqrt())
        return _channels(BATCH, input, stats, weight, bias, eps, 0, given=True)
    stats = _empty((3, x[1]), input)
    y = _channels(BATCH, input, stats, weight, bias, eps, 0)
    n = input.numel() // max(x[1], 1)
    if n > 0:
        _follow(running_mean, stats[0], momentum)
        _follow(running_var, stats[2] * (n / (n - 1)), momentum)
    return y


def _stacked(*rows: Tensor) -> Tensor:
    from jitgrad.ops.joining import stack

    return stack(rows)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Groups of channels of each image shifted and scaled to mean 0 and variance 1; see `batch_norm`.

    Raises
    ------
    ValueError
        If a batch of one image has one value per channel.
    RuntimeError
        If the channels can't be divided into so many groups, or shapes or dtypes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([[1.0, 3.0, 5.0, 9.0]])
    >>> jitgrad.nn.functional.group_norm(x.view(1, 2, 2), 2, eps=0).tolist()
    [[[-1.0, 1.0], [-1.0, 1.0]]]
    """
    x = entry.shape(input)
    if len(x) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {len(x)}")
    if num_groups == 0:
        raise ZeroDivisionError("integer division or modulo by zero")
    if num_groups < 0:
        raise RuntimeError(
            f"Expected num groups to be greater than 0, got {num_groups} (input {sizes(x)})"
        )
    groups_of = (x[0] * x[1] // num_groups, num_groups, *x[2:])
    if prod(groups_of) == groups_of[1] and prod(groups_of):
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size"
            f" {sizes(groups_of)}"
        )
    if x[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of"
            f" shape {sizes(x)} and num_groups={num_groups}"
        )
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.shape != (x[1],):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input,"
                f" but got {name} of shape {sizes(t.shape)} and input of shape {sizes(x)}"
            )
    _check_floating(input, "GroupNormKernelImpl")
    if _mixed(input, (weight, bias)):
        return group_norm(input.to(float32), num_groups, weight, bias, eps).to(input.dtype)
    _check_dtypes(
        input, (weight, bias), "mixed dtype (CPU): expect parameter to have scalar type of {}"
    )
    stats = _empty((3, x[0] * num_groups), input)
    return _channels(GROUP, input, stats, weight, bias, eps, num_groups)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of each image shifted and scaled to mean 0 and variance 1; see `batch_norm`.

    Raises
    ------
    ValueError
        If a channel has one element.
    RuntimeError
        If there are no running statistics although they are to be used, or shapes or dtypes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.instance_norm(jitgrad.tensor([[[1.0, 3.0]]]), eps=0).tolist()
    [[[-1.0, 1.0]]]
    """
    x = entry.shape(input)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "Expected running_mean and running_var to be defined when use_input_stats is false"
            )
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    elements = prod(x[2:])
    if elements == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {_size(x)}"
        )
    _check_floating(input, "batch_norm")
    named = {
        "running_mean": running_mean,
        "running_var": running_var,
        "weight": weight,
        "bias": bias,
    }
    for name, t in named.items():
        if t is not None and t.numel() != x[1]:
            raise RuntimeError(
                f"{name} should contain {x[0] * x[1]} elements not {x[0] * t.numel()}"
            )
    others = tuple(named.values())
    if _mixed(input, others):
        wide = input.to(float32)
        y = instance_norm(wide, running_mean, running_var, weight, bias, True, momentum, eps)
        return y.to(input.dtype)
    _check_dtypes(input, others, "mixed dtype (CPU): all inputs must share same datatype.")
    stats = _empty((3, x[0] * x[1]), input)
    y = _channels(GROUP, input, stats, weight, bias, eps, x[1])
    if input.numel() > 0:
        means = stats.view(3, x[0], x[1]).mean(1)
        _follow(running_mean, means[0], momentum)
        _follow(running_var, means[2] * (elements / (elements - 1)), momentum)
    return y


# ---------------------------------------------------------------- recipes (`jitgrad.ops.recipe`)
def _normalized(x: Tensor, dims: list[int], centred: bool, eps: float) -> tuple[Tensor, Tensor]:
    """For the gradients: x normalized over dims, and 1 / deviation."""
    far = x - x.mean(dims, keepdim=True) if centred else x
    scale = ((far * far).mean(dims, keepdim=True) + eps).rsqrt()
    return far * scale, scale


def _slope(h: Tensor, y: Tensor, scale: Tensor, dims: list[int], centred: bool) -> Tensor:
    """The gradient of x, from that of x normalized."""
    dx = h - y * (h * y).mean(dims, keepdim=True)
    return (dx - h.mean(dims, keepdim=True) if centred else dx) * scale


def _parts(step: Step, dx: Tensor | None, dw: Any, db: Any) -> Gradients:
    """The gradients in the order of the inputs; those of weight and bias are made if they are wanted."""
    found: list[Tensor | None] = [dx, None]
    which = step.integer(1)
    for bit, make in ((1, dw), (2, db)):
        if which & bit:
            found.append(make() if step.wants(len(found)) else None)
    return found


@recipe(LAYER, RMS)
def _line_recipe(step: Step, g: Tensor) -> Gradients:
    ndim = len(step.shape)
    first = ndim - step.integer(5)
    dims, lead = [*range(first, ndim)], [*range(first)]
    centred = bool(step.integer(3))
    x = step.saved(0)
    y, scale = _normalized(x, dims, centred, step.real(2))
    h = g * step.saved(2) if step.integer(1) & 1 else g
    dx = _slope(h, y, scale, dims, centred) if step.wants(0) else None
    return _parts(
        step,
        dx,
        lambda: (g * y).sum(lead) if lead else g * y,
        lambda: g.sum(lead) if lead else g,
    )


@recipe(BATCH, GROUP)
def _channel_recipe(step: Step, g: Tensor) -> Gradients:
    shape = step.shape
    groups = step.integer(3)
    # As (images, sets, channels of a set, elements of a channel).
    wide = (shape[0], groups, shape[1] // groups, -1) if groups else (shape[0], 1, shape[1], -1)
    dims = [2, 3] if groups else [0, 3]
    per_channel = (1, wide[1], wide[2], 1)
    x, g4 = step.saved(0).reshape(wide), g.reshape(wide)
    h = g4 * step.saved(2).reshape(per_channel) if step.integer(1) & 1 else g4
    if step.integer(4):
        stats = step.saved(1)
        scale = stats[1].reshape(per_channel)
        y = (x - stats[0].reshape(per_channel)) * scale
        dx = h * scale
    else:
        y, scale = _normalized(x, dims, True, step.real(2))
        dx = _slope(h, y, scale, dims, True)
    return _parts(
        step,
        dx.reshape(shape) if step.wants(0) else None,
        lambda: (g4 * y).sum([0, 3]).reshape(shape[1]),
        lambda: g4.sum([0, 3]).reshape(shape[1]),
    )
