"""What all optimisers share: groups, errors, hooks, state, and that no state can crash a step."""

from __future__ import annotations

import copy
import importlib
import pickle
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad import optim
from jitgrad.arena import debug
from tests.nn.both import check

ALL = "SGD Adam AdamW Adagrad Adadelta RMSprop RAdam NAdam Adamax ASGD Rprop LBFGS".split()


def leaf(*values: float, dtype: Any = jitgrad.float64) -> jitgrad.Tensor:
    made = jitgrad.tensor(list(values), dtype=dtype, requires_grad=True)
    made.grad = jitgrad.ones_like(made)
    return made


@pytest.mark.parametrize("name", ALL)
def test_signature_defaults_and_repr_are_pytorchs(torch: ModuleType, name: str) -> None:
    import inspect

    mine, theirs = getattr(optim, name), getattr(torch.optim, name)
    a, b = (inspect.signature(kind.__init__).parameters for kind in (mine, theirs))
    assert list(a) == list(b)
    for key in a:
        assert a[key].kind == b[key].kind, key
        assert a[key].default == b[key].default, key
    w = torch.ones(1, requires_grad=True)
    assert mine([leaf(1.0)]).defaults == theirs([w]).defaults
    assert repr(mine([leaf(1.0)])) == repr(theirs([w]))


BAD = [
    ("SGD", {"lr": -1.0}),
    ("SGD", {"momentum": -1.0}),
    ("SGD", {"weight_decay": -1.0}),
    ("SGD", {"nesterov": True}),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
    ("SGD", {"fused": True, "foreach": True}),
    ("Adam", {"lr": -1.0}),
    ("Adam", {"eps": -1.0}),
    ("Adam", {"betas": (1.5, 0.9)}),
    ("Adam", {"betas": (0.5, -0.9)}),
    ("Adam", {"betas": (0, 0.9)}),
    ("Adam", {"weight_decay": -1.0}),
    ("AdamW", {"fused": True, "foreach": True}),
    ("Adagrad", {"lr_decay": -1.0}),
    ("Adagrad", {"initial_accumulator_value": -1.0}),
    ("Adagrad", {"eps": -1.0}),
    ("Adadelta", {"rho": 1.5}),
    ("Adadelta", {"eps": -1.0}),
    ("RMSprop", {"alpha": -1.0}),
    ("RMSprop", {"momentum": -1.0}),
    ("RAdam", {"betas": (1.0, 0.9)}),
    ("NAdam", {"momentum_decay": -1.0}),
    ("Adamax", {"betas": (0.9, 1.0)}),
    ("ASGD", {"weight_decay": -1.0}),
    ("Rprop", {"etas": (0.5, 0.9)}),
    ("LBFGS", {"lr": -1.0}),
]


@pytest.mark.parametrize(("name", "options"), BAD, ids=str)
def test_bad_options_are_refused_as_pytorch_does(
    torch: ModuleType, name: str, options: dict[str, Any]
) -> None:
    with pytest.raises((ValueError, RuntimeError)) as wanted:
        getattr(torch.optim, name)([torch.ones(1, requires_grad=True)], **options)
    with pytest.raises(wanted.type) as found:
        getattr(optim, name)([leaf(1.0)], **options)
    assert str(found.value) == str(wanted.value)


def module(t: Any) -> Any:
    return importlib.import_module(f"{t.__name__}.optim.optimizer")


MISUSES: list[Callable[[Any, Any], Any]] = [
    lambda t, w: t.optim.SGD([], lr=0.1),
    lambda t, w: t.optim.SGD([w * 2], lr=0.1),
    lambda t, w: t.optim.SGD([3.0], lr=0.1),
    lambda t, w: t.optim.SGD([{"params": {w}}], lr=0.1),
    lambda t, w: t.optim.SGD([{"params": w}, {"params": [w]}], lr=0.1),
    lambda t, w: t.optim.SGD([("a", w), t.ones(1, requires_grad=True)], lr=0.1),
    lambda t, w: t.optim.SGD([{"params": [("a", w)]}, {"params": t.ones(1)}], lr=0.1),
    lambda t, w: t.optim.SGD([w], lr=0.1).add_param_group([w]),
    lambda t, w: t.optim.SGD([w], lr=t.ones(2)),
    lambda t, w: t.optim.Adam([w], lr=t.ones(1), foreach=True),
    lambda t, w: t.optim.SGD([{"params": w}, {"params": [t.ones(1)]}], lr=0.1).load_state_dict(
        t.optim.SGD([w]).state_dict()
    ),
    lambda t, w: t.optim.SGD([w, t.ones(1)]).load_state_dict(t.optim.SGD([w]).state_dict()),
    lambda t, w: t.optim.Optimizer([w], {}).step(),
    lambda t, w: t.optim.Optimizer([w], {"lr": module(t).required}),
]


