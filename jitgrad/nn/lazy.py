"""Layers that learn the size of their input from the first one, and become ordinary layers then."""

from __future__ import annotations

from typing import Any, ClassVar

from jitgrad import dtypes
from jitgrad.autograd.grad_mode import no_grad
from jitgrad.creation import tensor
from jitgrad.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from jitgrad.nn.linear import Linear
from jitgrad.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from jitgrad.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from jitgrad.tensor import Tensor


class LazyModuleMixin:
    """What lazy modules have in common; a class of one's own derives from it and from a `Module`.

    It makes `UninitializedParameter`\\ s in ``__init__`` and gives them their shapes in
    ``initialize_parameters``, which gets the arguments of the first call.  Its class then becomes
    ``cls_to_become``, unless that is None.
    """

    cls_to_become: ClassVar[type | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        module: Any = self
        hook = module.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)
        self._infer_hook: int | None = hook.id

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters their shapes; to be written by the subclass."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether there are parameters or buffers of its own without a shape."""
        module: Any = self
        return any(is_lazy(x) for x in (*module._parameters.values(), *module._buffers.values()))

    def _infer_parameters(self, module: Any, args: Any, kwargs: Any = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {module._get_name()} has not been fully initialized")
        module._forward_pre_hooks.pop(module._infer_hook)
        del module._infer_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        module: Any = self
        lazy = {name: x for name, x in module._own_state().items() if is_lazy(x)}
        for name, x in module._own_state().items():
            destination[prefix + name] = x if keep_vars or name in lazy else x.detach()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        module: Any = self
        own = module._own_state()
        given = dict(state_dict)
        for name, x in own.items():
            value = state_dict.get(prefix + name)
            if not is_lazy(x) or not isinstance(value, Tensor):
                continue
            if is_lazy(value):
                # Nothing on both sides: there is nothing to copy.
                given[prefix + name] = None
            else:
                with no_grad():
                    x.materialize(value.shape)
        kept = {name: own[name] for name in own if given.get(prefix + name, 0) is None}
        for name in kept:
            state_dict.pop(prefix + name)
        base: Any = super()
        base._load_from_state_dict(state_dict, prefix, *rest)
        missing = rest[2]
        missing[:] = [key for key in missing if key[len(prefix) :] not in kept]


class _LazyLinear(LazyModuleMixin):
    def reset_parameters(self) -> None:
        """Draw the parameters anew, if there are any."""
        module: Any = self
        if not self.has_uninitialized_params() and all(p.numel() for p in module.parameters()):
            base: Any = super()
            base.reset_parameters()


class LazyLinear(_LazyLinear, Linear):
    """`Linear` whose ``in_features`` is the last dim of its first input.

    Examples
    --------
    >>> import jitgrad
    >>> m = jitgrad.nn.LazyLinear(3)
    >>> m(jitgrad.ones(4, 2)).shape
    jitgrad.Size([4, 3])
    >>> m
    Linear(in_features=2, out_features=3, bias=True)
    """

    cls_to_become = Linear

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor) -> None:
        """Take the size of the input."""
        if self.has_uninitialized_params():
            with no_grad():
                self.in_features = input.shape[-1]
                self.weight.materialize((self.out_features, self.in_features))
                if self.bias is not None:
                    self.bias.materialize((self.out_features,))
                self.reset_parameters()
        self.in_features = self.in_features or input.shape[-1]


class _LazyConv(_LazyLinear):
    def __init__(
        self,
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
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode)
        self._await(out_channels, bias, device, dtype)

    def _await(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        self.weight: Any = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias: Any = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Take the number of channels of the input."""
        module: Any = self
        n = module._dims + 1
        if input.ndim not in (n, n + 1):
            raise RuntimeError(
                f"Expected {n}D (unbatched) or {n + 1}D (batched) input to {type(self).__name__}, but"
                f" got input of size: {input.shape}"
            )
        channels = input.shape[input.ndim - n]
        if self.has_uninitialized_params():
            module.in_channels = channels
            if channels % module.groups:
                raise ValueError("in_channels must be divisible by groups")
            with no_grad():
                self.weight.materialize(module._weight_shape())
                if self.bias is not None:
                    self.bias.materialize((self.out_channels,))
                self.reset_parameters()
        module.in_channels = module.in_channels or channels


class _LazyTransposed(_LazyConv):
    def __init__(
        self,
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
        LazyModuleMixin.__init__(
            self,
            0,
            0,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            False,
            dilation,
            padding_mode,
        )
        self._await(out_channels, bias, device, dtype)


class LazyConv1d(_LazyConv, Conv1d):
    """`Conv1d` whose ``in_channels`` is that of its first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """`Conv2d` whose ``in_channels`` is that of its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """`Conv3d` whose ``in_channels`` is that of its first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyTransposed, ConvTranspose1d):
    """`ConvTranspose1d` whose ``in_channels`` is that of its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyTransposed, ConvTranspose2d):
    """`ConvTranspose2d` whose ``in_channels`` is that of its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyTransposed, ConvTranspose3d):
    """`ConvTranspose3d` whose ``in_channels`` is that of its first input."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(_LazyLinear):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False)
        module: Any = self
        module.affine, module.track_running_stats = affine, track_running_stats
        if affine:
            module.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                module.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            module.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            module.running_var = UninitializedBuffer(device=device, dtype=dtype)
            module.num_batches_tracked = tensor(0, dtype=dtypes.int64)

    def initialize_parameters(self, input: Tensor) -> None:
        """Take the number of channels of the input."""
        module: Any = self
        if self.has_uninitialized_params():
            module.num_features = input.shape[1]
            for x in (module.weight, module.bias, module.running_mean, module.running_var):
                if x is not None:
                    x.materialize((module.num_features,))
            self.reset_parameters()
        module.num_features = module.num_features or input.shape[1]


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """`BatchNorm1d` whose ``num_features`` is that of its first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """`BatchNorm2d` whose ``num_features`` is that of its first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """`BatchNorm3d` whose ``num_features`` is that of its first input."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """`InstanceNorm1d` whose ``num_features`` is that of its first input."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """`InstanceNorm2d` whose ``num_features`` is that of its first input."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """`InstanceNorm3d` whose ``num_features`` is that of its first input."""

    cls_to_become = InstanceNorm3d


__all__ = ["LazyLinear"]
__all__ += [f"Lazy{kind}{n}d" for kind in ("BatchNorm", "InstanceNorm") for n in (1, 2, 3)]
__all__ += [f"Lazy{kind}{n}d" for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)]
