"""Neural networks: modules, their initialisation, and the functions behind them."""

from __future__ import annotations

from jitgrad.nn import (
    activation,
    attention,
    containers,
    conv,
    distances,
    dropout,
    embedding,
    flatten,
    fractional,
    functional,
    grad,
    init,
    lazy,
    linear,
    loss,
    margins,
    modules,
    norm,
    padding,
    parallel,
    parameter_containers,
    pooling,
    resampling,
    rnn,
    sync_norm,
    transformer,
    utils,
)
from jitgrad.nn.activation import *
from jitgrad.nn.attention import *
from jitgrad.nn.containers import *
from jitgrad.nn.conv import *
from jitgrad.nn.distances import *
from jitgrad.nn.dropout import *
from jitgrad.nn.embedding import *
from jitgrad.nn.flatten import *
from jitgrad.nn.fractional import *
from jitgrad.nn.lazy import *
from jitgrad.nn.linear import *
from jitgrad.nn.loss import *
from jitgrad.nn.margins import *
from jitgrad.nn.module import Module
from jitgrad.nn.norm import *
from jitgrad.nn.padding import *
from jitgrad.nn.parallel import *
from jitgrad.nn.parameter import (
    Buffer,
    Parameter,
    UninitializedBuffer,
    UninitializedParameter,
)
from jitgrad.nn.parameter_containers import *
from jitgrad.nn.pooling import *
from jitgrad.nn.projected_losses import *
from jitgrad.nn.resampling import *
from jitgrad.nn.rnn import *
from jitgrad.nn.sync_norm import *
from jitgrad.nn.transformer import *

__all__ = ["Buffer", "Module", "Parameter", "functional", "grad", "init", "modules", "utils"]
__all__ += ["UninitializedBuffer", "UninitializedParameter"]
__all__ += activation.__all__
__all__ += attention.__all__
__all__ += containers.__all__
__all__ += conv.__all__
__all__ += distances.__all__
__all__ += dropout.__all__
__all__ += embedding.__all__
__all__ += flatten.__all__
__all__ += fractional.__all__
__all__ += lazy.__all__
__all__ += linear.__all__
__all__ += loss.__all__
__all__ += margins.__all__
__all__ += norm.__all__
__all__ += padding.__all__
__all__ += parallel.__all__
__all__ += parameter_containers.__all__
__all__ += pooling.__all__
__all__ += resampling.__all__
__all__ += rnn.__all__
__all__ += sync_norm.__all__
__all__ += transformer.__all__