def test_bad_parameters_are_refused_as_pytorch_does(torch: ModuleType) -> None:
    for make in MISUSES:
        with pytest.raises((TypeError, ValueError, NotImplementedError)) as wanted:
            make(torch, torch.ones(1, requires_grad=True))
        with pytest.raises(wanted.type) as found:
            make(jitgrad, jitgrad.ones(1, requires_grad=True))
        assert str(found.value) == str(wanted.value)
    with pytest.raises(TypeError, match=r"should be an iterable of Tensors or dicts, but got"):
        optim.SGD(leaf(1.0))
    w = leaf(1.0)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([w, w])


def test_groups_have_options_of_their_own() -> None:
    a, b, c = leaf(1.0), leaf(1.0), leaf(1.0)
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [c], "momentum": 0.9})
    optimizer.step()
    assert [round(p.item(), 9) for p in (a, b, c)] == [0.9, 0.5, 0.9]
    assert [sorted(s) for s in optimizer.state_dict()["state"].values()] == [["momentum_buffer"]]
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    assert round(a.item(), 9) == -0.1
    named = optim.SGD([("weight", a), ("bias", b)])
    assert named.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_parameters_without_gradients_are_left_alone() -> None:
    a, b = leaf(1.0), leaf(1.0)
    b.grad = None
    optimizer = optim.Adam([a, b], lr=0.1, weight_decay=0.1)
    optimizer.step()
    assert b.item() == 1.0
    assert list(optimizer.state_dict()["state"]) == [0]
    optimizer.zero_grad()
    assert a.grad is None
    before = a.item()
    optimizer.step()
    assert a.item() == before
    assert optimizer.state[a]["step"].item() == 1


def test_zero_grad_can_keep_the_gradients() -> None:
    a = leaf(1.0, 2.0)
    gradient = a.grad
    optim.SGD([a]).zero_grad(set_to_none=False)
    assert a.grad is gradient
    assert a.grad.tolist() == [0.0, 0.0]


def test_closure_runs_with_gradients_and_its_value_is_returned() -> None:
    w = leaf(1.0)
    optimizer = optim.SGD([w], lr=0.1)

    def closure() -> jitgrad.Tensor:
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    with jitgrad.no_grad():
        assert optimizer.step(closure).item() == 1.0
    assert w.item() == pytest.approx(0.8)
    assert optimizer.step() is None


def test_versions_rise_so_that_backward_notices() -> None:
    w = leaf(2.0)
    loss = (w * w).sum()
    before = w._version
    optimizer = optim.Adam([w])
    optimizer.step()
    assert w._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_tensor_as_learning_rate() -> None:
    w = leaf(1.0)
    lr = jitgrad.tensor(0.5, dtype=jitgrad.float64)
    optimizer = optim.SGD([w], lr=lr)
    optimizer.step()
    lr.fill_(0.25)
    optimizer.step()
    assert w.item() == 0.25


def test_hooks() -> None:
    w = leaf(1.0)
    optimizer = optim.SGD([w], lr=0.1)
    seen: list[str] = []
    handles = [
        optim.optimizer.register_optimizer_step_pre_hook(lambda o, a, k: seen.append("all")),
        optimizer.register_step_pre_hook(lambda o, a, k: seen.append("before")),
        optimizer.register_step_post_hook(lambda o, a, k: seen.append("after")),
        optim.optimizer.register_optimizer_step_post_hook(lambda o, a, k: seen.append("done")),
        optimizer.register_state_dict_pre_hook(lambda o: seen.append("saving")),
        optimizer.register_state_dict_post_hook(lambda o, s: {**s, "extra": 1}),
        optimizer.register_load_state_dict_pre_hook(
            lambda o, s: {k: v for k, v in s.items() if k != "extra"}
        ),
        optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded")),
    ]
    optimizer.step()
    assert seen == ["all", "before", "after", "done"]
    saved = optimizer.state_dict()
    assert saved["extra"] == 1
    optimizer.load_state_dict(saved)
    assert seen[4:] == ["saving", "loaded"]
    first = optimizer.register_step_pre_hook(lambda o, a, k: ((lambda: 7.0,), {}))
    assert optimizer.step() == 7.0
    first.remove()
    bad = optimizer.register_step_pre_hook(lambda o, a, k: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()
    bad.remove()
    for handle in handles:
        handle.remove()
    seen.clear()
    optimizer.step()
    assert seen == []


def test_an_optimiser_of_the_users_own_has_hooks_too() -> None:
    class Sign(optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.5})

        @jitgrad.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(p.grad.sign() * group["lr"])

    w = leaf(2.0)
    optimizer = Sign([w])
    seen: list[int] = []
    optimizer.register_step_post_hook(lambda o, a, k: seen.append(1))
    optimizer.step()
    assert w.item() == 1.5
    assert seen == [1]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_go_on_like_the_original(copied: Any) -> None:
    w = leaf(1.0, 2.0)
    optimizer = optim.Adam([w], lr=0.1)
    optimizer.step()
    other = copied(optimizer)
    v = other.param_groups[0]["params"][0]
    assert v is not w
    v.grad = jitgrad.ones_like(v)
    optimizer.step()
    other.step()
    assert v.tolist() == w.tolist()


