"""Parameters with some elements held at 0: a mask is a buffer, and a hook applies it before every call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from jitgrad.autograd.grad_mode import no_grad
from jitgrad.creation import ones_like
from jitgrad.nn.utils.vectors import parameters_to_vector
from jitgrad.random import rand
from jitgrad.tensor import Tensor


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (isinstance(amount, float) and amount > 1.0):
        raise ValueError(
            f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer"
        )


def _count(amount: Any, n: int) -> int:
    """How many of ``n`` an amount is: that many, or a share of them."""
    if isinstance(amount, int):
        if amount > n:
            raise ValueError(
                f"amount={amount} should be smaller than the number of parameters to prune={n}"
            )
        return amount
    return round(amount * n)


def _smallest_out(values: Tensor, mask: Tensor, n: int) -> Tensor:
    """The mask without the ``n`` smallest values."""
    flat = mask.clone().reshape(-1)
    if n:
        flat[values.reshape(-1).topk(n, largest=False).indices] = 0
    return flat.reshape(mask.shape)


class BasePruningMethod(ABC):
    """A way to choose what is pruned; a subclass gives `compute_mask` and ``PRUNING_TYPE``."""

    PRUNING_TYPE: str = "unstructured"
    _tensor_name: str

    def __call__(self, module: Any, inputs: Any) -> None:
        """What the hook does: the parameter is the masked original."""
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """``default_mask`` with zeros where ``t`` is to be pruned."""

    def apply_mask(self, module: Any) -> Tensor:
        """The original times the mask."""
        name = self._tensor_name
        original = getattr(module, f"{name}_orig")
        return getattr(module, f"{name}_mask").to(original.dtype) * original

    def prune(
        self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None
    ) -> Tensor:
        """A pruned copy of a tensor."""
        scores = t if importance_scores is None else importance_scores
        _same_shape(scores, t, "tensor t")
        mask = ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, mask)

    @classmethod
    def apply(
        cls, module: Any, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any
    ) -> Any:
        """Prune a parameter of a module; what was pruned before stays so."""
        before = _hook(module, name)
        method: Any = cls(*args, **kwargs)
        method._tensor_name = name
        original = getattr(module, name)
        scores = original if importance_scores is None else importance_scores
        _same_shape(scores, original, f"parameter {name} of {module}")
        with no_grad():
            if before is None:
                old = ones_like(original.detach())
            else:
                method = PruningContainer(before[1], method)
                old = getattr(module, f"{name}_mask").detach().clone()
            mask = method.compute_mask(scores.detach(), old)
        if before is None:
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", original)
        else:
            del module._forward_pre_hooks[before[0]]
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def remove(self, module: Any) -> None:
        """Make the pruned values the parameter's own."""
        name = self._tensor_name
        values = self.apply_mask(module).detach()
        original = getattr(module, f"{name}_orig")
        original.data = values
        for gone in (name, f"{name}_orig", f"{name}_mask"):
            delattr(module, gone)
        setattr(module, name, original)


def _same_shape(scores: Tensor, t: Tensor, what: str) -> None:
    if scores.shape != t.shape:
        raise AssertionError(
            f"importance_scores should have the same shape as {what}, got {scores.shape} vs {t.shape}"
        )


