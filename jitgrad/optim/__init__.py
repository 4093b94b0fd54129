"""Optimisers: PyTorch's, with the update of all parameters of a group in one jitted call."""

from __future__ import annotations

from jitgrad.optim import lr_scheduler, swa_utils
from jitgrad.optim.adam import Adam, AdamW
from jitgrad.optim.adam_like import Adamax, NAdam, RAdam
from jitgrad.optim.adaptive import Adadelta, Adagrad, RMSprop
from jitgrad.optim.lbfgs import LBFGS
from jitgrad.optim.optimizer import Optimizer
from jitgrad.optim.others import ASGD, Rprop
from jitgrad.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]
