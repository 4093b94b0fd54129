"""Differentiation: the backward pass, grad modes, and the graph as Python sees it."""

from jitgrad.autograd import anomaly, forward_ad, function, functional, graph
from jitgrad.autograd.anomaly import detect_anomaly, set_detect_anomaly
from jitgrad.autograd.differentiation import backward, grad
from jitgrad.autograd.function import Function
from jitgrad.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from jitgrad.autograd.gradcheck import gradcheck, gradgradcheck

# What tensors with gradients were called before they were tensors.
from jitgrad.autograd.variable import Variable

__all__ = [
    "Variable",
    "Function",
    "anomaly",
    "forward_ad",
    "functional",
    "gradcheck",
    "gradgradcheck",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "grad",
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
