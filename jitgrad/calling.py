"""How functions may be called besides by their signatures: other names of arguments, and ``out=``.

A function is written with the arguments that it needs.  `widened` makes what users call: it also takes
``axis`` for ``dim``, ``keepdims`` for ``keepdim``, the sizes or dims of a function of any number of them
under their name, and ``out=``.  Its source is generated, with the function's own signature, because that
costs a call a third of what passing on ``*args, **kwargs`` does.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from jitgrad.arena.header import Fault
from jitgrad.ops import shortcuts
from jitgrad.ops.operands import is_tensor
from jitgrad.ops.out import write_out

#: NumPy's names for what PyTorch calls otherwise.
ALIASES = {"axis": "dim", "keepdims": "keepdim"}


#: Arguments of any number, which may also be given as one sequence under a name.
VARIADIC = {"size": "size", "sizes": "size", "shape": "shape", "dims": "dims", "repeats": "repeats"}

#: Functions of the namespace that take ``out=``, and whether their result may be converted for it.
OUT = dict.fromkeys(
    (
        "add addcdiv addcmul all amax amin any arange atan2 bernoulli bitwise_not cat clamp clamp_max"
        " clamp_min clip column_stack concat concatenate cumprod cumsum digamma div divide dstack empty"
        " erfinv eye float_power floor_divide full heaviside hstack ldexp lerp lgamma linspace logcumsumexp"
        " logit logspace logsumexp mean nan_to_num nanmean norm normal ones pow prod rand randint randn"
        " randperm renorm round row_stack signbit softmax square stack std std_mean sub subtract sum"
        " true_divide var var_mean vstack where zeros isposinf isneginf polygamma gcd lcm diff"
    ).split(),
    "cast",
) | dict.fromkeys(
    (
        "addbmm addmm addmv addr aminmax argmax argmin baddbmm bmm bucketize chain_matmul cholesky cross"
        " cummax cummin diag dot gather ger histc index_select inner inverse kron kthvalue log_softmax"
        " masked_select matmul matrix_power max median min mm mode msort multinomial mv nanmedian"
        " nanquantile nonzero outer pinverse quantile searchsorted sort take_along_dim tensordot topk tril"
        " triu vdot"
    ).split(),
    "exact",
)


#: Functions that make a tensor: their sizes have a name, and some write into a given one.
CREATING = (
    "arange bernoulli empty eye full linspace logspace multinomial normal ones rand randint randn randperm"
    " zeros"
).split()


class _Missing:
    def __repr__(self) -> str:
        return "<not given>"


MISSING = _Missing()


@functools.cache
def _maker(
    positional: tuple[str, ...],
    rest: str | None,
    keywords: tuple[str, ...],
    added: tuple[str, ...],
    more: bool,
    needs_dim: bool,
    checked: bool,
    ways: tuple[shortcuts.Way, ...],
    names: tuple[str, ...],
) -> Any:
    """A function that makes the caller of a function of such a signature and such shortcuts."""
    star = ["*rest_"] if rest else ["*"] * bool(keywords or added)
    takes = [*positional, *star, *keywords, *added, *["**more_"] * more]
    gives = [*positional, *["*rest_"] * bool(rest), *(f"{k}={k}" for k in keywords)]
    gives += ["**more_"] * more
    plain = " and ".join(f"{a} is None" for a in added)
    if needs_dim:
        # It may be given under the other name, so it has a default.
        plain += " and dim is not MISSING"
    if set(added) & set(VARIADIC.values()):
        plain += " and rest_"
    known = ", ".join(f"{n!r}: {n}" for n in [*positional, *keywords, *added])
    everything = f"{{{known}{', **more_' * more}}}"
    lines = [f"if {plain}:" if plain else "if True:"]
    for condition, call in ways:
        lines += [f"    if {condition}:", "        try:", f"            return {call}"]
        lines += ["        except Fault:", "            pass"]
    lines += [
        f"    return function({', '.join(gives)})",
        f"return otherwise({everything}, {'rest_' if rest else '()'})",
    ]
    if checked:
        lines = ["try:", *("    " + line for line in lines)]
        lines += [
            "except ERRORS as error:",
            f"    raise misfit(function, {everything}, error) from None",
        ]
    source = (
        f"def make({', '.join(['function, otherwise, misfit, MISSING, ERRORS, Fault', *names])}):\n"
        f"    def called({', '.join(takes)}):\n"
        + "".join(f"        {line}\n" for line in lines)
        + "    return called\n"
    )
    space: dict[str, Any] = {}
    exec(source, space)
    return space["make"]


def widened(
    function: Callable[..., Any], out: str = "", checked: bool = False
) -> Callable[..., Any]:
    """``function`` with other names for its arguments; itself if it needs none.

    ``out`` adds an argument of this name: "cast" for a function whose result may be converted to the dtype
    of ``out``, "exact" for one whose result may not.  ``checked`` turns errors that come from an argument
    that is no Tensor into PyTorch's.
    """
    inner = inspect.unwrap(function)
    code = inner.__code__
    count, only = code.co_argcount, code.co_kwonlyargcount
    positional, keywords = code.co_varnames[:count], code.co_varnames[count : count + only]
    rest = code.co_varnames[count + only] if code.co_flags & inspect.CO_VARARGS else None
    variadic = VARIADIC.get(rest or "")
    added = [a for a, name in ALIASES.items() if name in (*positional, *keywords)]
    added += [variadic] if variadic else []
    added += ["out"] if out else []
    checked = checked and positional[:1] == ("input",)
    if not added and not checked:
        return function
    more = bool(code.co_flags & inspect.CO_VARKEYWORDS)
    defaults = inner.__defaults__ or ()
    needs_dim = "axis" in added and "dim" in positional[: count - len(defaults)]
    ways, names = shortcuts.of(inner)
    make = _maker(
        positional, rest, keywords, tuple(added), more, needs_dim, checked, ways, tuple(names)
    )
    called = make(
        function,
        functools.partial(_otherwise, function, positional, variadic, out == "exact"),
        _misfit,
        MISSING,
        (AttributeError, TypeError, Fault),
        Fault,
        **names,
    )
    functools.update_wrapper(called, function)
    called.__module__ = "jitgrad"
    if needs_dim:
        defaults = (MISSING,) * (count - len(defaults) - positional.index("dim")) + defaults
    called.__defaults__ = defaults
    called.__kwdefaults__ = (inner.__kwdefaults__ or {}) | dict.fromkeys(added)
    return called


#: Arguments that are Tensors wherever they are called so.
_TENSORS = ("input", "other", "mat1", "mat2", "vec", "vec2", "tensor", "index", "batch1", "batch2")


def _misfit(function: Callable[..., Any], given: dict[str, Any], error: Exception) -> Exception:
    """The error of a call in which an argument is no Tensor; any other as it is."""
    for place, (name, value) in enumerate(given.items(), 1):
        if name in _TENSORS and not is_tensor(value):
            return TypeError(
                f"{function.__name__}(): argument '{name}' (position {place}) must be Tensor,"
                f" not {type(value).__name__}"
            )
    return error


def _otherwise(
    function: Callable[..., Any],
    positional: tuple[str, ...],
    variadic: str | None,
    exact: bool,
    given: dict[str, Any],
    rest: tuple[Any, ...],
) -> Any:
    """A call that gives one of the added arguments, or leaves out one that is needed."""
    name = function.__name__
    out = given.pop("out", None)
    for other, usual in ALIASES.items():
        value = given.pop(other, None)
        if value is not None:
            given[usual] = value
    sequence = given.pop(variadic, None) if variadic else None
    if sequence is not None:
        if rest:
            raise TypeError(f"{name}() got multiple values for argument '{variadic}'")
        rest = (sequence,)
    elif variadic and not rest:
        raise TypeError(f'{name}() missing 1 required positional arguments: "{variadic}"')
    for argument, value in given.items():
        if value is MISSING:
            raise TypeError(f'{name}() missing 1 required positional arguments: "{argument}"')
    found = function(*[given.pop(n) for n in positional], *rest, **given)
    return found if out is None else write_out(name, out, found, exact)
