"""Views: they share memory, have PyTorch's strides, and pass gradients back to where they came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.calls import CALLS

VIEWS = [
    call
    for call in CALLS
    if call.name
    in (
        "view, view -1, view of a tuple, reshape, flatten, flatten middle, unflatten, permute, permute tuple,"
        " transpose, swapaxes, movedim, movedims, mT, unsqueeze, unsqueeze end, squeeze, squeeze dim,"
        " squeeze not one, squeeze dims, expand, expand -1, expand_as, broadcast_to, select, narrow, unbind,"
        " split, split sections, chunk, tensor_split, tensor_split at, diagonal, view_as, T, t,"
        " t of a vector,"
        " view of nothing, expand a number"
    ).split(", ")
]


def both(call: Any, torch: Any) -> list[tuple[Any, Any, Any]]:
    """Pairs of results in jitgrad and PyTorch, and jitgrad's input."""
    (a,) = call.data("float32")
    x, u = jitgrad.from_numpy(a), torch.from_numpy(a)
    mine, theirs = call.function(jitgrad, x), call.function(torch, u)
    if not isinstance(mine, tuple):
        mine, theirs = (mine,), (theirs,)
    return [(m, t, x) for m, t in zip(mine, theirs, strict=True)]


def test_the_list_is_complete() -> None:
    assert len(VIEWS) == 39


@pytest.mark.parametrize("call", VIEWS, ids=[c.name for c in VIEWS])
def test_geometry(call: Any, torch: Any) -> None:
    for mine, theirs, x in both(call, torch):
        assert tuple(mine.shape) == tuple(theirs.shape)
        assert mine.stride() == theirs.stride()
        assert mine.storage_offset() == theirs.storage_offset()
        assert mine.is_contiguous() == theirs.is_contiguous()
        if mine.numel():
            assert mine.data_ptr() == theirs.data_ptr()
            assert np.shares_memory(mine.numpy(), x.numpy())


@pytest.mark.parametrize("call", VIEWS, ids=[c.name for c in VIEWS])
def test_gradient_of_a_view_of_a_result(call: Any, torch: Any) -> None:
    """With the gradient's elements all different, twice, so that it accumulates."""
    (a,) = call.data("float64")
    grads = []
    for module in (jitgrad, torch):
        x = module.from_numpy(a.copy()).requires_grad_()
        for _ in range(2):
            y = call.function(module, x * 2)
            total = 0
            for part in y if isinstance(y, tuple) else (y,):
                weight = module.arange(part.numel(), dtype=module.float64).reshape(part.shape)
                total = total + (part * part * weight).sum()
            total.backward()
        grads.append(x.grad.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-13)


def test_versions_are_shared() -> None:
    x = jitgrad.zeros(4)
    y = x.view(2, 2)
    y[0].add_(1)
    assert x.tolist() == [1, 1, 0, 0]
    assert x._version == y._version == x.detach()._version == 1
    assert x.clone()._version == 0


def test_reshape_copies_only_where_it_must() -> None:
    x = jitgrad.arange(6).view(2, 3)
    assert x.reshape(3, 2).data_ptr() == x.data_ptr()
    y = x.T.reshape(6)
    assert y.data_ptr() != x.data_ptr()
    assert y.tolist() == [0, 3, 1, 4, 2, 5]
    # These keep PyTorch's rule: dims that lie evenly in memory merge.
    z = jitgrad.zeros(4, 6)[:, :3]
    assert z.view(2, 2, 3).stride() == (12, 6, 1)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        z.view(12)


def test_contiguous() -> None:
    x = jitgrad.arange(6).view(2, 3)
    assert x.contiguous() is x
    y = x.T.contiguous()
    assert y.is_contiguous()
    assert y.tolist() == x.T.tolist()
    # Strides of dims of size 1 and of empty tensors don't count.
    assert (
        jitgrad.zeros(3, 4)[:1].T.is_contiguous()
        is jitgrad.zeros(3, 4)[:1].T.contiguous().is_contiguous()
    )
    assert jitgrad.zeros(0, 3).T.is_contiguous()


def test_views_of_views() -> None:
    x = jitgrad.arange(120.0).view(2, 3, 4, 5).requires_grad_()
    a = x.detach().numpy()
    y = (
        x.permute(2, 0, 3, 1)
        .select(1, 1)
        .narrow(1, 1, 3)
        .transpose(0, 2)
        .diagonal(0, 0, 2)
        .unsqueeze(1)
    )
    b = np.diagonal(a.transpose(2, 0, 3, 1)[:, 1, :][:, 1:4].transpose(2, 1, 0), 0, 0, 2)[:, None]
    np.testing.assert_array_equal(y.detach().numpy(), b)
    y.sum().backward()
    wanted = np.zeros(a.shape)
    part = np.diagonal(wanted.transpose(2, 0, 3, 1)[:, 1, :][:, 1:4].transpose(2, 1, 0), 0, 0, 2)
    part.setflags(write=True)
    part += 1
    np.testing.assert_array_equal(x.grad.numpy(), wanted)


