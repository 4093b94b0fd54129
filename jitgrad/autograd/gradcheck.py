"""Gradients against finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.autograd.differentiation import grad
from jitgrad.autograd.grad_mode import enable_grad, no_grad

if TYPE_CHECKING:
    pass

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]


class GradcheckError(RuntimeError):
    """A gradient that is not the function's."""


def gradcheck(
    func: Function,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Check a function's gradients against central differences.

    Parameters
    ----------
    func : callable
        From the inputs to a Tensor or a tuple of them.
    inputs : Tensor or tuple
        Those that require grad are checked; they should be float64.
    eps : float
        Step of the differences.
    atol, rtol : float
        How far a derivative may be off: ``atol + rtol * abs(numerical)``.
    raise_exception : bool
        Raise instead of returning False.
    nondet_tol : float
        How far two backward passes may differ.
    check_undefined_grad : bool
        Also check that an output without a gradient counts as one whose gradient is zero.
    check_forward_ad, check_backward_ad : bool
        Which modes to check.
    check_grad_dtypes, check_batched_grad, check_batched_forward_grad, fast_mode, masked
        Accepted; dtypes always agree here, batches run one by one, every element is checked.

    Returns
    -------
    bool
        True if all agree.

    Raises
    ------
    GradcheckError
        If one does not.
    ValueError
        If no input requires grad.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.rand(3, dtype=jitgrad.float64, requires_grad=True)
    >>> jitgrad.autograd.gradcheck(lambda x: x.exp() * x, (x,))
    True
    """
    if not check_forward_ad and not check_backward_ad:
        raise AssertionError(
            "Expected at least one of check_forward_ad and check_backward_ad to be True"
        )
    try:
        given = _checked_inputs(inputs, eps)
        outputs = _outputs(func(*given))
        _check_differentiable(func, outputs, given, eps, atol)
        numerical = _numerical(func, given, eps)
        if check_backward_ad:
            analytical = _analytical(func, given)
            _compare(numerical, analytical, given, atol, rtol, "")
            _check_reentrant(analytical, _analytical(func, given), nondet_tol)
        if check_forward_ad:
            _compare(numerical, _forward(func, given), given, atol, rtol, " in forward mode")
        if check_undefined_grad and check_backward_ad:
            _check_undefined(func, given)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Function,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Check the gradients of a function's gradients; arguments as for `gradcheck`.

    ``grad_outputs`` are the weights of the outputs, random unless given.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.rand(3, dtype=jitgrad.float64, requires_grad=True)
    >>> jitgrad.autograd.gradgradcheck(lambda x: x.exp() * x, (x,))
    True
    """
    from jitgrad.creation import from_numpy

    given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        weights = []
        for y in _outputs(func(*given)):
            w = from_numpy(np.asarray(rng.standard_normal(tuple(y.shape)))).to(y.dtype)
            weights.append(
                w.transpose(0, 1).contiguous().transpose(0, 1)
                if gen_non_contig_grad_outputs and w.ndim > 1
                else w
            )
            weights[-1] = weights[-1].requires_grad_()
    else:
        weights = list(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else [grad_outputs]
    count = len(weights)

    def slopes(*args: Any) -> Any:
        values, w = args[:-count], args[-count:]
        wanted = [x for x in values if _requires_grad(x)]
        outputs = _outputs(func(*values))
        found = grad(outputs, wanted, w, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        slopes,
        (*given, *weights),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
    )


# ---------------------------------------------------------------- parts
def _is_tensor(x: Any) -> bool:
    from jitgrad.tensor import Tensor

    return isinstance(x, Tensor)


def _requires_grad(x: Any) -> bool:
    return _is_tensor(x) and x.requires_grad


def _outputs(found: Any) -> tuple[Any, ...]:
    values = found if isinstance(found, (tuple, list)) else (found,)
    return tuple(y for y in values if _requires_grad(y))


def _checked_inputs(inputs: Any, eps: float) -> tuple[Any, ...]:
    from jitgrad import dtypes

    given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    if not any(_requires_grad(x) for x in given):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have"
            " requires_grad=True."
        )
    for i, x in enumerate(given):
        if not _requires_grad(x):
            continue
        if x.dtype is not dtypes.float64:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or complex."
                " This check will likely fail if all the inputs are not of double precision floating"
                " point or complex. ",
                stacklevel=3,
            )
        if 0 in x.stride() and x.numel() > 1:
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are"
                " non-overlapping to be able to compute the numerical gradients correctly. You should"
                " call .contiguous on the input before passing it to gradcheck."
            )
        if x.is_leaf is False:
            x.retain_grad()
    return given


def _check_differentiable(
    func: Function, outputs: Sequence[Any], given: Sequence[Any], eps: float, atol: float
) -> None:
    """An output that does not require grad must not depend on the inputs."""
    if outputs:
        return
    for i, column in enumerate(_numerical(func, given, eps, every=True)):
        if any(np.abs(j).max(initial=0.0) > atol for j in column):
            raise GradcheckError(
                f"Numerical gradient for function expected to be zero (input {i}); no output requires"
                " grad"
            )


def _flat(values: Sequence[Any]) -> list[Array]:
    return [np.array(y.detach().cpu().numpy(), np.float64).reshape(-1) for y in values]


