"""Changes in place and views: what every Tensor that shares the memory knows about them, as in PyTorch.

Programs run with jitgrad and with PyTorch and must give the same: values, gradients, the graph's nodes,
versions, the type and words of errors.  Some are written out, the others are made at random.
"""

from __future__ import annotations

import gc
import os
import random
import re
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.arena import debug, inspect

Program = Callable[[Any], Any]


def plain(x: Any) -> Any:
    """Tensors as nested lists, nodes by their names, everything else as it is."""
    if isinstance(x, (list, tuple)):
        return [plain(e) for e in x]
    if hasattr(x, "next_functions"):
        # PyTorch tells filling with a number from filling with a tensor that holds it.
        return type(x).__name__.replace("FillBackward3", "FillBackward2")
    return x.tolist() if hasattr(x, "tolist") else x


def error(f: Callable[[], Any]) -> Any:
    """What a call raises, as the type and the first words of the message; else what it returns."""
    try:
        return f()
    except Exception as e:
        text = re.sub(r"^(torch|jitgrad)", "", str(e))
        return [type(e).__name__, text[:40], "is being" in text, "multiple views" in text]


def leaf(torch: Any, *shape: int, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).uniform(0.5, 1.5, shape)
    return torch.tensor(values.tolist(), dtype=torch.float64, requires_grad=True)


def state(x: Any) -> list[Any]:
    """What a Tensor says about itself."""
    return [
        x.requires_grad,
        error(lambda: x.is_leaf),
        plain(error(lambda: x.grad_fn)),
        x._version,
        x._is_view(),
    ]


def edges(x: Any) -> list[Any]:
    return [[plain(node), number] for node, number in x.grad_fn.next_functions]


# ---------------------------------------------------------------- programs
def a_part_is_scaled(torch):
    x = leaf(torch, 3, 2)
    y = x.clone()
    y[0] *= 2
    y.sum().backward()
    return [x.grad, y.grad_fn]


def through_a_view_of_a_view(torch):
    x = leaf(torch, 8)
    y = x * 1
    v = y.view(2, 4)[1][1:3]
    v.mul_(10)
    (y * y).sum().backward()
    return [x.grad, v, state(y), state(v), edges(y), edges(v), v._base is y]


def a_view_taken_before(torch):
    x = leaf(torch, 4)
    y = x * 1
    v, u = y[1:], y.view(2, 2)
    before = v.grad_fn
    y.exp_()
    out = [state(v), state(u), before is v.grad_fn, before]
    (v.sum() + (u * u).sum()).backward()
    return [out, x.grad]


def a_sibling_is_changed(torch):
    x = leaf(torch, 3, 3)
    y = x * 1
    row, column, diagonal = y[1], y[:, 1], y.diagonal()
    row.mul_(2)
    column.add_(row.exp())
    diagonal.mul_(3)
    z = (row * 1).sum() + (column * 2).sum() + (diagonal * 3).sum() + (y * y).sum()
    z.backward()
    return [x.grad, state(row), state(column), state(diagonal), y]


def views_of_every_kind(torch):
    x = leaf(torch, 2, 3, 4)
    y = x * 1
    views = [
        y[1],
        y[:, 1:],
        y[:, ::2, 1],
        y.transpose(0, 2),
        y.permute(2, 0, 1),
        y.view(6, 4),
        y.view(-1),
        y.unsqueeze(1),
        y[:1].squeeze(0),
        y[0, :1].expand(5, 4),
        y.diagonal(1, 1, 2),
        y[:0],
        y[1, 2, 3],
        y[0].t(),
        y.unflatten(2, (2, 2)),
        y.narrow(1, 1, 2).movedim(0, 2),
    ]
    y.mul_(3)
    out = [state(v) for v in views]
    total = sum(((i + 1.5) * v.sin()).sum() for i, v in enumerate(views))
    total.backward()
    return [out, x.grad]


def each_kind_is_changed(torch):
    kinds = [
        lambda y: y[1],
        lambda y: y[:, 1:],
        lambda y: y[:, ::2, 1],
        lambda y: y.transpose(0, 2),
        lambda y: y.view(6, 4),
        lambda y: y.view(-1),
        lambda y: y.view(-1)[5:17:3],
        lambda y: y.diagonal(1, 1, 2),
        lambda y: y[:0],
        lambda y: y[1, 2, 3],
        lambda y: y.permute(2, 0, 1)[1:],
        lambda y: y,
    ]
    found = []
    for kind in kinds:
        x, w = leaf(torch, 2, 3, 4), leaf(torch)
        y = x * 2
        v = kind(y)
        v.mul_(w)
        (y.sin() + y).sum().backward()
        found.append([x.grad, w.grad, state(y), state(v)])
    return found


