"""Linear and bilinear maps as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.ops.products import linear

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["bilinear", "linear"]


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input1 @ weight[k] @ input2 + bias[k]`` for every k.

    Parameters
    ----------
    input1, input2 : Tensor
        (..., in1) and (..., in2), with the same leading dims.
    weight : Tensor
        (out, in1, in2).
    bias : Tensor, optional
        (out).

    Returns
    -------
    Tensor
        (..., out).

    Raises
    ------
    RuntimeError
        If sizes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> ones = jitgrad.ones
    >>> jitgrad.nn.functional.bilinear(ones(2), ones(3), ones(1, 2, 3)).tolist()
    [6.0]
    """
    a, b = tuple(input1.shape), tuple(input2.shape)
    if len(a) != len(b):
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {len(a)} and {len(b)}")
    for i in range(len(a) - 1):
        if a[i] != b[i]:
            raise RuntimeError(
                f"bilinear(): input batch dimensions do not match at dim {i}: got {a[i]} and {b[i]}"
            )
    out, in1, in2 = weight.shape
    for number, found, wanted in ((1, a[-1], in1), (2, b[-1], in2)):
        if found != wanted:
            raise RuntimeError(
                f"bilinear(): input{number} size does not match weight size: got {found} but expected"
                f" {wanted}"
            )
    if bias is not None and bias.shape[0] != out:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias.shape[0]} but expected {out}"
        )
    flat = weight.permute(1, 0, 2).reshape(in1, out * in2)
    products = (input1.reshape(-1, in1) @ flat).reshape(-1, out, in2)
    found = (products * input2.reshape(-1, 1, in2)).sum(-1).reshape(*a[:-1], out)
    return found if bias is None else found + bias
