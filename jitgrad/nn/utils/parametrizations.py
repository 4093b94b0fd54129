"""Known ways to compute a weight: `weight_norm` and `spectral_norm`."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd.grad_mode import no_grad
from jitgrad.creation import empty
from jitgrad.nn.functional.distances import normalize
from jitgrad.nn.module import Module
from jitgrad.nn.utils.parametrize import register_parametrization
from jitgrad.tensor import Tensor


def length(v: Tensor, dim: int) -> Tensor:
    """The norm over all dims but one; -1: over all."""
    if dim == -1:
        return v.norm()
    others = [d for d in range(v.ndim) if d != dim % v.ndim]
    return v.norm(2, others, keepdim=True) if others else v.abs()


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / length(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return length(weight, self.dim), weight


class _OldNames:
    """A hook that takes the state of the `weight_norm` that worked by hooks."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        old = [f"{prefix}{self.name}_{part}" for part in "gv"]
        if all(key in state for key in old):
            for i, key in enumerate(old):
                new = f"{prefix}parametrizations.{self.name}.original{i}"
                state[new] = state.pop(key)


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Have a weight computed from its length and its direction (Salimans & Kingma 2016).

    Examples
    --------
    >>> import jitgrad
    >>> m = jitgrad.nn.utils.parametrizations.weight_norm(jitgrad.nn.Linear(3, 2))
    >>> [p.shape for p in m.parametrizations.parameters()]
    [jitgrad.Size([2, 1]), jitgrad.Size([2, 3])]
    """
    module.register_load_state_dict_pre_hook(_OldNames(name))
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    """The weight over its largest singular value, which power iteration follows in training."""

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(
                "Dimension out of range (expected to be in range of"
                f" [-{weight.ndim}, {weight.ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got"
                f" n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps = dim % weight.ndim, eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight)
            for buffer, n in (("_u", matrix.shape[0]), ("_v", matrix.shape[1])):
                drawn = empty(n, dtype=weight.dtype).normal_(0, 1)
                self.register_buffer(buffer, normalize(drawn, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        moved = weight.movedim(self.dim, 0) if self.dim else weight
        return moved.flatten(1)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        with no_grad():
            matrix = matrix.detach()
            for _ in range(times):
                self._u.copy_(normalize(matrix.mv(self._v), dim=0, eps=self.eps))
                self._v.copy_(normalize(matrix.t().mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        # Copies: the next iteration changes the buffers, which this graph saves.
        u, v = self._u.clone(), self._v.clone()
        return weight / u.dot(matrix.mv(v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Have a weight divided by its largest singular value (Miyato et al. 2018).

    Raises
    ------
    ValueError
        If there is no such parameter, or the number of iterations is not positive.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        # Where the second dim of the weight is that of the outputs.
        dim = int(getattr(module, "transposed", False))
    return register_parametrization(
        module, name, _SpectralNorm(weight.detach(), n_power_iterations, dim, eps)
    )