def of_a_base_in_another_order(torch):
    """Bases whose own memory is transposed or has gaps."""
    found = []
    bases = [
        lambda x: (x * 1).t_(),
        lambda x: (x * 1).transpose_(0, 1).unsqueeze_(1),
    ]
    parts = [lambda b: b[1], lambda b: b[..., 0], lambda b: b[..., 1:]]
    for make in bases:
        for part in parts:
            x = leaf(torch, 3, 4)
            b = make(x)
            v, u = part(b), part(b)
            v.mul_(2)
            b.exp_()
            (u.sum() + (v * v).sum() + (b * 2).sum()).backward()
            found.append([x.grad, state(b), state(v), b])
    return found


def of_a_detached_view(torch):
    """A view without history is a base of its own, over memory with gaps."""
    x, w = leaf(torch, 3, 4), leaf(torch, 3)
    b = (x * 1)[:, 1].detach()
    v = b[1:]
    v.mul_(w[1:])
    b.add_(w)
    (v * v).sum().backward()
    return [w.grad, state(b), state(v), v._base is b]


def a_buffer_begins_to_require_grad(torch):
    x, b = leaf(torch, 3, 2), torch.zeros(3, 2, dtype=torch.float64)
    v = b[0]
    out = [state(b), state(v)]
    b[1] = x[0] * 2
    out += [state(b), state(v), edges(b)]
    v.add_(x[1])
    out += [state(b), state(v), edges(b)]
    (b * b).sum().backward()
    return [out, x.grad, b]


def a_buffer_is_filled_row_by_row(torch):
    x = leaf(torch, 4)
    b = torch.zeros(4, 4, dtype=torch.float64)
    for i in range(4):
        b[i] = x * i
        b[i, i] += x[i] ** 2
    (b @ b).sum().backward()
    return [x.grad, b._version]


def index_put_into_views(torch):
    x, w = leaf(torch, 3, 4), leaf(torch, 2)
    y = x * 1
    v, row = y.t(), y[0]
    v[torch.tensor([0, 2]), 1] = w
    row[row > 1] = 0.0
    y[1:][torch.tensor([1, 0])] = y[:2].detach().clone()
    (y * y).sum().backward()
    return [x.grad, w.grad, y, state(y), state(v), state(row)]


def ops_on_index_tensors(torch):
    x, w = leaf(torch, 4, 3), leaf(torch, 2, 3)
    y = x * 1
    v = y[1:]
    i = torch.tensor([2, 0])
    v.index_add_(0, i, w)
    y.index_copy_(0, i, w * 2)
    y.scatter_add_(0, torch.tensor([[0, 1, 2]]), w[:1])
    v.index_fill_(1, torch.tensor([1]), 2.0)
    (v * v).sum().backward()
    return [x.grad, w.grad, y, state(y), state(v), y._version]


def memory_stays(torch):
    """Whatever changes a tensor in place leaves its memory where it is."""
    x = leaf(torch, 4, 3)
    y = x * 1
    v, before = y[1], y.data_ptr()
    y[torch.tensor([0])] = 1.0
    y.index_add_(0, torch.tensor([1]), x[:1])
    y.t()[torch.tensor([2])] = 4.0
    return [y.data_ptr() == before, v, y]


def views_of_leaves(torch):
    x, w = leaf(torch, 3, 2), leaf(torch, 2)
    buffer = torch.zeros(3, dtype=torch.float64)
    mine = buffer[:2].requires_grad_()
    out = [
        error(lambda: x[0].mul_(2)),
        error(lambda: x.view(-1).zero_()),
        error(lambda: x.__setitem__(0, 1.0)),
        error(lambda: x[0].__setitem__(0, w[0])),
        error(lambda: x.mul_(2)),
        error(lambda: mine.mul_(2)),
    ]
    with torch.no_grad():
        x[0].mul_(2)
        x.view(-1)[3:].zero_()
    (x * x).sum().backward()
    return [out, x, x.grad, x._version, x.is_leaf]