def _hook(module: Any, name: str) -> tuple[int, BasePruningMethod] | None:
    """The id of the hook that prunes a parameter, and the hook."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return key, hook
    return None


class PruningContainer(BasePruningMethod):
    """Several methods one after the other: each looks only at what those before it have left."""

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._methods: list[BasePruningMethod] = []
        for method in methods:
            self._methods += method if isinstance(method, PruningContainer) else [method]
        self._tensor_name = self._methods[0]._tensor_name

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Add one at the end, for the same parameter."""
        if method._tensor_name != self._tensor_name:
            raise ValueError(
                f"Can only add pruning methods acting on the parameter named '{self._tensor_name}' to"
                f" PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._methods.append(method)

    def __len__(self) -> int:
        return len(self._methods)

    def __iter__(self) -> Any:
        return iter(self._methods)

    def __getitem__(self, idx: int) -> BasePruningMethod:
        return self._methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """What the last method makes of a mask."""
        method = self._methods[-1]
        mask = default_mask.clone()
        if method.PRUNING_TYPE == "structured":
            dim = method.dim % t.ndim  # type: ignore[attr-defined]
            others = [d for d in range(t.ndim) if d != dim]
            left = (mask.sum(others) != 0).nonzero().reshape(-1)
            part = method.compute_mask(t.index_select(dim, left), mask.index_select(dim, left))
            return mask.index_copy(dim, left, part)
        if method.PRUNING_TYPE == "unstructured":
            kept = mask == 1
            mask[kept] = method.compute_mask(t[kept], mask[kept])
            return mask
        return method.compute_mask(t, mask)


# ---------------------------------------------------------------- element by element
class Identity(BasePruningMethod):
    """Prunes nothing."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask as it is."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes an amount of elements at random: a number of them, or a share."""

    def __init__(self, amount: float) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask without random elements."""
        return _smallest_out(rand(*t.shape), default_mask, _count(self.amount, t.numel()))


class L1Unstructured(BasePruningMethod):
    """Prunes an amount of elements, those of the smallest absolute value."""

    def __init__(self, amount: float) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask without the smallest elements."""
        return _smallest_out(t.abs(), default_mask, _count(self.amount, t.numel()))


class CustomFromMask(BasePruningMethod):
    """Prunes what a mask says."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Both masks."""
        return default_mask * self.mask.to(default_mask.dtype)


# ---------------------------------------------------------------- whole channels
class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def _sizes(self, t: Tensor) -> Tensor:
        """How much each channel counts."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask without the channels that count least."""
        if t.ndim < 2:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of"
                f" shape {t.shape} with {t.ndim} dims"
            )
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        n, dim = t.shape[self.dim], self.dim % t.ndim
        out = _count(self.amount, n)
        kept = _smallest_out(self._sizes(t), ones_like(self._sizes(t)), out)
        return default_mask * kept.reshape([-1 if d == dim else 1 for d in range(t.ndim)])


class RandomStructured(_Structured):
    """Prunes an amount of channels at random."""

    def _sizes(self, t: Tensor) -> Tensor:
        return rand(t.shape[self.dim])


class LnStructured(_Structured):
    """Prunes an amount of channels, those of the smallest n-norm."""

    def __init__(self, amount: float, n: float, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _sizes(self, t: Tensor) -> Tensor:
        others = [d for d in range(t.ndim) if d != self.dim % t.ndim]
        return t.norm(self.n, others)


# ---------------------------------------------------------------- as functions
def identity(module: Any, name: str) -> Any:
    """Give a parameter a mask of ones; returns the module, as all of these."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Any, name: str, amount: float) -> Any:
    """Prune elements of a parameter at random: ``amount`` of them, or that share."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(
    module: Any, name: str, amount: float, importance_scores: Tensor | None = None
) -> Any:
    """Prune the smallest elements of a parameter: ``amount`` of them, or that share.

    Examples
    --------
    >>> import jitgrad
    >>> from jitgrad.nn.utils import prune
    >>> m = prune.l1_unstructured(jitgrad.nn.Linear(4, 2), "weight", 0.5)
    >>> int((m.weight == 0).sum())
    4
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Any, name: str, amount: float, dim: int) -> Any:
    """Prune channels of a parameter along a dim at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Any,
    name: str,
    amount: float,
    n: float,
    dim: int,
    importance_scores: Tensor | None = None,
) -> Any:
    """Prune the channels of a parameter along a dim that have the smallest n-norm."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Any, name: str, mask: Tensor) -> Any:
    """Prune a parameter where a mask is 0."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Any, str]],
    pruning_method: Any,
    importance_scores: dict[tuple[Any, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prune several parameters, (module, name), as if they were one."""
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    places = list(parameters)
    given = importance_scores or {}
    if not isinstance(given, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    scores = [given.get(place, getattr(*place)) for place in places]
    masks = [
        getattr(module, f"{name}_mask", ones_like(getattr(module, name))) for module, name in places
    ]
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method'
            f" {pruning_method} of type {method.PRUNING_TYPE}"
        )
    method._tensor_name = "temp"
    with no_grad():
        flat = parameters_to_vector([s.detach() for s in scores])
        mask = PruningContainer(method).compute_mask(
            flat, parameters_to_vector([m.detach() for m in masks])
        )
    start = 0
    for module, name in places:
        n = getattr(module, name).numel()
        part = mask[start : start + n].reshape(getattr(module, name).shape)
        custom_from_mask(module, name, part)
        start += n


def remove(module: Any, name: str) -> Any:
    """Make the pruned values the parameter's own, without mask and hook.

    Raises
    ------
    ValueError
        If the parameter is not pruned.
    """
    found = _hook(module, name)
    if found is None:
        raise ValueError(
            f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
        )
    found[1].remove(module)
    del module._forward_pre_hooks[found[0]]
    return module


def is_pruned(module: Any) -> bool:
    """Whether a parameter of a module, or of those below, is pruned."""
    return any(
        isinstance(hook, BasePruningMethod)
        for inner in module.modules()
        for hook in inner._forward_pre_hooks.values()
    )
