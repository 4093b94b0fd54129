"""Which functions of the namespace are Tensor methods as well."""

from __future__ import annotations

from typing import Any

from jitgrad import creation, random
from jitgrad.ops import elementwise, indexing, joining, products, reductions, views
from jitgrad.tensor import Tensor

_METHODS = {
    elementwise: [
        name for name in elementwise.FUNCTIONS if name not in ("where", "clone", "rsub", "special_expit")
    ],
    reductions: (
        "sum mean prod amax amin max min argmax argmin all any var std norm logsumexp softmax log_softmax"
        " cumsum"
    ).split(),
    products: "mm bmm mv dot addmm outer matmul".split(),
    views: (
        "reshape flatten unflatten transpose swapaxes t permute movedim moveaxis squeeze unsqueeze expand"
        " broadcast_to select narrow diagonal unbind split chunk tensor_split"
    ).split(),
    joining: "flip repeat tril triu roll".split(),
    indexing: (
        "gather scatter scatter_add index_select index_add take take_along_dim masked_select nonzero"
        " index_put index_put_"
    ).split(),
    creation: "new_empty new_zeros new_ones new_full new_tensor".split(),
    random: "uniform_ normal_".split(),
}


def attach() -> None:
    """Give Tensor its methods and operators."""
    for module, names in _METHODS.items():
        for name in names:
            source = vars(module)
            if module is elementwise:
                source = elementwise.FUNCTIONS | elementwise.METHODS
            if name in source:
                setattr(Tensor, name, source[name])
    extra = {
        "__matmul__": products.matmul,
        "__rmatmul__": lambda self, other: products.matmul(other, self),
        "where": lambda self, condition, other: elementwise.where(condition, self, other),
    }
    for name, method in {**elementwise.OPERATORS, **elementwise.INPLACE, **extra}.items():
        setattr(Tensor, name, method)


attach()


_NAMESPACE_ONLY = {
    products: ["matmul"],
    reductions: ["max", "min"],
    joining: "cat concat concatenate stack".split(),
    indexing: "scatter".split(),
}


def public() -> dict[str, Any]:
    """The functions of the namespace: every op under its PyTorch name."""
    found: dict[str, Any] = dict(elementwise.FUNCTIONS)
    for table in (_METHODS, _NAMESPACE_ONLY):
        for module, names in table.items():
            if module in (elementwise, creation, random):
                continue
            found |= {n: vars(module)[n] for n in names if n in vars(module)}
    found.pop("repeat", None)
    found.pop("expand", None)
    return found