def views_made_without_recording(torch):
    x, w = leaf(torch, 3, 2), leaf(torch, 2)
    y = x * 1
    with torch.no_grad():
        v, u, plain_ = y[0], x[0], torch.zeros(2, 2, dtype=torch.float64)[0]
        v.add_(1)
    out = [error(lambda t=t: t.mul_(w)) for t in (v, u, plain_)]
    out.append(error(lambda: v * 2))
    z = x * 1
    with torch.no_grad():
        v = z[0]
    out.append([v.requires_grad, v.is_leaf, v.grad_fn, (v * 2).requires_grad, edges(v * 2)])
    out.append(error(lambda: v[0].mul_(2)))
    out.append(error(lambda: v.sum().backward()))
    z.mul_(2)
    return [*out, error(lambda: v.grad_fn), error(lambda: v + 1), v.requires_grad, x.grad]


def several_views_at_once(torch):
    x, w = leaf(torch, 4, 2), leaf(torch, 2)
    y = x * 1
    out = []
    for pieces in (y.unbind(0), y.split(2), y.split([1, 3]), y.chunk(2), y.tensor_split(2)):
        out.append([state(pieces[1]), pieces[1], edges(pieces[1]), pieces[1]._base is y])
        out.append(error(lambda pieces=pieces: pieces[1].mul_(2)[0, 0]))
    a, b = (x * 1).chunk(2)
    out.append(error(lambda: b[0].mul_(2)))
    a, b = (x * 1).chunk(2, 1)
    with torch.no_grad():
        b.mul_(2)
    out.append(error(lambda: a.grad_fn))
    out.append(error(lambda: a * 2))
    p = torch.zeros(2, 2, dtype=torch.float64)
    q = p.unbind(0)[1]
    q.add_(1)
    out += [p, error(lambda: q.mul_(w))]
    (sum(t.sum() for t in x.unbind(1)) + sum((t * t).sum() for t in x.split(3))).backward()
    return [*out, x.grad]


def detached(torch):
    x = leaf(torch, 2, 2)
    y = x * 1
    d, p, c = y.detach(), y.data, y.clone()
    out = [[state(t), t._base is None, t.data_ptr() == y.data_ptr()] for t in (d, p, c)]
    y.mul_(2)
    out.append([t._version for t in (y, d, p, c)])
    d.mul_(2)
    p[0].add_(1)
    out.append([t._version for t in (y, d, p, c)])
    v = y[0]
    out.append(error(lambda: v.detach_()))
    y.detach_()
    return [*out, y, state(y), state(v), error(lambda: v.sum().backward()), x.grad]


def data_is_replaced(torch):
    x = leaf(torch, 3)
    t = torch.ones(3, dtype=torch.float64)
    z = (x * x).sum()
    x.data = t
    t.add_(1)
    out = [x, x._version, t._version, x.data_ptr() == t.data_ptr(), x.requires_grad]
    z.backward()
    x.data = torch.ones(3, dtype=torch.float64) * 5
    return [*out, x.grad, x]


def retained_gradients_follow(torch):
    x = leaf(torch, 3)
    out = []
    y = x * 1
    y.retain_grad()
    z = y * 3
    y.mul_(2)
    y.mul_(5)
    (y + z).sum().backward()
    out += [y.grad, y.retains_grad]
    y = x * 1
    v = y[1:]
    v.retain_grad()
    w = v * 1
    y.mul_(2)
    (v.sum() + w.sum() * 10).backward()
    out += [v.grad, v.retains_grad]
    y = x * 1
    v = y[1:]
    v.retain_grad()
    y.retain_grad()
    w = v * 1
    v.mul_(2)
    (w.sum() * 10 + y.sum()).backward()
    out += [v.retains_grad, y.grad]
    y = x * 1
    v = y[1:]
    v.retain_grad()
    v.mul_(2)
    (v.sum() + y.sum() * 10).backward()
    return [*out, v.grad, x.grad]


def hooks_stay_with_the_old_value(torch):
    x = leaf(torch, 3)
    seen: list[Any] = []

    def hook(name):
        return lambda g: seen.append([name, plain(g)])

    y = x * 1
    y.register_hook(hook("y"))
    y.mul_(2)
    y.register_hook(hook("y later"))
    y.sum().backward()
    y = x * 1
    v = y[1:]
    v.register_hook(hook("v"))
    w = v * 1
    v.mul_(2)
    v.register_hook(hook("v later"))
    (v.sum() + y.sum() + w.sum()).backward()
    y = x * 1
    v = y[1:]
    y.register_hook(hook("base"))
    v.mul_(3)
    y.register_hook(hook("base later"))
    (v.sum() + y.sum()).backward()
    return [seen, x.grad]


