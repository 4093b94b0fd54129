"""Einstein summation: each pair of operands becomes one batched matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from jitgrad.errors import sizes
from jitgrad.ops.operands import is_tensor
from jitgrad.ops.products import bmm

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

#: A dim's label: its letter, or the place from the right among the dims of the ellipsis.
Label = str | int
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DOTS = "..."


def _error(text: str) -> RuntimeError:
    return RuntimeError(f"einsum(): {text}")


def _subscripts(text: str, start: int, operand: int | None) -> list[str]:
    """The letters and the ellipsis of one operand, or of the output."""
    found: list[str] = []
    whose = "the output" if operand is None else f"operand {operand}"
    i = 0
    while i < len(text):
        c = text[i]
        if c == ".":
            if _DOTS in found:
                raise _error(f"found '.' for {whose} for which an ellipsis was already found")
            if text[i : i + 3] != _DOTS:
                raise _error(f"found '.' for {whose} that is not part of any ellipsis")
            found.append(_DOTS)
            i += 2
        elif c != " ":
            if c not in _LETTERS:
                raise _error(
                    f"invalid subscript given at index {start + i} in the equation string, subscripts"
                    " must be in [a-zA-Z]"
                )
            found.append(c)
        i += 1
    return found


def _equation(text: str) -> tuple[list[list[str]], list[str] | None]:
    left, arrow, right = text.partition("->")
    inputs, start = [], 0
    for k, part in enumerate(left.split(",")):
        inputs.append(_subscripts(part, start, k))
        start += len(part) + 1
    return inputs, _subscripts(right, len(left) + 2, None) if arrow else None


def _sublist(items: Any) -> list[str]:
    """Subscripts given as numbers from 0 to 51 and Ellipsis."""
    found = []
    for item in items:
        if item is Ellipsis:
            found.append(_DOTS)
        elif isinstance(item, int) and 0 <= item < len(_LETTERS):
            found.append(_LETTERS[item])
        else:
            raise ValueError(
                f"einsum(): subscripts must be Ellipsis or integers from 0 to 51, got {item}"
            )
    return found


def _arguments(args: tuple[Any, ...]) -> tuple[list[list[str]], list[str] | None, list[Any]]:
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand"
            " and its subscripts list"
        )
    if is_tensor(args[0]):
        output = _sublist(args[-1]) if len(args) % 2 else None
        pairs = args[: len(args) // 2 * 2]
        return [_sublist(s) for s in pairs[1::2]], output, list(pairs[::2])
    operands = args[1:]
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    inputs, output = _equation(args[0])
    return inputs, output, list(operands)


def _labels(k: int, subscripts: list[str], shape: Sequence[int]) -> list[Label]:
    """A label for each dim of operand ``k``."""
    letters = len(subscripts) - (_DOTS in subscripts)
    if _DOTS not in subscripts:
        if letters != len(shape):
            raise _error(
                f"the number of subscripts in the equation ({letters}) does not match the number of"
                f" dimensions ({len(shape)}) for operand {k} and no ellipsis was given"
            )
        return list(subscripts)
    if letters > len(shape):
        raise _error(
            f"the number of subscripts in the equation ({letters}) is more than the number of dimensions"
            f" ({len(shape)}) for operand {k}"
        )
    at = subscripts.index(_DOTS)
    dots: list[Label] = [*range(len(shape) - letters - 1, -1, -1)]
    return [*subscripts[:at], *dots, *subscripts[at + 1 :]]


def _diagonal(k: int, x: Tensor, labels: list[Label]) -> tuple[Tensor, list[Label]]:
    """An operand without repeated labels."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if x.shape[i] != x.shape[j]:
                raise _error(
                    f"subscript {label} is repeated for operand {k} but the sizes don't match,"
                    f" {x.shape[j]} != {x.shape[i]}"
                )
            x = x.diagonal(0, i, j)
            labels = [*labels[:i], *labels[i + 1 : j], *labels[j + 1 :], label]
    return x, labels


def _sum_out(x: Tensor, labels: list[Label], needed: set[Label]) -> tuple[Tensor, list[Label]]:
    out = [d for d, label in enumerate(labels) if label not in needed]
    return (x.sum(out) if out else x), [label for label in labels if label in needed]


def _product(
    a: Tensor, left: list[Label], b: Tensor, right: list[Label], needed: set[Label]
) -> tuple[Tensor, list[Label]]:
    """The product of two operands, summed over the labels that are no longer needed."""
    a, left = _sum_out(a, left, needed | set(right))
    b, right = _sum_out(b, right, needed | set(left))
    batch = [label for label in left if label in right and label in needed]
    summed = [label for label in left if label in right and label not in needed]
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]
    if not summed:
        # Nothing to add up: a broadcast product.
        a = a.permute([left.index(label) for label in [*batch, *rows]])
        b = b.permute([right.index(label) for label in [*batch, *columns]])
        a = a.reshape([*a.shape, *[1] * len(columns)])
        b = b.reshape([*b.shape[: len(batch)], *[1] * len(rows), *b.shape[len(batch) :]])
        return a * b, [*batch, *rows, *columns]
    size = dict(zip(left, a.shape, strict=True)) | dict(zip(right, b.shape, strict=True))
    n, m, k, w = (prod(size[label] for label in group) for group in (batch, rows, summed, columns))
    a = a.permute([left.index(label) for label in [*batch, *rows, *summed]]).reshape(n, m, k)
    b = b.permute([right.index(label) for label in [*batch, *summed, *columns]]).reshape(n, k, w)
    labels = [*batch, *rows, *columns]
    return bmm(a, b).reshape([size[label] for label in labels]), labels


