"""`weight_norm` and `spectral_norm` of old: a hook computes the weight before every call.

Newer code uses those of `parametrizations`.
"""

from __future__ import annotations

import warnings
from typing import Any

from jitgrad.autograd.grad_mode import no_grad
from jitgrad.nn.functional.distances import normalize
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter
from jitgrad.nn.utils.parametrizations import length
from jitgrad.random import randn
from jitgrad.tensor import Tensor


class _Reweighted:
    """The hook; subclasses say what the weight is computed from."""

    kind: str

    def __init__(self, name: str) -> None:
        self.name = name

    def compute_weight(self, module: Any) -> Tensor:
        """The weight, from what the module has instead of it."""
        raise NotImplementedError

    def __call__(self, module: Any, args: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))

    def attach(self, module: Module) -> None:
        """Take the weight's place."""
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, type(self)) and hook.name == self.name:
                raise RuntimeError(
                    f"Cannot register two {self.kind} hooks on the same parameter {self.name}"
                )
        weight = getattr(module, self.name)
        del module._parameters[self.name]
        self.split(module, weight)
        module.register_forward_pre_hook(self)

    def split(self, module: Any, weight: Tensor) -> None:
        """Give the module what the weight is computed from."""
        raise NotImplementedError


def _detach(module: Any, kind: type[_Reweighted], name: str) -> _Reweighted:
    """The hook of a weight, taken away."""
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, kind) and hook.name == name:
            del module._forward_pre_hooks[key]
            return hook
    raise ValueError(f"{kind.kind} of '{name}' not found in {module}")


# ---------------------------------------------------------------- length and direction
class WeightNorm(_Reweighted):
    """What `weight_norm` registers."""

    kind = "weight_norm"

    def __init__(self, name: str, dim: int | None) -> None:
        super().__init__(name)
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Any) -> Tensor:
        """The direction at the length."""
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return v * (g / length(v, self.dim))

    def split(self, module: Any, weight: Tensor) -> None:
        """Register length and direction."""
        with no_grad():
            found = length(weight, self.dim)
        module.register_parameter(f"{self.name}_g", Parameter(found))
        module.register_parameter(f"{self.name}_v", Parameter(weight.detach()))
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Have a weight computed before every call from ``name_g``, its length, and ``name_v``, its direction.

    Examples
    --------
    >>> import jitgrad, warnings
    >>> warnings.simplefilter("ignore")
    >>> list(jitgrad.nn.utils.weight_norm(jitgrad.nn.Linear(2, 3)).state_dict())
    ['bias', 'weight_g', 'weight_v']
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of"
        " `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    WeightNorm(name, dim).attach(module)
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Make the weight a parameter again; ValueError if it was none of `weight_norm`."""
    hook = _detach(module, WeightNorm, name)
    weight = hook.compute_weight(module).detach()
    for gone in (name, f"{name}_g", f"{name}_v"):
        delattr(module, gone)
    setattr(module, name, Parameter(weight))
    return module


# ---------------------------------------------------------------- the largest singular value
class SpectralNorm(_Reweighted):
    """What `spectral_norm` registers."""

    kind = "spectral_norm"

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got"
                f" n_power_iterations={n_power_iterations}"
            )
        super().__init__(name)
        self.dim, self.eps, self.n_power_iterations = dim, eps, n_power_iterations

    def _matrix(self, weight: Tensor) -> Tensor:
        return (weight.movedim(self.dim, 0) if self.dim else weight).flatten(1)

    def compute_weight(self, module: Any) -> Tensor:
        """The weight over its largest singular value, which is followed in training."""
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = self._matrix(weight)
        if module.training:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(normalize(matrix.t().mv(u), dim=0, eps=self.eps))
                    u.copy_(normalize(matrix.mv(v), dim=0, eps=self.eps))
        # Copies: the next iteration changes the buffers, which this graph saves.
        return weight / u.clone().dot(matrix.mv(v.clone()))

    def split(self, module: Any, weight: Tensor) -> None:
        """Register the weight as it was, and the vectors of the power iteration."""
        module.register_parameter(f"{self.name}_orig", weight)
        setattr(module, self.name, weight.detach())
        for side, n in zip("uv", self._matrix(weight).shape, strict=True):
            drawn = normalize(randn(n, dtype=weight.dtype), dim=0, eps=self.eps)
            module.register_buffer(f"{self.name}_{side}", drawn)
        module._register_state_dict_hook(self._note)

    def _note(self, module: Any, state: Any, prefix: str, metadata: dict[str, Any]) -> None:
        metadata.setdefault("spectral_norm", {})[f"{self.name}.version"] = 1


def spectral_norm(
    module: Any,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Any:
    """Have a weight divided before every call by its largest singular value.

    Raises
    ------
    ValueError
        If the number of iterations is not positive.
    """
    if dim is None:
        # Where the second dim of the weight is that of the outputs.
        dim = int(getattr(module, "transposed", False))
    SpectralNorm(name, n_power_iterations, dim, eps).attach(module)
    return module


def remove_spectral_norm(module: Any, name: str = "weight") -> Any:
    """Make the weight a parameter again; ValueError if it was none of `spectral_norm`."""
    hook = _detach(module, SpectralNorm, name)
    training, module.training = module.training, False
    with no_grad():
        weight = hook.compute_weight(module).detach()
    module.training = training
    for gone in (name, f"{name}_orig", f"{name}_u", f"{name}_v"):
        delattr(module, gone)
    setattr(module, name, Parameter(weight))
    for key, noted in list(module._state_dict_hooks.items()):
        if getattr(noted, "__self__", None) is hook:
            del module._state_dict_hooks[key]
    return module