def a_hook_may_replace_the_gradient_of_a_changed_base(torch):
    x = leaf(torch, 3)
    y = x * 1
    y[0].mul_(5)
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    return [x.grad]


def stale_values_are_noticed(torch):
    x, w = leaf(torch, 3, 2), leaf(torch, 2)
    out = []

    def run(change):
        y = x * 1
        change(y)

    def saved_view(y):
        z = y[0] * w
        y.mul_(2)
        z.sum().backward()

    def saved_base(y):
        z = y.exp()
        z[0].mul_(2)
        z.sum().backward()

    def saved_part(y):
        y[0].exp_()
        y[1].mul_(2)
        y.sum().backward()

    def through_detach(y):
        z = y.exp()
        z.detach().add_(1)
        z.sum().backward()

    def through_data(y):
        z = y.exp()
        z.data.add_(1)
        z.sum().backward()

    for change in (saved_view, saved_base, saved_part, through_detach, through_data):
        out.append(str(error(lambda change=change: run(change)))[:140])
    y = x.exp()
    y[0].mul_(2)
    message = error(lambda: y.sum().backward())
    return [[re.sub(r"which is output.*", "", t) for t in out], message, x.grad]


def passes_over_a_changed_graph(torch):
    x = leaf(torch, 2, 3)
    y = x * x
    y[0] *= 3
    z = y.sum()
    z.backward(retain_graph=True)
    z.backward()
    out = [x.grad.clone(), error(z.backward)]
    y = x * 1
    y[:, 0].mul_(4)
    v = y[1]
    out.append(torch.autograd.grad((y * v).sum(), [x, y, v], retain_graph=True))
    out.append(torch.autograd.grad(v.sum(), y))
    v.mul_(2)
    out.append(error(lambda: torch.autograd.grad(y.sum(), v, allow_unused=True)))
    return [*out, torch.autograd.grad(v.sum(), [v, x])]


def chosen_inputs_through_casts(torch):
    """A pass to chosen inputs goes from the oldest row up: a cast must be older than the op it is for."""
    a = torch.ones(3, requires_grad=True)
    b = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
    p = torch.zeros(3, dtype=torch.float64)
    p[1:].add_(a[:2])
    y = a * 3
    y.mul_(b)
    out = [torch.autograd.grad((a * b).sum(), a), torch.autograd.grad(p.sum(), a)]
    return [*out, torch.autograd.grad(y.sum(), [a, b]), edges(p)]


def second_order(torch):
    x = leaf(torch, 2, 2)
    y = x * x
    v = y[0]
    y[0].mul_(x[1])
    y[:, 1].mul_(y[:, 0].exp())
    y.view(-1).mul_(2)
    (g,) = torch.autograd.grad((y * y).sum() + v.sum(), x, create_graph=True)
    (g * g).sum().backward()
    return [g, x.grad]


def shapes_in_place(torch):
    x = leaf(torch, 3, 1)
    y = x * 1
    v = y[0]
    y.t_()
    out = [state(y), list(y.shape), state(v)]
    y.squeeze_(0)
    v.mul_(2)
    out += [state(y), list(y.shape), state(v)]
    v.unsqueeze_(0)
    out += [state(v), list(v.shape), state(y)]
    y.unsqueeze_(-1).transpose_(0, 1)
    (y.sum() + v.sum()).backward()
    out += [x.grad, error(lambda: x.t_()), error(lambda: x.detach()[0].squeeze_(0).shape == ())]
    with torch.no_grad():
        q = leaf(torch, 2, 3)
        q.t_()
    return [*out, list(q.shape), state(q)]


def parts_are_copied_to_other_parts(torch):
    x = leaf(torch, 5)
    y = x * 1
    y[3:].copy_(y[:2])
    y[:2].add_(y[2:4])
    y[2] = y[0]
    y[0] += y[1]
    (y * torch.arange(5.0, dtype=torch.float64)).sum().backward()
    return [x.grad, y]


def expanded(torch):
    x = leaf(torch, 1, 3)
    y = x * 1
    v = y.expand(4, 3)
    out = [error(lambda: v.mul_(2))]
    y.mul_(2)
    (v * v).sum().backward()
    return [*out, x.grad, state(v)]