def test_replaced_state_and_parameters_are_seen_at_once() -> None:
    a, b = leaf(1.0), leaf(5.0)
    optimizer = optim.SGD([a], lr=1.0, momentum=0.5)
    optimizer.step()
    optimizer.state[a]["momentum_buffer"] = jitgrad.full((1,), 10.0, dtype=jitgrad.float64)
    optimizer.step()
    assert a.item() == -6.0
    optimizer.state.clear()
    optimizer.step()
    assert a.item() == -7.0
    optimizer.param_groups[0]["params"] = (b,)
    optimizer.step()
    assert (a.item(), b.item()) == (-7.0, 4.0)
    optimizer.state[b]["momentum_buffer"] = None
    optimizer.step()
    assert b.item() == 3.0


def test_state_that_does_not_fit_is_refused() -> None:
    w = leaf(1.0, 2.0, 3.0)
    optimizer = optim.Adam([w])
    optimizer.step()
    before = w.tolist()
    good = dict(optimizer.state[w])
    for key, value, error, words in (
        (
            "exp_avg",
            jitgrad.zeros(4, dtype=jitgrad.float64),
            RuntimeError,
            r"'exp_avg'.*\[4\].*size",
        ),
        ("exp_avg", jitgrad.zeros(3), RuntimeError, "float32"),
        (
            "exp_avg",
            jitgrad.zeros(1, dtype=jitgrad.float64).expand(3),
            RuntimeError,
            "single memory",
        ),
        ("exp_avg_sq", 3.0, TypeError, "must be a Tensor, not float"),
        ("step", jitgrad.zeros(2), RuntimeError, "one floating point number"),
        ("step", jitgrad.tensor(3), RuntimeError, "one floating point number"),
        ("step", "now", TypeError, "must be a Tensor"),
    ):
        optimizer.state[w][key] = value
        with pytest.raises(error, match=words):
            optimizer.step()
        optimizer.state[w].update(good)
    del optimizer.state[w]["exp_avg_sq"]
    with pytest.raises(KeyError, match="exp_avg_sq"):
        optimizer.step()
    optimizer.state[w] = [1]
    with pytest.raises(SystemError):
        optimizer.step()
    assert w.tolist() == before


def test_a_gradient_that_does_not_fit_is_refused() -> None:
    w = leaf(1.0, 2.0)
    optimizer = optim.SGD([w], momentum=0.9)
    gradient = w.grad
    w.grad = None
    w.data = jitgrad.zeros(3, dtype=jitgrad.float64)
    optimizer.step()
    with pytest.raises(RuntimeError, match="are the same size"):
        w.grad = gradient
    wide = jitgrad.zeros(1, dtype=jitgrad.float64).expand(3).requires_grad_()
    wide.grad = jitgrad.ones(3, dtype=jitgrad.float64)
    with pytest.raises(RuntimeError, match="single memory location"):
        optim.SGD([wide]).step()
    optimizer.param_groups[0]["params"] = [3]
    for work in (optimizer.step, optimizer.zero_grad):
        with pytest.raises(TypeError, match="optimize Tensors, but one of the params is int"):
            work()


def test_keys_that_run_code_cannot_corrupt_the_step() -> None:
    w = leaf(1.0, 2.0)
    optimizer = optim.Adam([w], lr=0.1)
    optimizer.step()
    state = optimizer.state[w]

    class Evil:
        def __hash__(self) -> int:
            return hash("exp_avg_sq")

        def __eq__(self, other: object) -> bool:
            # In the middle of the look-up: drop the parameter's gradient, make rows, step again.
            w.grad = None
            optimizer.zero_grad()
            jitgrad.zeros(1000)
            return False

    optimizer.state[w] = {
        "step": state["step"],
        "exp_avg": state["exp_avg"],
        Evil(): 1,
        "exp_avg_sq": state["exp_avg_sq"],
    }
    before = w.tolist()
    try:
        optimizer.step()
    except RuntimeError:
        pass
    assert w.tolist() == before or np.isfinite(w.tolist()).all()
    debug.check()