def _written(x: Any, memory: Array) -> None:
    """Put elements that were changed in a copy of an input on the GPU back."""
    from jitgrad.creation import from_numpy

    if x.is_cuda:
        with no_grad():
            x.copy_(from_numpy(memory))


def _numerical(
    func: Function, given: Sequence[Any], eps: float, every: bool = False
) -> list[list[Array]]:
    """For each input that requires grad and each output the jacobian, (input elements, output elements)."""

    def values() -> list[Array]:
        found = func(*given)
        made = found if isinstance(found, (tuple, list)) else (found,)
        return (
            _flat([y for y in made if _is_tensor(y) and y.dtype.is_floating_point])
            if every
            else (_flat(_outputs(made)))
        )

    table = []
    for x in given:
        if not _requires_grad(x):
            continue
        # Of an input on the GPU a copy, which is written back.
        memory = x.detach().cpu().numpy()
        rows: list[list[Array]] = []
        for position in np.ndindex(*memory.shape):
            before = memory[position]
            sides = []
            for value in (before + eps, before - eps):
                memory[position] = value
                _written(x, memory)
                # Recorded, though no gradient is asked for: func may differentiate itself.
                sides.append(values())
            memory[position] = before
            _written(x, memory)
            rows.append([(a - b) / (2 * eps) for a, b in zip(*sides, strict=True)])
        outputs = len(values())
        table.append([np.array([r[i] for r in rows]) for i in range(outputs)])
    return table


def _analytical(func: Function, given: Sequence[Any]) -> list[list[Array]]:
    wanted = [x for x in given if _requires_grad(x)]
    with enable_grad():
        outputs = _outputs(func(*given))
    from jitgrad.func.derivatives import unit_tensors

    table: list[list[Array]] = [[] for _ in wanted]
    for y in outputs:
        columns = []
        for e in unit_tensors(y):
            columns.append(_flat(_filled(grad(y, wanted, e, True, allow_unused=True), wanted)))
        for k, x in enumerate(wanted):
            made = np.array([c[k] for c in columns]).reshape(len(columns), x.numel()).T
            table[k].append(made)
    return table


def _filled(found: Sequence[Any], like: Sequence[Any]) -> list[Any]:
    from jitgrad.creation import zeros_like

    return [zeros_like(x.detach()) if g is None else g for g, x in zip(found, like, strict=True)]


def _forward(func: Function, given: Sequence[Any]) -> list[list[Array]]:
    from jitgrad.autograd import forward_ad
    from jitgrad.func.derivatives import unit_tensors

    table: list[list[Array]] = []
    for k, x in enumerate(given):
        if not _requires_grad(x):
            continue
        rows = []
        for e in unit_tensors(x):
            with forward_ad.dual_level():
                dual = forward_ad.make_dual(x.detach(), e)
                found = _outputs(func(*given[:k], dual, *given[k + 1 :]))
                tangents = [forward_ad.unpack_dual(y).tangent for y in found]
                rows.append(_flat(_filled(tangents, found)))
        outputs = len(rows[0]) if rows else len(_outputs(func(*given)))
        table.append([np.array([r[i] for r in rows]) for i in range(outputs)])
    return table


def _compare(
    numerical: list[list[Array]],
    analytical: list[list[Array]],
    given: Sequence[Any],
    atol: float,
    rtol: float,
    mode: str,
) -> None:
    places = [k for k, x in enumerate(given) if _requires_grad(x)]
    for k, columns, ours in zip(places, numerical, analytical, strict=True):
        for i, (n, a) in enumerate(zip(columns, ours, strict=True)):
            if n.size and not np.allclose(a, n, rtol=rtol, atol=atol, equal_nan=True):
                raise GradcheckError(
                    f"Jacobian mismatch for output {i} with respect to input {k}{mode},\n"
                    f"numerical:{n}\nanalytical:{a}\n"
                )


def _check_reentrant(first: list[list[Array]], second: list[list[Array]], tolerance: float) -> None:
    for k, (columns, again) in enumerate(zip(first, second, strict=True)):
        for i, (a, b) in enumerate(zip(columns, again, strict=True)):
            if not np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True):
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and grad_output"
                    " multiple times gives different values, although analytical gradient matches"
                    f" numerical gradient (output {i}, input {k}; tolerance {tolerance})."
                )


def _check_undefined(func: Function, given: Sequence[Any]) -> None:
    """Gradients of some outputs alone: those of the others count as zero."""
    wanted = [x for x in given if _requires_grad(x)]
    with enable_grad():
        outputs = _outputs(func(*given))
    if len(outputs) < 2:
        return
    for i in range(len(outputs)):
        alone = [o for j, o in enumerate(outputs) if j != i]
        with no_grad():
            weights = [o.detach() * 0 + 1 for o in alone]
            zero = outputs[i].detach() * 0
        left = _flat(_filled(grad(alone, wanted, weights, True, allow_unused=True), wanted))
        full = _flat(
            _filled(
                grad([*alone, outputs[i]], wanted, [*weights, zero], True, allow_unused=True),
                wanted,
            )
        )
        for k, (a, b) in enumerate(zip(left, full, strict=True)):
            if not np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True):
                raise GradcheckError(
                    f"Expected backward function to handle undefined output grads (output {i}, input {k})"
                )
