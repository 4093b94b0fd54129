"""Neural networks: modules, their initialisation, and the functions behind them."""

from __future__ import annotations

from jitgrad.nn import functional, init
from jitgrad.nn.activation import ReLU, Sigmoid, Tanh
from jitgrad.nn.containers import ModuleDict, ModuleList, Sequential
from jitgrad.nn.flatten import Flatten, Unflatten
from jitgrad.nn.linear import Bilinear, Identity, Linear
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Buffer, Parameter
from jitgrad.nn.parameter_containers import ParameterDict, ParameterList

__all__ = [
    "Bilinear",
    "Buffer",
    "Flatten",
    "Identity",
    "Linear",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "Unflatten",
    "functional",
    "init",
]
