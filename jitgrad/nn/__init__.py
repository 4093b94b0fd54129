"""Neural networks: modules, their initialisation, and the functions behind them."""

from __future__ import annotations

from jitgrad.nn import (
    activation,
    attention,
    containers,
    conv,
    dropout,
    embedding,
    flatten,
    functional,
    init,
    linear,
    loss,
    norm,
    padding,
    parameter_containers,
    pooling,
    resampling,
    rnn,
    transformer,
    utils,
)
from jitgrad.nn.activation import *  # noqa: F403
from jitgrad.nn.attention import *  # noqa: F403
from jitgrad.nn.containers import *  # noqa: F403
from jitgrad.nn.conv import *  # noqa: F403
from jitgrad.nn.dropout import *  # noqa: F403
from jitgrad.nn.embedding import *  # noqa: F403
from jitgrad.nn.flatten import *  # noqa: F403
from jitgrad.nn.linear import *  # noqa: F403
from jitgrad.nn.loss import *  # noqa: F403
from jitgrad.nn.module import Module
from jitgrad.nn.norm import *  # noqa: F403
from jitgrad.nn.padding import *  # noqa: F403
from jitgrad.nn.parameter import Buffer, Parameter
from jitgrad.nn.parameter_containers import *  # noqa: F403
from jitgrad.nn.pooling import *  # noqa: F403
from jitgrad.nn.resampling import *  # noqa: F403
from jitgrad.nn.rnn import *  # noqa: F403
from jitgrad.nn.transformer import *  # noqa: F403

__all__ = ["Buffer", "Module", "Parameter", "functional", "init", "utils"]
__all__ += activation.__all__
__all__ += attention.__all__
__all__ += containers.__all__
__all__ += conv.__all__
__all__ += dropout.__all__
__all__ += embedding.__all__
__all__ += flatten.__all__
__all__ += linear.__all__
__all__ += loss.__all__
__all__ += norm.__all__
__all__ += padding.__all__
__all__ += parameter_containers.__all__
__all__ += pooling.__all__
__all__ += resampling.__all__
__all__ += rnn.__all__
__all__ += transformer.__all__