# ---------------------------------------------------------------- other sizes over the same memory
def windows(torch):
    """`unfold`: windows that share elements, of contiguous, transposed and expanded tensors."""
    found = []
    bases = [
        lambda x: x * 1,
        lambda x: (x * 1).t(),
        lambda x: (x * 1)[1:, ::2],
        lambda x: (x * 1)[:1].expand(4, 5),
        lambda x: x,
    ]
    for base in bases:
        for dim, size, step in ((0, 2, 1), (1, 3, 2), (-1, 2, 2), (0, 0, 1), (1, 1, 1), (0, 2, 3)):
            x = leaf(torch, 4, 5)
            b = base(x)
            w = b.unfold(dim, size, step)
            weights = torch.arange(float(w.numel()), dtype=torch.float64).view(w.shape)
            (w * weights * w).sum().backward()
            shape = [
                list(w.shape),
                list(w.stride()),
                w.storage_offset(),
                w.data_ptr() == b.data_ptr(),
            ]
            found.append([w, x.grad, state(w), shape if w.numel() else shape[:1]])
    x = leaf(torch)
    (x.unfold(0, 1, 1) * 3).sum().backward()
    found += [x.grad, error(lambda: x.unfold(0, 2, 1)), error(lambda: x.unfold(0, 1, 0))]
    return [*found, error(lambda: x.unfold(1, 1, 1)), error(lambda: x.unfold(0, -1, 1))]


STRIDED = [
    ((3, 2), (1, 1), None),
    ((2, 2), (3, 1), 1),
    ((2, 3), (0, 1), 2),
    ((3,), (2,), 0),
    ((), (), 5),
    ((2, 0), (1, 7), 3),
    ((2, 2, 2), (1, 2, 1), 0),
    ((3, 2), (2, 3), 0),
]


def strides_of_the_storage(torch):
    """`as_strided` of bases in any order, its gradient inside and outside of what they show."""
    found = []
    bases = [
        lambda y: y,
        lambda y: y.view(3, 4),
        lambda y: y.view(3, 4).t(),
        lambda y: y[2:7],
        lambda y: y[1::2],
        lambda y: y[3:6].expand(2, 3),
        lambda y: y.unfold(0, 3, 1),
        lambda y: y[:0],
    ]
    for i, base in enumerate(bases):
        for j, geometry in enumerate(STRIDED):
            x = leaf(torch, 12)
            y = x * 1
            v = base(y).as_strided(*geometry)
            (v * v + v).sum().backward(retain_graph=True)
            g = h = None
            if v.numel() and (i + j) % 3 == 0:
                (g,) = torch.autograd.grad((v * v).sum(), x, create_graph=True)
                h = error(lambda g=g, x=x: torch.autograd.grad((g * g * g).sum(), x)[0])
            out = [v, x.grad, g, h, state(v), v._base is y, list(v.stride())]
            # At once, so that no graph stays.
            found.append(plain(out))
    return found


def strides_out_of_bounds(torch):
    x = leaf(torch, 6)
    calls = [
        lambda: torch.as_strided(x, (7,), (1,)),
        lambda: torch.as_strided(x, (2, 2), (4, 2), 0),
        lambda: x[2:].as_strided((5,), (1,)),
        lambda: x[2:].as_strided((5,), (1,), 0),
        lambda: x.as_strided((1,), (1,), 6),
        lambda: x.as_strided((0,), (1,), 600),
        lambda: x.as_strided((2,), (-1,), 3),
        lambda: x.as_strided((2,), (1,), -1),
        lambda: x.as_strided((2,), (1, 1)),
        lambda: x.as_strided((-2,), (1,)),
        lambda: x.as_strided((1 << 40, 1 << 40), (1 << 40, 1)),
    ]
    return [error(call) for call in calls]


def strides_changed_in_place(torch):
    """What `as_strided` shows is a view like any other: of the base, whatever it was taken from."""
    found = []
    for geometry in (((2, 2), (3, 1), 1), ((3,), (2,), 0), ((1,), (1,), 8), ((), (), 5)):
        for part in (lambda y: y, lambda y: y[2:5], lambda y: y.view(3, 3).t()):
            x, w = leaf(torch, 9), leaf(torch)
            y = x * 1
            u = part(y).as_strided(*geometry)
            before = y.as_strided((4, 2), (2, 1))
            u.mul_(w)
            y.exp_()
            out = [state(u), state(y), state(before), edges(u), edges(y)]
            ((u * u).sum() + y.sum() * 2 + before.sum()).backward()
            found.append([out, x.grad, w.grad, y])
    x = leaf(torch, 5)
    y = x * 1
    y.as_strided((2, 2), (1, 1)).zero_()
    y.unfold(0, 2, 2)[1].mul_(3)
    y.unfold(0, 3, 1)[:, 1].add_(1)
    (y * y).sum().backward()
    found += [x.grad, y, error(lambda: x.as_strided((2,), (1,)).mul_(2))]
    z = x * 1
    z.as_strided_((2, 2), (1, 2), 1)
    (z * z).sum().backward()
    return [*found, x.grad, z, state(z), edges(z)]


