"""Functions that differentiate functions: grad, vjp, jvp, jacobians, hessian."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jitgrad.autograd.pushing import forward_mode
from jitgrad.func import levels
from jitgrad.func.tree import flatten, map_leaves

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Argnums = int | tuple[int, ...]


def _positions(argnums: Argnums, count: int) -> tuple[int, ...]:
    named = (argnums,) if isinstance(argnums, int) else argnums
    if not isinstance(named, tuple) or not all(isinstance(i, int) for i in named):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if not named:
        raise RuntimeError("argnums must be non-empty")
    for i in named:
        if not -count <= i < count:
            raise RuntimeError(
                f"Got argnum={i}, but only {count} positional inputs; it has to be in"
                f" [{-count}, {count})"
            )
    found = tuple(i % count for i in named)
    if len(set(found)) != len(found):
        raise RuntimeError(f"argnums elements must be unique. Got {argnums}")
    return found


def _prepared(
    args: tuple[Any, ...], argnums: Argnums, what: str
) -> tuple[list[Any], Any, list[Tensor]]:
    """The arguments with fresh inputs in the chosen places; these; and their Tensors."""
    places = _positions(argnums, len(args))
    made = list(args)
    for i in places:
        for x in flatten(args[i])[0]:
            if not levels.is_tensor(x):
                raise RuntimeError(
                    f"{what}: Expected all inputs to be Tensors, got unsupported type {type(x)}"
                )
        made[i] = map_leaves(levels.fresh, args[i])
    chosen = made[places[0]] if isinstance(argnums, int) else tuple(made[i] for i in places)
    inputs = flatten(chosen)[0]
    for x in inputs:
        if not x.requires_grad:
            raise RuntimeError(
                f"{what}: only Tensors of floating point dtype can require gradients, got {x.dtype}"
            )
    return made, chosen, inputs


def _split(found: Any, has_aux: bool, what: str) -> tuple[Any, Any]:
    if not has_aux:
        return found, None
    if not isinstance(found, tuple) or len(found) != 2:
        raise RuntimeError(
            f"{what}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return found


def _further(nested: bool, args: Any, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    """Whether what is computed may be differentiated again: by a transform around, or by the user."""
    if nested or any(levels.is_tensor(x) and x.requires_grad for x in flatten(args)[0]):
        return True
    return levels.foreign(outputs, inputs)


# ---------------------------------------------------------------- gradients
def grad_and_value(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of ``func`` and its value; arguments as for `grad`.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.func.grad_and_value(lambda x: (x * x).sum())(jitgrad.tensor([1.0, 2.0]))
    (tensor([2., 4.]), tensor(5.))
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with levels.level() as nested:
            made, chosen, inputs = _prepared(args, argnums, "grad")
            value, aux = _split(func(*made, **kwargs), has_aux, "grad_and_value(f)(*args)")
            if not levels.is_tensor(value):
                raise RuntimeError(
                    "Expected f(*args) to return one tensor or a tuple of one tensor and aux, got"
                    f" output of type {type(value)}"
                )
            if value.ndim:
                raise RuntimeError(
                    "Expected f(*args) to return a scalar tensor, got tensor with"
                    f" {value.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
                )
            further = _further(nested, args, [value], inputs)
            found = levels.gradients([value], inputs, [None], further)
            gradient = flatten(chosen)[1](found)
            value, aux = levels.released(value, further), levels.released(aux, further)
            return (gradient, (value, aux)) if has_aux else (gradient, value)

    return wrapper


def grad(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of ``func``, which returns one number.

    Parameters
    ----------
    func : callable
        Returns a Tensor without dims, or with ``has_aux`` that and anything else.
    argnums : int or tuple of int
        The arguments (Tensors, or containers of them) to differentiate with respect to.
    has_aux : bool
        Return ``(gradient, aux)``.

    Raises
    ------
    RuntimeError
        When called: if ``func`` returns something else, or an argument is missing or no Tensor.

    Examples
    --------
    >>> import jitgrad
    >>> cube = lambda x: x**3
    >>> jitgrad.func.grad(jitgrad.func.grad(cube))(jitgrad.tensor(2.0))
    tensor(12.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gradient, rest = both(*args, **kwargs)
        return (gradient, rest[1]) if has_aux else gradient

    return wrapper


def _outputs(value: Any, what: str) -> list[Tensor]:
    leaves = flatten(value)[0]
    for y in leaves:
        if not levels.is_tensor(y):
            raise RuntimeError(
                f"{what}: Expected f(*primals) to return only tensors, got unsupported type {type(y)}"
            )
    return leaves


def _same_shapes(given: Sequence[Any], wanted: Sequence[Tensor], what: str) -> None:
    if len(given) != len(wanted):
        raise RuntimeError(f"{what}: Expected {len(wanted)} tensors, got {len(given)}")
    for i, (g, w) in enumerate(zip(given, wanted, strict=True)):
        if not levels.is_tensor(g) or g.shape != w.shape:
            have = list(g.shape) if levels.is_tensor(g) else type(g).__name__
            raise RuntimeError(
                f"{what}: at position {i}: expected shape {list(w.shape)}, got {have}"
            )


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of ``func`` and a function from a cotangent of it to those of the primals.

    Returns
    -------
    tuple
        ``(output, vjp_fn)``, with ``has_aux`` also aux.  ``vjp_fn`` returns a tuple, a gradient for each
        primal.

    Examples
    --------
    >>> import jitgrad
    >>> y, pull = jitgrad.func.vjp(jitgrad.sin, jitgrad.zeros(2))
    >>> pull(jitgrad.ones(2))
    (tensor([1., 1.]),)
    """
    with levels.level() as nested:
        made = tuple(map_leaves(levels.fresh, p) for p in primals)
        inputs = levels.inputs_of(made)
        value, aux = _split(func(*made), has_aux, "vjp(f, *primals)")
        outputs = _outputs(value, "vjp(f, *primals)")
        further = _further(nested, primals, outputs, inputs)
        released = levels.released(value, further)
    structure = flatten(made)[1]
    leaves = flatten(made)[0]

    def vjp_fn(cotangents: Any) -> Any:
        given = flatten(cotangents)[0]
        _same_shapes(given, outputs, "vjp_fn(cotangents)")
        again = further or any(g.requires_grad for g in given)
        found = iter(levels.gradients(outputs, inputs, given, again))
        return structure([next(found) if x.requires_grad else None for x in leaves])

    return (released, vjp_fn, levels.released(aux, further)) if has_aux else (released, vjp_fn)


