"""What a node saved, under PyTorch's names: ``grad_fn._saved_self``, ``_saved_result``, ``_saved_dim``, ...

An op's operands are called ``self``, ``other``, ... unless `_NAMES` says otherwise; listed are those that one
of its gradients reads, and its result if one does.  What else PyTorch keeps stands behind a semicolon.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry
from jitgrad.autograd.stops import as_rounded
from jitgrad.dtypes import float32
from jitgrad.ops.recipe import shape_of
from jitgrad.ops.record import NAMED
from jitgrad.ops.table import KERNEL, LANES, OPS, POINTWISE, VIEW, Op

_OPERANDS = ("self", "other", "third", "fourth")

#: Op -> names of its operands ("-": not shown), then ";" and the other values: a name that `_READ` knows, a
#: constant ("alpha=1"), an attribute ("dim@0": the first, "eps@2f": the third, a float), or "-result": it is
#: not shown.
_NAMES = {
    "add": "; alpha=1",
    "add_scaled": "- - alpha",
    "sub": "; alpha=1",
    "sub_scaled": "- - alpha",
    "square": "; exponent=2",
    "cube": "; exponent=3",
    "pow_half": "- ; exponent=0.5",
    "pow_inverse": "; exponent=-1",
    "pow": "self exponent ; -result",
    "pow_tensor": "self exponent",
    "lerp": "self end weight",
    "addcmul": "- tensor1 tensor2 value",
    "addcdiv": "- tensor1 tensor2 value",
    "clamp": "self min max",
    "clamp_tensor": "self min max",
    "clamp_low": "self min ; max=None",
    "clamp_min": "self min",
    "clamp_high": "self max ; min=None",
    "clamp_max": "self max",
    "where": "condition - -",
    "masked_fill": "- mask -",
    "logit": "self eps",
    "elu": "self alpha ; scale=1 input_scale=1",
    "selu": "; alpha=1.6732632423543772 scale=1.0507009873554805 input_scale=1",
    "celu": "self alpha",
    "gelu": "; approximate=none",
    "gelu_tanh": "; approximate=tanh",
    "hardtanh": "self min_val max_val",
    "leaky_relu": "self negative_slope",
    "prelu": "self weight",
    "softplus": "self beta threshold",
    "softshrink": "self lambd",
    "hardshrink": "self lambd",
    "threshold": "self threshold -",
    "logsigmoid": "self",
    "rrelu": "self -",
    "glu": "- -",
    "max_pool1d": "- - -",
    "max_pool2d": "- result1 -",
    "max_pool3d": "- result1 -",
    "remap": "- -",
    "unmap": "- -",
    "band": "- - -",
    "mm": "self mat2 ; self_sym_sizes mat2_sym_sizes",
    "bmm": "self mat2",
    "mv": "self vec",
    "dot": "self tensor",
    "addmm": "- mat1 mat2 ; beta@0f alpha@1f mat1_sym_sizes mat2_sym_sizes",
    "linear": "mat1 mat2 - ; alpha=1 beta=1 mat1_sym_sizes mat2_sym_sizes",
    "sum": "; self_sym_sizes",
    "sum dims": "; self_sym_sizes dim keepdim",
    "mean": "; self_sym_sizes self_sym_numel",
    "mean dims": "; self_sym_sizes self_sym_numel dim keepdim",
    "prod dims": "; dim keepdim",
    "amax": "; dim keepdim",
    "amin": "; dim keepdim",
    "var": "; -result correction@2f dim keepdim",
    "std": "; correction@2f dim keepdim",
    "norm": "; ord@2f dim keepdim",
    "logsumexp": "; dim keepdim",
    "softmax": "; dim",
    "log_softmax": "; dim",
    "cumsum": "; dim",
    "max_dim": "- indices ; dim@0 self_sym_sizes",
    "min_dim": "- indices ; dim@0 self_sym_sizes",
    "cat": "; dim@0",
    "stack": "; dim@0",
    "tril": "; diagonal@0",
    "triu": "; diagonal@0",
    "gather": "self index ; dim@0",
    "index_select": "self index ; self_sym_sizes",
    "embedding": "- indices",
    "sort": "- indices ; self_sym_sizes",
    "topk": "- indices ; self_sym_sizes",
    "kthvalue": "- indices ; self_sym_sizes",
    "median": "- indices ; self_sym_sizes",
    "nanmedian": "- indices ; self_sym_sizes",
    "mode": "- indices ; self_sym_sizes",
    "cummax": "- indices",
    "cummin": "- indices",
    "mse_loss": "self target",
    "l1_loss": "self target",
    "smooth_l1_loss": "self target ; beta@1f",
    "huber_loss": "self target ; delta@1f",
    "binary_cross_entropy": "self target weight",
    "binary_cross_entropy_with_logits": "self target weight pos_weight",
    "convolution": "input weight -",
    "native_layer_norm": "input - weight bias",
    "native_batch_norm": "input - weight - ; eps@2f",
    "native_group_norm": "input - weight - ; eps@2f",
    "view": "; self_sym_sizes",
    "expand": "; self_sym_sizes",
    "transpose": "; dim0@10 dim1@11",
    "permute": "; dims@*",
    "select": "; self_sym_sizes dim@10 index@11",
    "unbind": "; dim@10",
    "slice": "; self_sym_sizes dim@10 start@11 end@12 step@13",
    "unsqueeze": "; dim@10",
    "squeeze": "; self_sym_sizes",
    "squeeze.dim": "; self_sym_sizes dim@10",
    "squeeze.dims": "; self_sym_sizes dim@*",
    "unfold": "; self_sym_sizes dimension@10 size@11 step@12",
    "as_strided": "; size stride storage_offset",
    "diagonal": "; self_sym_sizes offset@10 dim1@11 dim2@12",
}

_Reader = Callable[[Any], Any]


def _operand(i: int) -> _Reader:
    def read(node: Any) -> Any:
        word = entry.node_word
        pointwise = i < col.MAX_INPUTS and OPS[word(node, col.OP)].family == POINTWISE
        if pointwise and word(node, col.INPUT + i) == col.NONE:
            number = _real(word(node, col.ATTR + i))
            return int(number) if number.is_integer() else number
        freed = word(node, col.FLAGS) & col.F_FREED and word(node, col.FLAGS) & col.F_HOLDS
        bit = i if i == col.SAVED_OUT else 1 << i
        if word(node, col.SAVED) & bit or freed:
            value = call(entry.node_saved, node, i)
            return as_rounded(node, value) if value.dtype is float32 else value
        return None

    return read


def _real(word: int) -> float:
    return struct.unpack("d", struct.pack("q", word))[0]


def _below(node: Any, i: int) -> Any:
    below = entry.node_below(node, i)
    return None if below is None else shape_of(below)


def _dims(node: Any) -> Any:
    mask = entry.node_word(node, col.ATTR + col.A_MASK)
    dims = tuple(d for d in range(col.MAX_DIMS) if mask & (1 << d))
    op = OPS[entry.node_word(node, col.OP)]
    if op.bits & col.OB_SAME_SHAPE or op.name == "prod":
        return dims[0]
    return dims if entry.node_word(node, col.ATTR + col.A_KEEP) & NAMED else None


def _numel(node: Any) -> int:
    n = 1
    for size in _below(node, 0) or ():
        n *= size
    return n


_READ: dict[str, _Reader] = {
    "size": shape_of,
    "stride": lambda node: tuple(
        entry.node_word(node, col.STRIDE + d) for d in range(entry.node_word(node, col.NDIM))
    ),
    "storage_offset": lambda node: entry.node_word(node, col.OFFSET),
    "dim": _dims,
    "keepdim": lambda node: bool(entry.node_word(node, col.ATTR + col.A_KEEP) & 1),
    "self_sym_numel": _numel,
}


def _attribute(place: str) -> _Reader:
    if place == "*":
        return lambda node: tuple(
            entry.node_word(node, col.ATTR + col.VIEW_ARGS + k)
            for k in range(min(entry.node_word(node, col.NDIM), col.VIEW_ARGS_MAX))
        )
    if place.endswith("f"):
        return lambda node: _real(entry.node_word(node, col.ATTR + int(place[:-1])))
    return lambda node: entry.node_word(node, col.ATTR + int(place))


_CONSTANTS = {"None": None, "none": "none", "tanh": "tanh"}


def _constant(text: str) -> _Reader:
    value = _CONSTANTS[text] if text in _CONSTANTS else float(text)
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return lambda node: value


@cache
def readers(op: Op, dims: bool) -> dict[str, _Reader]:
    """How to read each value that PyTorch's node of that name would have saved, by name.

    ``dims`` says that the op was given dims.
    """
    text = _NAMES.get(f"{op.name} dims") if dims else None
    operands, _, others = (text or _NAMES.get(op.name, "")).partition(";")
    names = operands.split() or list(_OPERANDS)
    if op.family not in (POINTWISE, KERNEL, LANES, VIEW) or op.name.startswith("custom_"):
        return {}
    read = 0
    for need in op.needs:
        read |= need
    found: dict[str, _Reader] = {}
    for i in range(min(op.nin, len(names))):
        if read & (1 << i) and names[i] != "-":
            found[names[i]] = _operand(i)
    if read & col.SAVED_OUT and "-result" not in others:
        found["result"] = _operand(col.SAVED_OUT)
    for word in others.replace("-result", "").split():
        name, constant, value = word.partition("=")
        if constant:
            found[name] = _constant(value)
            continue
        name, at, place = word.partition("@")
        if at:
            found[name] = _attribute(place)
        elif name in _READ:
            found[name] = _READ[name]
        else:
            # The sizes of an operand.
            operand = name.partition("_sym_sizes")[0]
            i = 0 if operand == "self" else names.index(operand)
            found[name] = lambda node, i=i: _below(node, i)  # type: ignore[misc]
    return found
