"""The layers under the names of PyTorch's files: ``from torch.nn.modules.batchnorm import _BatchNorm``."""

from __future__ import annotations

import sys
from typing import Any

from jitgrad import nn
from jitgrad.nn import (
    activation,
    containers,
    conv,
    distances,
    dropout,
    embedding,
    flatten,
    lazy,
    linear,
    loss,
    norm,
    padding,
    pooling,
    resampling,
    rnn,
    transformer,
)
from jitgrad.nn.modules import module, utils

_FILES = {
    "activation": activation,
    "batchnorm": norm,
    "container": containers,
    "conv": conv,
    "distance": distances,
    "dropout": dropout,
    "flatten": flatten,
    "instancenorm": norm,
    "lazy": lazy,
    "linear": linear,
    "loss": loss,
    "module": module,
    "normalization": norm,
    "padding": padding,
    "pooling": pooling,
    "rnn": rnn,
    "sparse": embedding,
    "transformer": transformer,
    "upsampling": resampling,
    "utils": utils,
}
for _name, _file in _FILES.items():
    sys.modules[f"{__name__}.{_name}"] = globals()[_name] = _file


def __getattr__(name: str) -> Any:
    """A layer."""
    return getattr(nn, name)