def _output(inputs: list[list[Label]], given: list[str] | None) -> list[Label]:
    every = [label for labels in inputs for label in labels]
    dots: list[Label] = sorted({x for x in every if isinstance(x, int)}, reverse=True)
    if given is None:
        letters = [x for x in every if isinstance(x, str)]
        return [*dots, *(x for x in sorted(set(letters)) if letters.count(x) == 1)]
    found: list[Label] = []
    for label in given:
        if label == _DOTS:
            found += dots
            continue
        if label in found:
            raise _error(f"output subscript {label} appears more than once in the output")
        if label not in every:
            raise _error(
                f"output subscript {label} does not appear in the equation for any input operand"
            )
        found.append(label)
    return found


def einsum(*args: Any) -> Tensor:
    """Products of tensors summed over the labels of their dims that the output does not name.

    Parameters
    ----------
    *args : str and Tensor
        An equation such as ``"ij,jk->ik"`` (letters, ``...``, spaces; without ``->`` the labels that
        occur once, in order) and as many Tensors; or Tensors each followed by a list of numbers, and a
        list for the output.

    Returns
    -------
    Tensor
        In the order of the output's labels.

    Raises
    ------
    RuntimeError
        If the equation is wrong, or sizes of a label differ (1 broadcasts).
    ValueError
        If there is no operand.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.arange(4.0).view(2, 2)
    >>> jitgrad.einsum("ij,jk->ik", x, x).tolist()
    [[2.0, 3.0], [6.0, 11.0]]
    """
    inputs, given, operands = _arguments(args)
    if len(inputs) > len(operands):
        raise _error("fewer operands were provided than specified in the equation")
    if len(inputs) < len(operands):
        raise _error("more operands were provided than specified in the equation")
    labelled = [
        _labels(k, subscripts, x.shape)
        for k, (subscripts, x) in enumerate(zip(inputs, operands, strict=True))
    ]
    output = _output(labelled, given)
    size: dict[Label, int] = {}
    terms: list[tuple[Tensor, list[Label]]] = []
    for k, (x, labels) in enumerate(zip(operands, labelled, strict=True)):
        x, labels = _diagonal(k, x, labels)
        for label, n in zip(labels, x.shape, strict=True):
            if n != size.get(label, n) and 1 not in (n, size[label]):
                raise _error(
                    f"subscript {label} has size {n} for operand {k} which does not broadcast with"
                    f" previously seen size {size[label]}"
                )
            size[label] = n if size.get(label, 1) == 1 else size[label]
        terms.append((x, labels))
    # A dim of size 1 that is broadcast takes no part in the sum.
    for k, (x, labels) in enumerate(terms):
        for d in range(len(labels) - 1, -1, -1):
            if x.shape[d] == 1 and size[labels[d]] != 1:
                x, labels = x.squeeze(d), labels[:d] + labels[d + 1 :]
        terms[k] = x, labels
    x, labels = terms[0]
    for k in range(1, len(terms)):
        later = {label for _, other in terms[k + 1 :] for label in other}
        x, labels = _product(x, labels, *terms[k], set(output) | later)
    x, labels = _sum_out(x, labels, set(output))
    if set(labels) != set(output):
        raise _error(f"labels {output} have no dim in operands of shapes {sizes(x.shape)}")
    return x.permute([labels.index(label) for label in output]) if labels else x


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Products summed over ``dims``: so many last dims of ``a`` and first of ``b``, or two lists of dims.

    Raises
    ------
    RuntimeError
        If the lists differ in length, or sizes do not fit.
    """
    if is_tensor(dims):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        dims = (range(a.ndim - dims, a.ndim), range(dims))
    from jitgrad.ops.views import wrap_dim

    left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(left) != len(right):
        raise RuntimeError("both dimension lists should have same length")
    left, right = [wrap_dim(d, a.ndim) for d in left], [wrap_dim(d, b.ndim) for d in right]
    for i, j in zip(left, right, strict=True):
        if a.shape[i] != b.shape[j] and 1 not in (a.shape[i], b.shape[j]):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and"
                f" second has size {b.shape[j]} in dim {j}"
            )
    first = list(_LETTERS[: a.ndim])
    second = list(_LETTERS[a.ndim : a.ndim + b.ndim])
    for i, j in zip(left, right, strict=True):
        second[j] = first[i]
    kept = [c for c in first if c not in second] + [c for c in second if c not in first]
    return einsum(f"{''.join(first)},{''.join(second)}->{''.join(kept)}", a, b)