def windows_of_a_changed_base(torch):
    x = leaf(torch, 4, 5)
    y = x * 1
    w, v = y.unfold(1, 3, 1), y.t().unfold(0, 2, 1)
    y.mul_(2)
    y[0].exp_()
    out = [state(w), state(v), edges(w)]
    ((w * w).sum() + v.sin().sum()).backward()
    return [out, x.grad]


def sizes_and_memory_are_replaced(torch):
    x = torch.arange(6.0, dtype=torch.float64)
    v, w = x[1:3], leaf(torch, 2)
    out = [
        error(lambda: w.resize_(3)),
        error(lambda: (w * 1).resize_(1)),
    ]
    out += [
        x.resize_(2, 2),
        list(x.shape),
        x._version,
        v._version,
        x.data_ptr() == v.data_ptr() - 8,
    ]
    out += [v.resize_(5), v._is_view(), v._base is x, x.resize_([4, 1]), x.resize_(4, 1)._version]
    out.append(x.resize_(0).resize_(1, 6))
    y = torch.arange(3.0, dtype=torch.float64)
    out += [list(y.resize_(4).shape), y[:3], y.untyped_storage().nbytes(), y._version]
    a, b = torch.arange(4.0, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    out += [b.set_(a), b.data_ptr() == a.data_ptr(), b._version, a._version]
    a.add_(1)
    out += [
        b,
        b.set_(a, 1, (2,), (1,)),
        b.set_(a.untyped_storage(), 1, (1, 2)),
        b.set_(a.untyped_storage()),
    ]
    out += [list(b.set_().shape), error(lambda: w.set_(a))]
    w.sum().backward()
    with torch.no_grad():
        out += [
            w.set_(a),
            w.requires_grad,
            w.is_leaf,
            w.untyped_storage().data_ptr() == a.data_ptr(),
        ]
    bytes_ = torch.tensor([1, 258], dtype=torch.int32)[1:].untyped_storage()
    out += [
        bytes_.tolist(),
        len(bytes_),
        bytes_[5],
        bytes_.nbytes(),
        bytes_.size(),
        bytes_.element_size(),
    ]
    return out


def what_overlaps_is_refused(torch):
    """In-place operations whose operands share memory with the result, or the result with itself."""
    y = torch.arange(9.0).view(3, 3)
    one = torch.zeros(1)
    w = leaf(torch, 4) * 1
    calls = [
        lambda: one.expand(3).fill_(1),
        lambda: one.expand(3).zero_(),
        lambda: one.expand(3).mul_(2),
        lambda: one.expand(3).copy_(torch.ones(3)),
        lambda: one.expand(3).copy_(torch.tensor(1.0)),
        lambda: one.expand(3).clamp_(0, 1),
        lambda: y[1:].mul_(y[:-1]),
        lambda: y[1:].copy_(y[:-1]),
        lambda: y.__setitem__(slice(1, None), y[:-1]),
        lambda: y.add_(y.t()),
        lambda: y.copy_(y.t()),
        lambda: y.mul_(y[0]),
        lambda: y.lerp_(y.t(), 0.5),
        lambda: y.addcmul_(y.t(), y),
        lambda: y[0].copy_(y[1]),
        lambda: y.mul_(y),
        lambda: y.mul_(y[...]),
        lambda: one.expand(3)[:0].mul_(2),
        lambda: one.expand(3, 1)[:, :0].add_(torch.ones(3, 0)),
        lambda: w.mul_(w),
        lambda: w.expand(2, 4).mul_(2),
        lambda: w.expand(2, 4).fill_(2),
        lambda: w[1:].add_(w[:-1]),
    ]
    return [error(call) for call in calls]


# ---------------------------------------------------------------- custom functions
def dirty_functions(torch):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx, g):
            return g * 2

    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.mark_dirty(x)
            x.mul_(2)
            return x, w * 2

        @staticmethod
        def backward(ctx, g, h):
            return g * 2, h * 2

    x, w = leaf(torch, 3, 2), leaf(torch, 2)
    out = []
    y = x * 1
    z = Double.apply(y)
    out += [z is y, state(z), edges(z)]
    y = x * 1
    v, u = y[0], y[:, 0]
    z = Double.apply(v)
    out += [z is v, state(y), edges(y), state(v), state(u)]
    (y.sum() + (u * u).sum()).backward()
    out += [x.grad.clone(), y]
    y = x * 1
    z, r = Both.apply(y, w)
    (z.sum() + r.sum()).backward()
    out += [z is y, state(y), x.grad.clone(), w.grad]
    out += [error(lambda: Both.apply((x * 1)[0], w)), error(lambda: Double.apply(x))]
    out += [error(lambda: Double.apply(x[0]))]
    p = torch.zeros(2, dtype=torch.float64)
    q = Double.apply(p)
    y = x * 1
    y.retain_grad()
    (Double.apply(y) * 5).sum().backward()
    return [*out, q is p, state(p), y.grad, y.retains_grad]


