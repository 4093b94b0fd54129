"""A module as a function of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jitgrad.nn import Module
    from jitgrad.tensor import Tensor

State = dict[str, Any]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: State | Sequence[State],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other Tensors in the place of its parameters and buffers.

    Parameters
    ----------
    module : Module
        It is as before afterwards, also after an error.
    parameter_and_buffer_dicts : dict or sequence of dicts
        Tensors by the names of `Module.named_parameters` and `Module.named_buffers`.
    args : tuple or anything else, optional
        Positional arguments; what is no tuple is the only one.
    kwargs : dict, optional
        Named arguments.
    tie_weights : bool
        Replace a parameter that the module knows under several names under all of them.
    strict : bool
        Raise unless every parameter and buffer is given.

    Raises
    ------
    ValueError
        If a name is given twice, or two tied names get different Tensors.
    RuntimeError
        In strict mode, if names are missing or unexpected.

    Examples
    --------
    >>> import jitgrad
    >>> layer = jitgrad.nn.Linear(2, 1, bias=False)
    >>> w = {"weight": jitgrad.tensor([[1.0, 2.0]])}
    >>> jitgrad.func.functional_call(layer, w, jitgrad.ones(2)).tolist()
    [3.0]
    """
    state: State
    if isinstance(parameter_and_buffer_dicts, dict):
        state = dict(parameter_and_buffer_dicts)
    elif isinstance(parameter_and_buffer_dicts, (tuple, list)):
        names = [name for each in parameter_and_buffer_dicts for name in each]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"{repeated} appeared in multiple dictionaries; behavior of functional call is"
                " ambiguous"
            )
        state = {name: x for each in parameter_and_buffer_dicts for name, x in each.items()}
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got"
            f" {type(parameter_and_buffer_dicts)}"
        )
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    with swapped(module, state, tie_weights=tie_weights, strict=strict):
        return module(*positional, **(kwargs or {}))


def _places(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each parameter and buffer is kept, by every name it has."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for prefix, inner in module.named_modules(remove_duplicate=False):
        for table in (inner._parameters, inner._buffers):
            for name, x in table.items():
                if x is not None:
                    found[f"{prefix}.{name}" if prefix else name] = (table, name)
    return found


@contextmanager
def swapped(
    module: Module, state: State, *, tie_weights: bool = True, strict: bool = False
) -> Iterator[None]:
    """Other Tensors in the place of a module's parameters and buffers, while inside."""
    places = _places(module)
    unexpected = [name for name in state if name not in places]
    missing = [name for name in places if name not in state]
    if strict and (unexpected or missing):
        wrong = [
            f"{words} key(s): {', '.join(map(repr, names))}."
            for words, names in (("Unexpected", unexpected), ("Missing", missing))
            if names
        ]
        listed = "\n\t".join(wrong)
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t{listed}")
    wanted = {name: x for name, x in state.items() if name in places}
    if tie_weights:
        wanted |= _tied(places, wanted)
    before = [(table, name, table[name]) for table, name in (places[n] for n in wanted)]
    try:
        for full, x in wanted.items():
            table, name = places[full]
            table[name] = x
        yield
    finally:
        for table, name, x in before:
            table[name] = x


def _tied(places: dict[str, tuple[dict[str, Any], str]], wanted: State) -> State:
    """What is given for one of a Tensor's names, for its other names."""
    by_tensor: dict[int, Tensor] = {}
    for full, x in wanted.items():
        table, name = places[full]
        known = by_tensor.setdefault(id(table[name]), x)
        if known is not x:
            raise ValueError(
                f"functional_call got multiple values for keys of the same tensor, among them {full!r}, which"
                " are tied. Consider using tie_weights=False"
            )
    return {
        full: by_tensor[id(table[name])]
        for full, (table, name) in places.items()
        if full not in wanted and id(table[name]) in by_tensor
    }


def stack_module_state(models: Sequence[Module]) -> tuple[State, State]:
    """The parameters and the buffers of modules of one structure, each stacked along a new first dim.

    Raises
    ------
    RuntimeError
        If there are none, or their classes differ.

    Examples
    --------
    >>> import jitgrad
    >>> params, _ = jitgrad.func.stack_module_state([jitgrad.nn.Linear(2, 1) for _ in range(3)])
    >>> params["weight"].shape
    jitgrad.Size([3, 1, 2])
    """
    from jitgrad.ops.joining import stack

    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]

    def stacked(states: Sequence[Mapping[str, Tensor]], like: bool) -> State:
        made = {k: stack([s[k].detach() for s in states]) for k in states[0]}
        if like:
            for k, x in made.items():
                x.requires_grad_(states[0][k].requires_grad)
        return made

    return stacked(parameters, True), stacked(buffers, False)
