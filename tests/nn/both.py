"""The same program in jitgrad and in PyTorch: what it gives, or how it fails, as plain data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import jitgrad


def named(text: str) -> str:
    """A text with the package's name as PyTorch's; in which file a class lives is no promise."""
    text = text.replace("jitgrad.", "torch.")
    return re.sub(r"torch\.nn\.(modules\.)?[a-z_]+\.(?=[A-Z])", "torch.nn.", text)


def plain(T: ModuleType, value: Any) -> Any:
    """A value as data that can be compared: tensors with shape and dtype, anything else by its text."""
    if isinstance(value, T.Tensor):
        dtype = str(value.dtype).rpartition(".")[2]
        return ["tensor", list(value.shape), dtype, value.requires_grad, value.detach().tolist()]
    if isinstance(value, T.Size):
        return list(value)
    if isinstance(value, dict):
        return {k: plain(T, v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(T, v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return named(value) if isinstance(value, str) else value
    return named(f"{type(value).__name__}: {value!r}")


def outcome(T: ModuleType, program: Callable[[Any], Any]) -> Any:
    """What a program of the namespace returns, or the type and text of what it raises; and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = plain(T, program(T))
        except Exception as error:
            found = [type(error).__name__, named(str(error))]
    return {"found": found, "warned": [w.category.__name__ for w in caught]}


def close(a: Any, b: Any, rtol: float) -> bool:
    """Whether plain data agree, floats up to a tolerance."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(close(a[k], b[k], rtol) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(close(p, q, rtol) for p, q in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b) or abs(a - b) <= rtol * max(1.0, abs(a))
    return type(a) is type(b) and bool(a == b)


def check(torch: ModuleType, program: Callable[[Any], Any], rtol: float = 2e-5) -> Any:
    """Fail unless a program does the same in both; returns what it does."""
    ours, theirs = outcome(jitgrad, program), outcome(torch, program)
    assert close(ours, theirs, rtol), f"jitgrad {ours}\nPyTorch {theirs}"
    return ours["found"]


def fails(torch: ModuleType, program: Callable[[Any], Any], says: str | None = None) -> None:
    """Fail unless a program raises the same exception in both: the type, and a part of the text."""
    found = []
    for T in (jitgrad, torch):
        try:
            program(T)
        except Exception as error:
            found.append((type(error).__name__, named(str(error))))
        else:
            found.append(("nothing raised", ""))
    ours, theirs = found
    assert ours[0] == theirs[0] != "nothing raised", f"jitgrad {ours}\nPyTorch {theirs}"
    if says is None:
        assert ours[1] == theirs[1]
    else:
        assert says in ours[1], ours[1]
        assert says in theirs[1], theirs[1]


def copy_state(torch: ModuleType, ours: Any, theirs: Any) -> None:
    """Give a module of PyTorch the parameters and buffers of one of jitgrad; the names must agree."""
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in state.items()})


def inputs(T: ModuleType, *arrays: Any) -> list[Any]:
    """Arrays as leaves: floats require grad."""
    found = []
    for array in arrays:
        x = T.tensor(np.array(array))
        found.append(x.requires_grad_() if x.is_floating_point() else x)
    return found


def results(T: ModuleType, module: Any, *arrays: Any, **kwargs: Any) -> Any:
    """Outputs, input gradients, parameter gradients and buffers of one training step."""
    args = inputs(T, *arrays)
    out = module(*args, **kwargs)
    tensors = _flat(T, out)
    total = 0.0
    for i, y in enumerate(tensors):
        if y.requires_grad:
            n = y.numel()
            weight = T.cos(T.arange(float(n)).to(y.dtype) * 0.7 + i).reshape(y.shape)
            total = (y * weight).sum() + total
    if not isinstance(total, float):
        total.backward()
    return {
        "out": [plain(T, y.detach()) for y in tensors],
        "inputs": [plain(T, x.grad) if x.is_leaf and x.requires_grad else None for x in args],
        "parameters": {n: plain(T, p.grad) for n, p in module.named_parameters()},
        "buffers": {n: plain(T, b) for n, b in module.named_buffers()},
    }


def _flat(T: ModuleType, value: Any) -> list[Any]:
    if isinstance(value, T.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [x for v in value for x in _flat(T, v)]
    return []


def same_module(
    torch: ModuleType,
    make: Callable[[Any], Any],
    *arrays: Any,
    rtol: float = 3e-5,
    train: bool = True,
    dtype: str = "float32",
    **kwargs: Any,
) -> None:
    """Fail unless a module of both, with the same state, has the same text, outputs and gradients."""
    ours, theirs = make(jitgrad), make(torch)
    if dtype == "float64":
        ours, theirs = ours.double(), theirs.double()
    assert repr(ours) == repr(theirs)
    copy_state(torch, ours, theirs)
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    ours.train(train)
    theirs.train(train)
    arrays = tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in map(np.asarray, arrays))
    found = results(jitgrad, ours, *arrays, **kwargs)
    wanted = results(torch, theirs, *arrays, **kwargs)
    for part in wanted:
        assert close(found[part], wanted[part], rtol), (
            f"{part} of {ours}: {found[part]}\nPyTorch {wanted[part]}"
        )