def functions_that_return_views(torch):
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 3

    class First(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x[0]

        @staticmethod
        def backward(ctx, g):
            return torch.stack([g, g, g])

    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x[0], x[1]

        @staticmethod
        def backward(ctx, g, h):
            return torch.stack([g, h, h])

    x = leaf(torch, 3, 2)
    out = []
    for f in (Same, First, Two):
        y = x * 1
        z = f.apply(y)
        z = z[1] if isinstance(z, tuple) else z
        out += [z is y, z._base is y, state(z), error(lambda z=z: z.mul_(2))]
        z.sum().backward()
        out += [error(lambda z=z: z[0].mul_(2))]
        y.mul_(2)
        out += [error(lambda z=z: z * 2), z.requires_grad]
    return [*out, x.grad]


def a_function_reads_what_it_changes(torch):
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x.clone(), w)
            ctx.mark_dirty(x)
            return x.mul_(w)

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return g * w, g * x

    x, w = leaf(torch, 2, 3), leaf(torch, 3)
    y = x.exp() * 1
    for i in range(2):
        Scale.apply(y[i], w)
    y[0, 0] += 1
    (y * y).sum().backward()
    return [x.grad, w.grad, y]


PROGRAMS = [
    value
    for value in list(globals().values())
    if callable(value)
    and getattr(value, "__module__", None) == __name__
    and value is not leaf
    and value.__code__.co_varnames[: value.__code__.co_argcount] == ("torch",)
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_like_pytorch(torch: ModuleType, program: Program) -> None:
    compare(plain(program(jitgrad)), plain(program(torch)))


def compare(ours: Any, theirs: Any) -> None:
    """Equal, but for the last bits of floats."""
    if isinstance(theirs, list):
        assert isinstance(ours, list), (ours, theirs)
        assert len(ours) == len(theirs), (ours, theirs)
        for a, b in zip(ours, theirs, strict=True):
            compare(a, b)
    elif isinstance(theirs, float):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    else:
        assert ours == theirs
        assert type(ours) is type(theirs)


# ---------------------------------------------------------------- random programs
class Walk:
    """A random program: the same for the same numbers, whatever module runs it."""

    def __init__(self, torch: Any, seed: int) -> None:
        self.torch, self.random, self.log = torch, random.Random(seed), []
        self.leaf = leaf(torch, 2, 3, 2, seed=seed)
        self.other = leaf(torch, 1, seed=seed + 1)
        self.tensors = [self.leaf * 1, torch.ones(2, 3, dtype=torch.float64)]
        self.total = self.other.sum()

    def run(self, steps: int) -> list[Any]:
        for _ in range(steps):
            step = self.random.choice(self.STEPS)
            self.log.append([step.__name__, plain(error(lambda step=step: step(self)))])
            self.log.append([state(t) for t in self.tensors])
        total = self.total
        for k, t in enumerate(self.tensors):
            done = error(lambda t=t, k=k: (t * (k + 1.0)).sum())
            if isinstance(done, list):
                self.log.append(done)
            else:
                total = total + done
        done = error(total.backward)
        # Which of several stale values is named is not the same.
        self.log.append(done if done is None else done[0])
        self.log += self.tensors
        if done is None:
            self.log += [self.leaf.grad, self.other.grad]
            self.log += [error(lambda t=t: t.grad) for t in self.tensors]
        return plain(self.log)

    def pick(self) -> Any:
        number = self.random.randrange(len(self.tensors))
        self.log.append(number)
        return self.tensors[number]

    def keep(self, t: Any) -> None:
        if len(self.tensors) < 9:
            self.tensors.append(t)
        else:
            self.tensors[self.random.randrange(9)] = t

    def view(self) -> Any:
        t, r = self.pick(), self.random
        shape = tuple(t.shape)
        kinds: list[Callable[[], Any]] = [lambda: t.view(shape), lambda: t[...], lambda: t.detach()]
        if len(shape) < 5:
            kinds.append(lambda: t.unsqueeze(r.randrange(len(shape) + 1)))
        if shape:
            d = r.randrange(len(shape))
            e = r.randrange(len(shape))
            start = r.randrange(shape[d] + 1)
            kinds += [
                lambda: t.select(d, r.randrange(shape[d])) if shape[d] else t,
                lambda: t.narrow(d, start, shape[d] - start),
                lambda: t[:: r.choice([1, 2])],
                lambda: t.transpose(d, e),
                lambda: t.unbind(d)[0],
                lambda: t.chunk(2, d)[-1],
                lambda: t.squeeze(d),
                lambda: t.expand(2, *shape),
            ]
            if len(shape) > 1:
                kinds.append(lambda: t.diagonal(0, 0, 1))
            if shape[d]:
                # By its own strides: results have not always PyTorch's.
                rest, first = list(shape), t.storage_offset() + t.stride(d)
                rest[d] -= 1
                kinds.append(lambda: t.unfold(d, 1 + start % shape[d], 2))
                kinds.append(lambda: t.as_strided(rest, t.stride(), first))
                kinds.append(lambda: t.as_strided(shape[::-1], t.stride()[::-1]))
        number = r.randrange(len(kinds))
        made = kinds[number]()
        self.keep(made)
        return number, list(made.shape)

    def view_without_recording(self) -> Any:
        with self.torch.no_grad():
            return self.view() if self.random.random() < 0.5 else None

    def change(self) -> Any:
        t, r = self.pick(), self.random
        other = self.other * r.uniform(0.5, 1.5) if r.random() < 0.5 else r.uniform(0.5, 1.5)
        kinds: list[Callable[[], Any]] = [
            lambda: t.mul_(other),
            lambda: t.add_(other),
            lambda: t.sub_(1.5),
            lambda: t.tanh_(),
            lambda: t.neg_(),
            lambda: t.zero_(),
            lambda: t.copy_(other) if not isinstance(other, float) else t.fill_(other),
        ]
        if t.ndim and 0 not in t.stride():
            kinds.append(lambda: t.__setitem__(slice(0, 1), other))
            kinds.append(lambda: t.__setitem__(t.detach() > 1, 0.5))
        if 0 in t.stride():
            # Filling what is repeated: PyTorch's backward can't.
            kinds = kinds[:5]
        number = r.randrange(len(kinds))
        kinds[number]()
        return number

    def change_by_another(self) -> Any:
        t, u = self.pick(), self.pick()
        if t.shape == u.shape:
            t.add_(u)
        else:
            t.add_(u.sum())

    def change_without_recording(self) -> Any:
        with self.torch.no_grad():
            self.pick().add_(0.25)

    def use(self) -> Any:
        self.total = self.total + (self.pick().sin() * self.random.uniform(0.5, 1.5)).sum()

    def compute(self) -> Any:
        self.keep(self.pick() * self.random.uniform(0.5, 1.5))

    def exponential(self) -> Any:
        self.keep(self.pick().sigmoid())

    def retain(self) -> Any:
        t = self.pick()
        if t.requires_grad and not t.is_leaf:
            t.retain_grad()

    STEPS = [view, view, view, change, change, change, change_by_another]
    STEPS += [change_without_recording, use, compute, exponential, retain]
    STEPS += [view_without_recording]


SEEDS = range(int(os.environ.get("JITGRAD_WALKS", "400")))


@pytest.mark.parametrize("first", range(0, len(SEEDS), 50))
def test_random_programs_like_pytorch(torch: ModuleType, first: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in SEEDS[first : first + 50]:
            steps = 4 + seed % 24
            ours, theirs = Walk(jitgrad, seed).run(steps), Walk(torch, seed).run(steps)
            try:
                compare(ours, theirs)
            except AssertionError as e:
                e.add_note(f"seed {seed}")
                raise


# ---------------------------------------------------------------- nothing is left behind
def test_no_row_is_left() -> None:
    """Whatever the programs do, what they made is gone when they are."""
    gc.collect()
    before = inspect.memory_stats()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for program in PROGRAMS:
            program(jitgrad)
        for seed in SEEDS[:30]:
            Walk(jitgrad, seed).run(12)
    gc.collect()
    after = inspect.memory_stats()
    for name in ("live_rows", "live_storages", "live_bytes"):
        assert after[name] == before[name], name
    debug.check()
