"""Derivatives of functions as values: jacobian, hessian and products with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jitgrad.autograd.differentiation import grad
from jitgrad.autograd.grad_mode import enable_grad

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Tensors = tuple["Tensor", ...]


def _tuple(values: Any, name: str, what: str) -> tuple[bool, Tensors]:
    """Whether it was a tuple, and the Tensors as one."""
    from jitgrad.tensor import Tensor

    is_tuple = isinstance(values, (tuple, list))
    found = tuple(values) if is_tuple else (values,)
    for i, x in enumerate(found):
        if not isinstance(x, Tensor):
            if is_tuple:
                raise TypeError(
                    f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the"
                    f" value at index {i} has type {type(x)}."
                )
            raise TypeError(
                f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the given"
                f" {what} has type {type(x)}."
            )
    return is_tuple, found


def _inputs(values: Tensors, create_graph: bool) -> Tensors:
    """Inputs to differentiate with respect to; with create_graph they keep their history."""
    return tuple(
        x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_()
        for x in values
    )


def _outputs(found: Any, name: str) -> tuple[bool, Tensors]:
    return _tuple(found, name, "outputs of the user-provided function")


def _strictly(outputs: Tensors, strict: bool) -> None:
    if strict:
        for i, y in enumerate(outputs):
            if not y.requires_grad:
                raise RuntimeError(
                    f"Output {i} of the user-provided function does not require gradients. The outputs"
                    " must be computed in a differentiable manner from the input when running in strict"
                    " mode."
                )


def _grad(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    create_graph: bool,
    strict: bool,
    what: str = "Output {output} of the user-provided function is independent of input {input}.",
) -> list[Tensor]:
    """Gradients with zeros for what does not depend, which is an error in strict mode."""
    from jitgrad.creation import zeros_like

    kept = [(y, w) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
    found: Sequence[Any] = [None] * len(inputs)
    if kept:
        found = grad(
            [y for y, _ in kept],
            list(inputs),
            [w for _, w in kept],
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
        )
    if strict:
        for i, g in enumerate(found):
            if g is None:
                raise RuntimeError(
                    what.format(output=0, input=i) + " This is not allowed in strict mode."
                )
    return [zeros_like(x.detach()) if g is None else g for g, x in zip(found, inputs, strict=True)]


def _returned(value: Tensors, is_tuple: bool, create_graph: bool) -> Any:
    made = value if create_graph else tuple(x.detach() for x in value)
    return made if is_tuple else made[0]


def _weights(v: Any, like: Tensors, is_tuple: bool, name: str) -> Tensors:
    from jitgrad.creation import ones_like

    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"The vector v can only be None if the user-provided function returns a single Tensor with a"
                f" single element ({name})."
            )
        return (ones_like(like[0].detach()),)
    _, found = _tuple(v, name, "v")
    if len(found) != len(like):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(found)}."
        )
    for i, (w, x) in enumerate(zip(found, like, strict=True)):
        if w.shape != x.shape:
            where = f"Entry {i} in v" if is_tuple else "The v"
            raise RuntimeError(f"{where} has invalid size: should be {x.shape} but got {w.shape}.")
    return found


# ---------------------------------------------------------------- jacobian and hessian
def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The jacobian of a function at ``inputs``.

    Parameters
    ----------
    func : callable
        From Tensors to a Tensor or a tuple of them.
    inputs : Tensor or tuple of Tensors
        Its arguments.
    create_graph : bool
        Make the result differentiable.
    strict : bool
        Raise where an output does not depend on an input, instead of zeros.
    vectorize : bool
        Accepted; the passes run one after the other.
    strategy : {"reverse-mode", "forward-mode"}
        Accepted; the result is the same.

    Returns
    -------
    Tensor, or tuple (of tuples) of them
        For each output and each input a Tensor of the output's shape followed by the input's.

    Raises
    ------
    RuntimeError
        In strict mode, if something does not depend.
    TypeError
        If something is no Tensor.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0])
    >>> jitgrad.autograd.functional.jacobian(lambda x: x * x, x)
    tensor([[2., 0.],
            [0., 4.]])
    """
    from jitgrad.func.derivatives import stacked_rows, unit_tensors

    if strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has'
            ' more outputs than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to'
            ' use "reverse-mode".'
        )
    with enable_grad():
        is_tuple, given = _tuple(inputs, "jacobian", "inputs")
        made = _inputs(given, create_graph)
        out_tuple, outputs = _outputs(func(*made), "jacobian")
        _strictly(outputs, strict)
        blocks = []
        for i, y in enumerate(outputs):
            what = f"Output {i} of the user-provided function is independent of input {{input}}."
            rows = [_grad([y], made, [e], create_graph, strict, what) for e in unit_tensors(y)]
            parts = tuple(
                stacked_rows([r[k] for r in rows], y.shape, x) for k, x in enumerate(made)
            )
            blocks.append(_returned(parts, is_tuple, create_graph))
        return tuple(blocks) if out_tuple else blocks[0]


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a function that returns one number; arguments as for `jacobian`.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0])
    >>> jitgrad.autograd.functional.hessian(lambda x: (x**3).sum(), x)
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    is_tuple, _ = _tuple(inputs, "hessian", "inputs")

    def slope(*args: Tensor) -> Any:
        found = jacobian(lambda *a: _single(func(*a), "hessian"), args, True, strict)
        return tuple(g.reshape(x.shape) for g, x in zip(found, args, strict=True))

    found = jacobian(slope, inputs, create_graph, strict, strategy=outer_jacobian_strategy)
    return found if is_tuple else found[0]


