"""Names of nodes and of what they saved, beside PyTorch's, for every call that both know."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import jitgrad
from tests.calls import CALLS, Call

#: Calls whose last op is another one here: PyTorch's name of the node, then ours.
ELSEWHERE = {
    ("DivBackward2", "DivBackward0"),  # rounding_mode=None
    ("RsubBackward0", "SubBackward0"),
    ("MulBackward0", "DivBackward0"),  # a number divided
    ("MaxBackward0", "MaxBackward1"),
    ("MinBackward0", "MinBackward1"),
    ("UnsafeViewBackward0", "SqueezeBackward4"),  # a vector and a batch of matrices
    ("CloneBackward0", "UnsafeViewBackward0"),  # a matrix and a batch
    ("MulBackward0", "FusedRmsNormBackward0"),
    ("ViewBackward0", "NativeGroupNormBackward0"),
    ("SqueezeBackward1", "MaxPool1DBackward0"),
    ("SortBackward1", "SortBackward0"),
    ("VdotBackward0", "DotBackward0"),
    ("ViewBackward0", "UnsqueezeBackward0"),
    ("ExpandBackward0", "TransposeBackward0"),
    ("StackBackward0", "ViewBackward0"),
}
#: Functions that are composed of other ops than PyTorch's.
COMPOSED = (
    "attention",
    "einsum",
    "tensordot",
    "inner",
    "nn.",
    "matrix_norm",
    "multi_dot",
    "solve",
    "quantile",
)
#: What PyTorch saved, and this library did not: most of it is what only PyTorch's formula needs.
NOT_SAVED = {
    "DivBackward2", "LerpBackward0", "ProdBackward0", "ProdBackward1", "MaxBackward0", "MinBackward0",
    "MmBackward0", "AddmmBackward0", "SplitBackward0", "SplitWithSizesBackward0", "FlipBackward0",
    "RollBackward0", "RepeatBackward0", "ConvolutionBackward0", "LogSigmoidBackward0", "GluBackward0",
    "RreluWithNoiseBackward0", "ConstantPadNdBackward0", "Im2ColBackward0", "SortBackward0",
    "TopkBackward0", "ModeBackward0", "CummaxBackward0", "CumminBackward0", "KthvalueBackward0",
}  # fmt: skip
#: Of a node that is composed of several here nothing is shown.
NOTHING_SHOWN = (
    "Native", "Linalg", "MaxPool", "AvgPool", "AdaptiveAvg", "Reflection", "Upsample", "Median",
    "Nanmedian", "Aminmax", "Lgamma", "Erfinv", "Digamma", "Polygamma", "Ldexp", "Addmv", "Addr",
    "Baddbmm", "Addbmm", "Dist", "Rot90", "Trace", "DiagEmbed", "DiagonalScatter", "SelectScatter",
    "SliceScatter", "MaskedScatter", "ScatterReduce", "IndexReduce", "Cumprod", "Logcumsumexp", "Nansum",
    "VarMean", "StdMean", "Renorm", "View", "UnsafeView", "Squeeze", "DiagonalBackward0_copy",
)  # fmt: skip


def tensors(value: Any, kind: Any) -> list[Any]:
    if isinstance(value, kind):
        return [value]
    return [y for x in value for y in tensors(x, kind)] if isinstance(value, (tuple, list)) else []


def nodes(module: Any, call: Call) -> list[Any]:
    operands = []
    for operand, data in zip(call.operands, call.data("float32"), strict=True):
        x = module.from_numpy(data.copy())
        operands.append(x.requires_grad_() if operand.kind == "float" and operand.grad else x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [x.grad_fn for x in tensors(call.function(module, *operands), module.Tensor)]


def saved(node: Any) -> dict[str, Any]:
    return {name: getattr(node, name) for name in dir(node) if name.startswith("_saved_")}


@pytest.mark.timeout(900)  # it compiles the kernels of every call
def test_names_of_nodes(torch: Any) -> None:
    wrong = []
    for call in CALLS:
        if call.name.startswith(COMPOSED):
            continue
        for mine, theirs in zip(nodes(jitgrad, call), nodes(torch, call), strict=True):
            pair = tuple(None if n is None else n.name() for n in (theirs, mine))
            if pair[0] != pair[1] and pair not in ELSEWHERE:
                wrong.append(f"{call.name}: {pair[1]}, PyTorch's is {pair[0]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(900)
def test_names_of_what_is_saved(torch: Any) -> None:
    wrong = []
    for call in CALLS:
        if call.name in (
            "power 0.5",
            "outer",
            "ger",
        ):  # a square root; a product of reshaped vectors
            continue
        for mine, theirs in zip(nodes(jitgrad, call), nodes(torch, call), strict=True):
            if mine is None or theirs is None or mine.name() != theirs.name():
                continue
            if mine.name() in NOT_SAVED or mine.name().startswith(NOTHING_SHOWN):
                continue
            ours, other = saved(mine), saved(theirs)
            if set(ours) != set(other):
                wrong.append(f"{call.name} ({mine.name()}): {sorted(set(ours) ^ set(other))}")
            for name in set(ours) & set(other):
                x, y = ours[name], other[name]
                if isinstance(x, jitgrad.Tensor) and isinstance(y, torch.Tensor):
                    if tuple(x.shape) != tuple(y.shape):
                        wrong.append(f"{call.name}: {name} of shape {x.shape}, not {y.shape}")
    assert not wrong, "\n".join(wrong)


def test_values() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    w = jitgrad.tensor([3.0, 4.0], requires_grad=True)
    y = x * w
    assert y.grad_fn._saved_self.tolist() == [1.0, 2.0]
    assert y.grad_fn._saved_other is w
    assert x.exp().grad_fn._saved_result.tolist() == x.exp().tolist()
    assert (x * 2).grad_fn._saved_other == 2
    assert (x * jitgrad.ones(2)).grad_fn._saved_self is None
    assert jitgrad.sum(x.reshape(2, 1), 1, keepdim=True).grad_fn._saved_dim == (1,)
    assert jitgrad.sum(x.reshape(2, 1), 1, keepdim=True).grad_fn._saved_keepdim is True
    assert jitgrad.softmax(x, 0).grad_fn._saved_dim == 0
    assert x.reshape(2, 1).transpose(0, 1).grad_fn._saved_dim1 == 1
    assert jitgrad.sub(x, w, alpha=3).grad_fn._saved_alpha == 3
    assert jitgrad.clamp(x, 0, 1.5).grad_fn._saved_max == 1.5
    assert "_saved_self" in dir(y.grad_fn)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time .or directly access saved tensors"):
        y.grad_fn._saved_self  # noqa: B018
    with pytest.raises(AttributeError, match="_saved_weight"):
        y.grad_fn._saved_weight  # noqa: B018
    z = x.exp()
    z.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.grad_fn.next_functions[0][0]._saved_result  # noqa: B018