def test_gradient_of_expand_sums() -> None:
    x = jitgrad.tensor([[1.0], [2.0]], requires_grad=True)
    (x.expand(3, 2, 4) * jitgrad.arange(24.0).view(3, 2, 4)).sum().backward()
    np.testing.assert_array_equal(
        x.grad.numpy(), np.arange(24.0).reshape(3, 2, 4).sum((0, 2))[:, None]
    )


def test_detach() -> None:
    x = jitgrad.ones(2, requires_grad=True)
    y = (x * 2).detach()
    assert not y.requires_grad
    assert y.is_leaf
    z = x * 2
    address = z.data_ptr()
    assert z.detach_() is z
    assert z.is_leaf
    assert not z.requires_grad
    assert z.data_ptr() == address


def test_unbind_split_and_iteration_give_views() -> None:
    x = jitgrad.zeros(3, 2)
    for i, row in enumerate(x):
        row.fill_(i)
    x.split(2, 0)[1].add_(10)
    x.chunk(2, 1)[0].mul_(2)
    assert x.tolist() == [[0, 0], [2, 1], [24, 12]]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda t: t.zeros(2, 3).view(4, 2),
            RuntimeError,
            r"shape '\[4, 2\]' is invalid for input of size 6",
        ),
        (lambda t: t.zeros(2, 3).view(-1, -1), RuntimeError, "only one dimension can be inferred"),
        (lambda t: t.zeros(2, 3).view(-1, 4), RuntimeError, "is invalid for input of size 6"),
        (lambda t: t.zeros(2, 3).view(-2, 3), RuntimeError, "invalid shape dimension -2"),
        (lambda t: t.zeros(0, 3).view(-1, 0), RuntimeError, "ambiguous"),
        (lambda t: t.zeros(2, 3).T.view(6), RuntimeError, "view size is not compatible"),
        (lambda t: t.zeros(2, 3).reshape(5), RuntimeError, "is invalid for input of size 6"),
        (lambda t: t.zeros(2, 3).permute(0), RuntimeError, "dim"),
        (lambda t: t.zeros(2, 3).permute(0, 0), RuntimeError, "duplicate|repeated"),
        (lambda t: t.zeros(2, 3).permute(0, 2), IndexError, r"range of \[-2, 1\], but got 2"),
        (lambda t: t.zeros(2, 3).transpose(0, 2), IndexError, r"range of \[-2, 1\], but got 2"),
        (lambda t: t.zeros(2, 3, 4).t(), RuntimeError, "<= 2"),
        (lambda t: t.zeros(2).mT, RuntimeError, "matri"),
        (lambda t: t.zeros(2, 3).unsqueeze(4), IndexError, r"range of \[-3, 2\], but got 4"),
        (lambda t: t.zeros(2, 3).squeeze(2), IndexError, "out of range"),
        (lambda t: t.zeros(2, 3).expand(4, 3), RuntimeError, r"expanded size of the tensor \(4\)"),
        (lambda t: t.zeros(2, 3).expand(3), RuntimeError, "must be greater or equal"),
        (lambda t: t.zeros(3).expand(-1, 3), RuntimeError, "non-existing"),
        (lambda t: t.zeros(2, 3).select(0, 2), IndexError, "out of (bounds|range)"),
        (lambda t: t.zeros(2, 3).select(2, 0), IndexError, "out of range"),
        (lambda t: t.tensor(1.0).select(0, 0), IndexError, "0-dim"),
        (lambda t: t.zeros(2, 3).narrow(1, 2, 2), RuntimeError, "exceeds dimension size"),
        (lambda t: t.zeros(2, 3).narrow(1, 5, 1), IndexError, "out of range"),
        (lambda t: t.zeros(2, 3).narrow(1, 0, -1), RuntimeError, "non-negative"),
        (lambda t: t.zeros(2, 3).split([1, 1], 1), RuntimeError, "sum exactly to 3"),
        (lambda t: t.zeros(2, 3).split(-1), RuntimeError, "non-negative"),
        (lambda t: t.zeros(2, 3).split(0), RuntimeError, "split_size"),
        (lambda t: t.zeros(2, 3).chunk(0), RuntimeError, "greater than 0"),
        (lambda t: t.tensor(1.0).unbind(), (RuntimeError, IndexError), "dimension"),
        (lambda t: t.zeros(2, 3).diagonal(0, 1, 1), RuntimeError, "identical"),
        (lambda t: t.zeros(2, 3).flatten(1, 0), RuntimeError, "start_dim"),
        (lambda t: t.zeros(2, 3).unflatten(1, (2, 2)), RuntimeError, "multiply"),
        (lambda t: t.zeros(2, 3).movedim((0, 1), (0,)), RuntimeError, "movedim"),
        (lambda t: t.zeros(2, 3).movedim((0, 0), (0, 1)), RuntimeError, "movedim"),
        (lambda t: t.zeros(2, 3).view(2.0, 3), TypeError, "."),
        (lambda t: t.zeros(2, 3).transpose("a", 0), (TypeError, RuntimeError), "."),
    ],
)
def test_errors(call: Any, error: Any, words: str, torch: Any) -> None:
    with pytest.raises(error):
        call(torch)
    with pytest.raises(error, match=words):
        call(jitgrad)