def _single(found: Any, name: str) -> Tensor:
    is_tuple, outputs = _outputs(found, name)
    if is_tuple:
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    (y,) = outputs
    if y.numel() != 1:
        raise RuntimeError(
            f"The Tensor returned by the function given to {name} should contain a single element"
        )
    return y.squeeze()


# ---------------------------------------------------------------- products
def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The function's value and the product of ``v`` with its jacobian.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0])
    >>> jitgrad.autograd.functional.vjp(lambda x: x * x, x, jitgrad.ones(2))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    with enable_grad():
        is_tuple, given = _tuple(inputs, "vjp", "inputs")
        made = _inputs(given, create_graph)
        out_tuple, outputs = _outputs(func(*made), "vjp")
        _strictly(outputs, strict)
        weights = _weights(v, outputs, out_tuple, "vjp")
        found = _grad(outputs, made, weights, create_graph, strict)
    return (
        _returned(outputs, out_tuple, create_graph),
        _returned(tuple(found), is_tuple, create_graph),
    )


def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The function's value and the product of its jacobian with ``v``.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0])
    >>> jitgrad.autograd.functional.jvp(lambda x: x * x, x, jitgrad.tensor([1.0, 0.0]))
    (tensor([1., 4.]), tensor([2., 0.]))
    """
    from jitgrad.creation import ones_like

    with enable_grad():
        is_tuple, given = _tuple(inputs, "jvp", "inputs")
        made = _inputs(given, create_graph)
        weights = _weights(v, made, is_tuple, "jvp")
        out_tuple, outputs = _outputs(func(*made), "jvp")
        _strictly(outputs, strict)
        # The vjp is linear in its cotangent; the derivative with respect to that is the jvp.
        # (At ones: a formula may treat a cotangent of 0 apart.)
        cotangents = [ones_like(y.detach()).requires_grad_() for y in outputs]
        pulled = _grad(outputs, made, cotangents, True, strict)
        found = _grad(pulled, cotangents, weights, create_graph, False)
    return (
        _returned(outputs, out_tuple, create_graph),
        _returned(tuple(found), out_tuple, create_graph),
    )


def vhp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The value of a function that returns one number, and the product of ``v`` with its hessian.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0])
    >>> jitgrad.autograd.functional.vhp(lambda x: (x**3).sum(), x, jitgrad.ones(2))
    (tensor(9.), tensor([ 6., 12.]))
    """
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


def hvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """As `vhp`: the hessian is symmetric."""
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


def _hessian_product(
    name: str, func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool, strict: bool
) -> tuple[Any, Any]:
    with enable_grad():
        is_tuple, given = _tuple(inputs, name, "inputs")
        made = _inputs(given, create_graph)
        weights = _weights(v, made, is_tuple, name)
        value = func(*made)
        scalar = _single(value, name)
        _strictly((scalar,), strict)
        slopes = _grad([scalar], made, [None], True, strict)
        found = _grad(slopes, made, weights, create_graph, strict)
    return (
        _returned((value,), False, create_graph),
        _returned(tuple(found), is_tuple, create_graph),
    )
