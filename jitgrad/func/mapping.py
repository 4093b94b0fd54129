"""vmap: a function for one example becomes a function for a batch of them."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jitgrad import random
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.arena.header import header
from jitgrad.arena.interception import intercepted
from jitgrad.func import levels
from jitgrad.func.tree import broadcast, flatten

_local = threading.local()
_RANDOMNESS = ("error", "different", "same")


def _guard(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``entry.item`` while a vmap runs: like PyTorch's, it gives no number of what was made inside."""

    def guarded(tensor: Any) -> Any:
        began = getattr(_local, "began", None)
        if began is not None and entry.word(tensor, col.SEQ) > began:
            if sys._getframe(2).f_code.co_name == "__bool__":
                raise RuntimeError(
                    "vmap: It looks like you're attempting to use a Tensor in some data-dependent control"
                    " flow. We don't support that yet, please file an issue at"
                    " https://github.com/pytorch/pytorch/issues ."
                )
            raise RuntimeError(
                "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling"
                " .item() on a Tensor, please try to rewrite what you're doing with other operations."
            )
        return item(tensor)

    return guarded


@contextmanager
def _mapping(randomness: str) -> Iterator[None]:
    """Numbers can't be read inside; the outermost vmap of the thread says since when."""
    before = getattr(_local, "began", None)
    outer, random.mapping.randomness = random.mapping.randomness, randomness
    _local.began = int(header[col.H_SEQ]) if before is None else before
    try:
        with intercepted({"item": _guard}):
            yield
    finally:
        _local.began = before
        random.mapping.randomness = outer


def _examples(size: int, randomness: str) -> Iterator[int]:
    """The numbers of the examples; with the same random numbers for each if asked."""
    state = random.get_rng_state() if randomness == "same" else None
    for i in range(size):
        if state is not None:
            random.set_rng_state(state)
        yield i


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that applies ``func`` to each position of a dim of its arguments and stacks the results.

    The examples run one after the other: what is saved is the bookkeeping, not the time of a call.

    Parameters
    ----------
    func : callable
        Returns Tensors, or containers of them.
    in_dims : int, None or container
        For each argument, or for all, the dim that is mapped over; None: not at all.
    out_dims : int or container
        Where the new dim stands in each result.
    randomness : {"error", "different", "same"}
        What drawing random numbers inside does: raise, give each example its own, or all the same.
    chunk_size : int, optional
        Accepted and without effect.

    Raises
    ------
    ValueError
        When called: if nothing is mapped over, sizes differ, a dim is out of range, a structure does not
        fit, or ``func`` returns something else than Tensors.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.func.vmap(jitgrad.dot)(jitgrad.ones(2, 3), jitgrad.ones(2, 3))
    tensor([3., 3.])
    """
    if randomness not in _RANDOMNESS:
        raise RuntimeError(
            f"Only allowed values for randomness are {', '.join(_RANDOMNESS)}. Got {randomness}"
        )
    name = getattr(func, "__name__", repr(func))

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        dims = _dims(args, in_dims, name)
        values, rebuild = flatten(args)
        size = _size(values, dims, in_dims, name)
        with _mapping(randomness):
            parts = [
                x.unbind(d) if d is not None else None for x, d in zip(values, dims, strict=True)
            ]
            results = [
                func(
                    *rebuild(
                        [x if p is None else p[i] for x, p in zip(values, parts, strict=True)]
                    ),
                    **kwargs,
                )
                for i in _examples(size, randomness)
            ]
        return _joined(results, out_dims, name)

    return wrapper


def _dims(args: tuple[Any, ...], in_dims: Any, name: str) -> list[int | None]:
    """For each leaf of the arguments the dim that is mapped over, counted from the front."""
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to"
            " vmap over a function with no inputs. The latter is unsupported."
        )
    if not isinstance(in_dims, (int, tuple, list)):
        raise ValueError(
            f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): expected `in_dims` to be int or a"
            f" (potentially nested) tuple matching the structure of inputs, got: {type(in_dims)}."
        )
    try:
        said = broadcast(tuple(in_dims) if isinstance(in_dims, list) else in_dims, args)
    except ValueError:
        raise ValueError(
            f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): in_dims is not compatible with the"
            " structure of `inputs`."
        ) from None
    found: list[int | None] = []
    for x, d in zip(flatten(args)[0], said, strict=True):
        if d is None:
            found.append(None)
            continue
        if not isinstance(d, int):
            raise ValueError(
                f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for an input but"
                " in_dim must be either an integer dimension or None."
            )
        if not levels.is_tensor(x):
            raise ValueError(
                f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for an input but the"
                f" input is of type {type(x)}. We cannot vmap over non-Tensor arguments, please use None"
                " as the respective in_dim"
            )
        if not -x.ndim <= d < x.ndim:
            raise ValueError(
                f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for some input, but"
                f" that input is a Tensor of dimensionality {x.ndim} so expected in_dim to satisfy"
                f" -{x.ndim} <= in_dim < {x.ndim}."
            )
        found.append(d % x.ndim)
    return found


def _size(values: list[Any], dims: list[int | None], in_dims: Any, name: str) -> int:
    sizes = [x.shape[d] for x, d in zip(values, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError(
            f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): at least one Tensor has to be mapped over"
        )
    if len(set(sizes)) > 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes"
            f" {sizes} for the mapped dimension"
        )
    if not sizes[0]:
        raise ValueError("vmap: the mapped dimension has size 0, there is nothing to apply func to")
    return sizes[0]


def _joined(results: list[Any], out_dims: Any, name: str) -> Any:
    from jitgrad.ops.joining import stack

    leaves, rebuild = flatten(results[0])
    for y in leaves:
        if not levels.is_tensor(y):
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(y)} as a return."
            )
    try:
        dims = broadcast(out_dims, results[0])
    except ValueError:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims}): out_dims is not compatible with the structure of"
            " the outputs."
        ) from None
    columns = zip(*(flatten(r)[0] for r in results), strict=True)
    return rebuild([c[0] if d is None else stack(c, d) for c, d in zip(columns, dims, strict=True)])
