"""Functions of samples: covariances, integrals by trapezoids, gradients by differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jitgrad.ops.arithmetic import clamp
from jitgrad.ops.joining import cat
from jitgrad.ops.operands import is_tensor
from jitgrad.ops.products import matmul
from jitgrad.ops.reductions import cumsum
from jitgrad.ops.views import narrow, wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


# ---------------------------------------------------------------- covariance
def cov(
    input: Tensor,
    *,
    correction: int = 1,
    fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    """The covariances of variables (rows), from their observations (columns).

    Parameters
    ----------
    input : Tensor
        (variables, observations) or (observations).
    correction : int
        The sum is divided by the number of observations minus this.
    fweights, aweights : Tensor, optional
        (observations): how often each was made, and how much it weighs.

    Raises
    ------
    RuntimeError
        If there are more than two dims.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.cov(jitgrad.tensor([[0.0, 2.0], [2.0, 0.0]])).tolist()
    [[2.0, -2.0], [-2.0, 2.0]]
    """
    if input.ndim > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with"
            f" {input.ndim} dimensions"
        )
    x = input.reshape(1, -1) if input.ndim < 2 else input
    x = x if x.dtype.is_floating_point else x.float()
    weights = None
    for given in (fweights, aweights):
        if given is not None:
            weights = given if weights is None else weights * given
    if weights is None:
        total: Any = x.shape[1]
        centred = x - x.mean(1, True)
        weighted, over = centred, total - correction
    else:
        weights = weights.to(x.dtype)
        total = weights.sum()
        centred = x - (x * weights).sum(1, True) / total
        weighted = centred * weights
        over = total - correction
        if aweights is not None:
            over = total - correction * (weights * aweights).sum() / total
    over = clamp(over, 0) if is_tensor(over) else max(over, 0)
    return (matmul(weighted, centred.t()) / over).squeeze()


def corrcoef(input: Tensor) -> Tensor:
    """The correlations of variables (rows), from their observations (columns).

    Raises
    ------
    RuntimeError
        If there are more than two dims.
    """
    if input.ndim > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with"
            f" {input.ndim} dimensions"
        )
    found = cov(input)
    if not found.ndim:
        return found / found
    spread = found.diagonal().sqrt()
    return clamp(found / spread.unsqueeze(1) / spread.unsqueeze(0), -1, 1)


# ---------------------------------------------------------------- integrals
def _strips(y: Tensor, x: Tensor | None, dx: Any, d: int) -> Tensor:
    """The areas between neighbours along dim ``d``."""
    n = y.shape[d]
    pairs = narrow(y, d, 1, n - 1) + narrow(y, d, 0, n - 1)
    if x is None:
        return pairs * ((1 if dx is None else dx) / 2)
    if x.ndim == 1:
        x = x.reshape([-1 if e == d else 1 for e in range(y.ndim)])
    size = x.shape[d]
    return pairs * (narrow(x, d, 1, size - 1) - narrow(x, d, 0, size - 1)) / 2


def _checked(name: str, y: Tensor, x: Tensor | None, dx: Any, dim: int) -> int:
    if x is not None and dx is not None:
        raise RuntimeError(f"{name}(): give either x or dx, not both")
    d = wrap_dim(dim, y.ndim)
    if x is not None and x.ndim == 1 and x.shape[0] != y.shape[d]:
        raise RuntimeError(
            f"{name}(): There must be one `x` value for each sample point: {x.shape[0]} values and"
            f" {y.shape[d]} points"
        )
    return d


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral along a dim, by the areas of trapezoids between samples at ``x``, or ``dx`` (1) apart.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.trapezoid(jitgrad.tensor([1.0, 2.0, 4.0])).item()
    4.5
    """
    d = _checked("trapezoid", y, x, dx, dim)
    if y.shape[d] == 0:
        return y.sum(d)
    return _strips(y, x, dx, d).sum(d)


def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1
) -> Tensor:
    """The integrals up to each sample but the first."""
    d = _checked("cumulative_trapezoid", y, x, dx, dim)
    return cumsum(_strips(y, x, dx, d), d)


# ---------------------------------------------------------------- differences
def gradient(
    input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """The derivatives along dims, by differences of second order inside.

    Parameters
    ----------
    input : Tensor
        Samples.
    spacing : number, Tensor or sequence of them
        How far apart they are: for all dims, or for each; a Tensor holds the coordinates along a dim.
    dim : int or sequence of ints, optional
        By default all.
    edge_order : {1, 2}
        The order of the differences at the ends.

    Returns
    -------
    tuple of Tensor
        One for each dim, of the shape of ``input``.
    """
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    dims = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = [wrap_dim(d, input.ndim) for d in dims]
    each = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(dims)
    if len(each) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to"
            f" the number of dims, {len(dims)}, but got a list of length {len(each)}"
        )
    for d in dims:
        if input.shape[d] <= edge_order:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1"
            )
    return tuple(_along(input, d, h, edge_order) for d, h in zip(dims, each, strict=True))


def _along(y: Tensor, d: int, spacing: Any, order: int) -> Tensor:
    n = y.shape[d]

    def at(start: int, length: int) -> Tensor:
        return narrow(y, d, start, length)

    if is_tensor(spacing) and spacing.ndim:
        steps = (spacing[1:] - spacing[:-1]).reshape([-1 if e == d else 1 for e in range(y.ndim)])
    else:
        steps = y.new_full([n - 1 if e == d else 1 for e in range(y.ndim)], float(spacing))
    if not y.dtype.is_floating_point:
        steps = steps.float()

    def step(start: int, length: int) -> Tensor:
        return narrow(steps, d, start, length)

    a, b = step(0, n - 2), step(1, n - 2)
    inside = (
        at(0, n - 2) * (-b / (a * (a + b)))
        + at(1, n - 2) * ((b - a) / (a * b))
        + at(2, n - 2) * (a / (b * (a + b)))
    )
    if order == 1:
        first = (at(1, 1) - at(0, 1)) / step(0, 1)
        last = (at(n - 1, 1) - at(n - 2, 1)) / step(n - 2, 1)
        return cat([first, inside, last], d)
    a, b = step(0, 1), step(1, 1)
    first = (
        at(0, 1) * (-(2 * a + b) / (a * (a + b)))
        + at(1, 1) * ((a + b) / (a * b))
        - at(2, 1) * (a / (b * (a + b)))
    )
    a, b = step(n - 3, 1), step(n - 2, 1)
    last = (
        at(n - 3, 1) * (b / (a * (a + b)))
        - at(n - 2, 1) * ((a + b) / (a * b))
        + at(n - 1, 1) * ((2 * b + a) / (b * (a + b)))
    )
    return cat([first, inside, last], d)