def test_unsupported_options_say_so() -> None:
    with pytest.raises(AssertionError, match="If capturable=True"):
        optim.Adam([leaf(1.0)], capturable=True).step()


def test_both_dtypes_in_one_group() -> None:
    a, b = leaf(1.0), leaf(1.0, dtype=jitgrad.float32)
    optimizer = optim.Adam([a, b], lr=0.1)
    for _ in range(3):
        optimizer.step()
    assert a.item() == pytest.approx(b.item(), rel=1e-5)
    assert a.dtype is jitgrad.float64
    assert b.dtype is jitgrad.float32


def test_fused_keeps_step_in_float32_and_numbers_alike() -> None:
    a, b = leaf(1.0), leaf(1.0)
    jitgrad.set_default_dtype(jitgrad.float64)
    try:
        one, two = optim.Adam([a], fused=True), optim.Adam([b])
        one.step()
        two.step()
    finally:
        jitgrad.set_default_dtype(jitgrad.float32)
    assert one.state[a]["step"].dtype is jitgrad.float32
    assert two.state[b]["step"].dtype is jitgrad.float64
    assert a.item() == b.item()


def test_old_checkpoints_with_plain_numbers(torch: ModuleType) -> None:
    w = leaf(1.0)
    optimizer = optim.Adam([w])
    optimizer.step()
    saved = optimizer.state_dict()
    saved["state"][0]["step"] = 1
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert optimizer.state[w]["step"].item() == 2.0


def test_steps_leak_nothing() -> None:
    w = leaf(1.0, 2.0)
    optimizer = optim.Adam([w])

    def work() -> int:
        for _ in range(50):
            optimizer.zero_grad()
            (w * w).sum().backward()
            optimizer.step()
        return int(jitgrad.memory_stats()["live_rows"])

    assert work() == work()


def test_steps_inside_backward(torch: ModuleType) -> None:
    both = []
    for t in (jitgrad, torch):
        a = t.tensor([1.0, 2.0], dtype=t.float64, requires_grad=True)
        b = t.tensor([3.0, -1.0], dtype=t.float64, requires_grad=True)
        optimizers = {id(p): t.optim.Adam([p], lr=0.1) for p in (a, b)}

        def step(p: Any, optimizers: dict[int, Any] = optimizers) -> None:
            optimizers[id(p)].step()
            optimizers[id(p)].zero_grad()

        for p in (a, b):
            p.register_post_accumulate_grad_hook(step)
        for _ in range(3):
            (a.sin().sum() * 2 + (b.exp() + a.detach() * b).sum()).backward()
        assert a.grad is None
        both.append([*a.tolist(), *b.tolist()])
    np.testing.assert_allclose(*both, rtol=1e-12)


def test_a_model_trains(torch: ModuleType) -> None:
    both = []
    x = np.random.default_rng(0).normal(size=(16, 3))
    for t in (jitgrad, torch):
        model = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.Tanh(), t.nn.Linear(4, 1)).to(t.float64)
        with t.no_grad():
            for k, p in enumerate(model.parameters()):
                p.copy_(t.tensor(np.random.default_rng(k).normal(size=tuple(p.shape))))
        optimizer = t.optim.AdamW(model.named_parameters(), lr=0.05)
        losses = []
        for _ in range(15):
            optimizer.zero_grad()
            loss = (model(t.tensor(x)) ** 2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        both.append(losses)
    np.testing.assert_allclose(*both, rtol=1e-9)
    assert both[0][-1] < both[0][0]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
@pytest.mark.parametrize("gone", ["lr", "maximize", "foreach", "weight_decay", "all but three"])
def test_options_that_a_checkpoint_lacks(torch: ModuleType, name: str, gone: str) -> None:
    def program(T: Any) -> Any:
        p = T.nn.Parameter(T.ones(2))
        make = getattr(T.optim, name)
        state = make([p], lr=0.5).state_dict()
        group = state["param_groups"][0]
        for key in list(group):
            if key == gone or (gone == "all but three" and key not in ("params", "lr", "eps")):
                del group[key]
        optimizer = make([p], lr=0.1, maximize=True)
        optimizer.load_state_dict(state)
        p.grad = T.ones(2)
        found = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
        if gone in ("maximize", "foreach"):
            optimizer.step()
            return [found, p]
        try:
            optimizer.step()
        except KeyError:
            return [sorted(found), "KeyError"]
        return sorted(found)

    check(torch, program)
