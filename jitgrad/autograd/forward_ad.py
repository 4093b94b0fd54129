"""Forward mode: tensors that carry a tangent, and the tangents of what is computed from them.

A dual tensor is an input of the graph like any other.  Its tangent stays here; that of a result is
computed when it is asked for, by differentiating the recorded backward pass with respect to its
cotangent, in which it is linear.  So forward mode works for every op that has a gradient of second order,
and nothing is computed for what nobody unpacks.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from jitgrad.autograd.differentiation import grad
from jitgrad.autograd.grad_mode import enable_grad
from jitgrad.autograd.pushing import forward_mode

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


class UnpackedDualTensor(NamedTuple):
    """What `unpack_dual` returns."""

    primal: Any
    tangent: Any


class _Dual(NamedTuple):
    tensor: Any
    primal: Any
    tangent: Any


_duals: list[_Dual] | None = None


def enter_dual_level() -> int:
    """Begin a level of forward mode; returns its number.

    Raises
    ------
    RuntimeError
        If there is one already.
    """
    global _duals
    if _duals is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _duals = []
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: all tangents are forgotten."""
    global _duals
    if _duals is None:
        raise RuntimeError(
            "Trying to exit a forward AD level but no level was entered (enter_dual_level)"
        )
    _duals = None


class dual_level:  # noqa: N801 - PyTorch's name
    """A level of forward mode as a context manager.

    Examples
    --------
    >>> import jitgrad
    >>> from jitgrad.autograd import forward_ad
    >>> with forward_ad.dual_level():
    ...     x = forward_ad.make_dual(jitgrad.tensor([1.0, 2.0]), jitgrad.tensor([1.0, 0.5]))
    ...     forward_ad.unpack_dual(x * x).tangent
    tensor([2., 2.])
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A tensor that carries a tangent of its shape and dtype.

    Raises
    ------
    RuntimeError
        If no level was entered, or shape or dtype differ.
    ValueError
        If the tensor is not floating point.
    """
    if _duals is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to"
            " enter_dual_level() first."
        )
    for what, x in (("primal", tensor), ("tangent", tangent)):
        if not x.dtype.is_floating_point:
            raise ValueError(f"Expected {what} to be floating point or complex, but got: {x.dtype}")
    if tensor.shape != tangent.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor,"
            f" this is not supported. Tensor is of size {list(tensor.shape)} while the given forward"
            f" gradient is of size {list(tangent.shape)}."
        )
    if tensor.dtype is not tangent.dtype:
        raise RuntimeError(
            f"Expected tangent to have the same dtype as the primal, {tensor.dtype}, got {tangent.dtype}"
        )
    with enable_grad():
        made = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
    _duals.append(_Dual(made, tensor, tangent))
    return made


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """A tensor's primal and tangent; the tangent is None if it does not depend on any dual tensor."""
    if _duals is None:
        return UnpackedDualTensor(tensor, None)
    for dual in _duals:
        if dual.tensor is tensor:
            return UnpackedDualTensor(dual.primal, dual.tangent)
    if not tensor.requires_grad or not _duals:
        return UnpackedDualTensor(tensor, None)
    from jitgrad.creation import ones_like, zeros_like

    keeps = any(d.primal.requires_grad for d in _duals)
    further = keeps or any(d.tangent.requires_grad for d in _duals)
    with enable_grad():
        # Not zeros: a formula may treat a cotangent of 0 apart.
        cotangent = ones_like(tensor.detach()).requires_grad_()
        inputs = [d.tensor for d in _duals]
        with forward_mode():
            pulled = grad(tensor, inputs, cotangent, create_graph=True, allow_unused=True)
        reached = [(g, d.tangent) for g, d in zip(pulled, _duals, strict=True) if g is not None]
        primal = tensor if keeps else tensor.detach()
        if not reached:
            return UnpackedDualTensor(primal, None)
        depends = [(g, t) for g, t in reached if g.requires_grad]
        if not depends:
            return UnpackedDualTensor(primal, zeros_like(primal.detach()))
        (tangent,) = grad(
            [g for g, _ in depends],
            cotangent,
            [t for _, t in depends],
            create_graph=further,
            allow_unused=True,
            materialize_grads=True,
        )
    return UnpackedDualTensor(primal, tangent)