# ---------------------------------------------------------------- forward mode
class Pushforward:
    """The derivative of recorded outputs as a function of the inputs' tangents.

    The vjp is linear in the cotangent: differentiated with respect to it, in the direction of the
    tangents, it is the jvp (J. Townsend, "A new trick for calculating Jacobian vector products", 2017).
    """

    def __init__(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        from jitgrad.creation import ones_like

        self._outputs = outputs
        # Not zeros: a formula may treat a cotangent of 0 apart, and 0 * inf is NaN.
        self._cotangents = [ones_like(y.detach()).requires_grad_() for y in outputs]
        with forward_mode():
            self._pulled = levels.gradients(outputs, inputs, self._cotangents, True)

    def __call__(self, tangents: Sequence[Tensor], further: bool) -> list[Tensor]:
        """The outputs' tangents."""
        return levels.gradients(self._pulled, self._cotangents, tangents, further)


def jvp(
    func: Callable[..., Any],
    primals: Any,
    tangents: Any,
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> tuple[Any, ...]:
    """The value of ``func`` at ``primals`` and its derivative in the direction of ``tangents``.

    Parameters
    ----------
    primals, tangents : tuple
        Arguments of ``func`` and, of the same structure and shapes, the direction.
    strict : bool
        Accepted and without effect.

    Returns
    -------
    tuple
        ``(output, jvp_out)``, with ``has_aux`` also aux.

    Raises
    ------
    RuntimeError
        If the structures or shapes differ.

    Examples
    --------
    >>> import jitgrad
    >>> x, t = jitgrad.tensor([1.0, 2.0]), jitgrad.tensor([1.0, 0.0])
    >>> jitgrad.func.jvp(lambda x: x * x, (x,), (t,))
    (tensor([1., 4.]), tensor([2., 0.]))
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to be tuples")
    given = flatten(tangents)[0]
    with levels.level() as nested:
        made = tuple(map_leaves(levels.fresh, p) for p in primals)
        inputs = flatten(made)[0]
        _same_shapes(given, inputs, "jvp(f, primals, tangents)")
        value, aux = _split(func(*made), has_aux, "jvp(f, primals, tangents)")
        outputs, rebuild = _outputs(value, "jvp(f, primals, tangents)"), flatten(value)[1]
        further = _further(nested, (primals, tangents), outputs, inputs)
        found = rebuild(Pushforward(outputs, inputs)(given, further))
        value = levels.released(value, further)
        return (value, found, levels.released(aux, further)) if has_aux else (value, found)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of ``func`` and its jvp at ``primals`` as a function of the tangents.

    Examples
    --------
    >>> import jitgrad
    >>> y, push = jitgrad.func.linearize(jitgrad.exp, jitgrad.zeros(2))
    >>> push(jitgrad.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    with levels.level() as nested:
        made = tuple(map_leaves(levels.fresh, p) for p in primals)
        inputs = flatten(made)[0]
        value = func(*made)
        outputs, rebuild = _outputs(value, "linearize(f, *primals)"), flatten(value)[1]
        further = _further(nested, primals, outputs, inputs)
        push = Pushforward(outputs, inputs)

    def jvp_fn(*tangents: Any) -> Any:
        given = flatten(tangents)[0]
        _same_shapes(given, inputs, "jvp_fn(*tangents)")
        return rebuild(push(given, further))

    return levels.released(value, further), jvp_fn


# ---------------------------------------------------------------- jacobians
def unit_tensors(x: Tensor) -> list[Tensor]:
    """The unit vectors of the space of ``x``."""
    from jitgrad.creation import eye

    n = x.numel()
    return [row.reshape(x.shape) for row in eye(n, dtype=x.dtype, device=x.device)] if n else []


def stacked_rows(rows: list[Tensor], shape: Sequence[int], like: Tensor) -> Tensor:
    from jitgrad.creation import zeros
    from jitgrad.ops.joining import stack

    if not rows:
        return zeros((*shape, *like.shape), dtype=like.dtype, device=like.device)
    return stack(rows).reshape((*shape, *like.shape))


def jacrev(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that returns the jacobian of ``func``, a backward pass for each element of its output.

    Parameters
    ----------
    func : callable
        Returns a Tensor or a container of Tensors.
    argnums : int or tuple of int
        The arguments to differentiate with respect to.
    has_aux : bool
        ``func`` returns ``(output, aux)``; return ``(jacobian, aux)``.
    chunk_size : int, optional
        Accepted and without effect.

    Returns
    -------
    callable
        It returns for each output and each input a Tensor of the output's shape followed by the input's.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.func.jacrev(lambda x: x * x)(jitgrad.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with levels.level() as nested:
            made, chosen, inputs = _prepared(args, argnums, "jacrev")
            value, aux = _split(func(*made, **kwargs), has_aux, "jacrev")
            outputs, rebuild = _outputs(value, "jacrev"), flatten(value)[1]
            further = _further(nested, args, outputs, inputs)
            blocks = []
            for y in outputs:
                rows = levels.rows(y, inputs, further)
                parts = [
                    stacked_rows([row[k] for row in rows], y.shape, x) for k, x in enumerate(inputs)
                ]
                blocks.append(flatten(chosen)[1](parts))
            found = rebuild(blocks)
            return (found, levels.released(aux, further)) if has_aux else found

    return wrapper


def jacfwd(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """A function that returns the jacobian of ``func``, a pass for each element of its inputs.

    Arguments and result as for `jacrev`; cheaper where there are fewer inputs than outputs.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.func.jacfwd(jitgrad.sin)(jitgrad.zeros(2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from jitgrad.creation import zeros_like

        with levels.level() as nested:
            made, chosen, inputs = _prepared(args, argnums, "jacfwd")
            value, aux = _split(func(*made, **kwargs), has_aux, "jacfwd")
            outputs, rebuild = _outputs(value, "jacfwd"), flatten(value)[1]
            further = _further(nested, args, outputs, inputs)
            push = Pushforward(outputs, inputs)
            nothing = [zeros_like(x.detach()) for x in inputs]
            parts: list[list[Tensor]] = [[] for _ in outputs]
            for k, x in enumerate(inputs):
                columns = [
                    push([*nothing[:k], e, *nothing[k + 1 :]], further) for e in unit_tensors(x)
                ]
                for i, y in enumerate(outputs):
                    # Columns are stacked in front; the jacobian has the output's dims first.
                    block = stacked_rows([c[i] for c in columns], x.shape, y)
                    order = [*range(x.ndim, block.ndim), *range(x.ndim)]
                    parts[i].append(block.permute(order) if order else block)
            found = rebuild([flatten(chosen)[1](p) for p in parts])
            return (found, levels.released(aux, further)) if has_aux else found

    return wrapper


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that returns the second derivatives of ``func``, a pass for each element of its inputs.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.func.hessian(lambda x: (x**3).sum())(jitgrad.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacrev(jacrev(func, argnums), argnums)
