"""The module system against PyTorch: registration, names, state, hooks, modes, text, copies."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections import OrderedDict
from types import ModuleType
from typing import Any

import pytest

import jitgrad
from tests.nn.both import check, fails

nn = jitgrad.nn


def net(T: Any) -> Any:
    """A module with every kind of member, fixed numbers, a shared part."""

    class Part(T.nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.weight = T.nn.Parameter(T.arange(4.0).reshape(2, 2) * scale)
            self.register_parameter("nothing", None)
            self.register_buffer("seen", T.zeros((), dtype=T.int64))
            self.register_buffer("hidden", T.ones(1), persistent=False)

        def forward(self, x: Any, shift: float = 0.0) -> Any:
            return x @ self.weight + shift

        def extra_repr(self) -> str:
            return "a part"

    class Whole(T.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Part(0.5)
            self.again = self.first
            self.more = T.nn.Module()
            self.more.inner = Part(0.25)
            self.scale = T.nn.Parameter(T.ones(2))
            self.none = None
            self.none = T.nn.Identity()

        def forward(self, x: Any) -> Any:
            return self.more.inner(self.first(x)) * self.scale

    return Whole()


def leaf(T: Any, *numbers: float) -> Any:
    return T.tensor(numbers).requires_grad_()


# ---------------------------------------------------------------- members
@pytest.mark.parametrize(
    "program",
    [
        lambda T: [n for n, _ in net(T).named_parameters()],
        lambda T: [n for n, _ in net(T).named_parameters(remove_duplicate=False)],
        lambda T: [n for n, _ in net(T).named_parameters("pre", recurse=False)],
        lambda T: [n for n, _ in net(T).named_buffers()],
        lambda T: [n for n, _ in net(T).named_modules()],
        lambda T: [n for n, _ in net(T).named_modules(remove_duplicate=False)],
        lambda T: [n for n, _ in net(T).named_children()],
        lambda T: [len(list(m)) for m in (net(T).modules(), net(T).children())],
        lambda T: [len(list(m)) for m in (net(T).parameters(), net(T).buffers())],
        lambda T: repr(net(T)),
        lambda T: net(T).state_dict(),
        lambda T: net(T).state_dict(prefix="a."),
        lambda T: net(T).state_dict(keep_vars=True),
        lambda T: dict(net(T).state_dict()._metadata),
        lambda T: [net(T).get_parameter("more.inner.weight"), net(T).get_buffer("first.seen")],
        lambda T: type(net(T).get_submodule("more.inner")).__name__,
        lambda T: net(T).get_submodule("").training,
        lambda T: "more" in dir(net(T)) and "scale" in dir(net(T)),
    ],
)
def test_members(torch: ModuleType, program: Any) -> None:
    check(torch, program)


def _assigned(T: Any, *changes: tuple[str, Any]) -> Any:
    m = net(T).first
    for name, value in changes:
        setattr(m, name, value(T))
    tables = (m._parameters, m._buffers, m._modules)
    return [[list(t) for t in tables], sorted(m._non_persistent_buffers_set), dict(m.state_dict())]


@pytest.mark.parametrize(
    "changes",
    [
        [("weight", lambda T: None)],
        [("weight", lambda T: T.nn.Parameter(T.zeros(1)))],
        [("weight", lambda T: T.nn.Identity())],
        [("seen", lambda T: T.nn.Parameter(T.zeros(1)))],
        [("seen", lambda T: T.ones(3))],
        [("hidden", lambda T: None), ("hidden", lambda T: T.ones(2))],
        [("fresh", lambda T: T.ones(3)), ("fresh", lambda T: T.nn.Parameter(T.ones(2)))],
        [("b", lambda T: T.nn.Buffer(T.ones(2))), ("c", lambda T: T.nn.Buffer(T.ones(1)))],
        [("b", lambda T: T.nn.Buffer(T.ones(2), persistent=False))],
        [("k", lambda T: T.nn.Identity()), ("k", lambda T: None)],
        [("k", lambda T: T.nn.Identity()), ("k", lambda T: T.nn.Parameter(T.ones(2)))],
        [("number", lambda T: 3), ("number", lambda T: T.nn.Identity())],
    ],
)
def test_assignment(torch: ModuleType, changes: Any) -> None:
    check(torch, lambda T: _assigned(T, *changes))


def _deleted(T: Any) -> Any:
    m = net(T)
    del m.first
    del m.scale
    del m.more.inner.hidden
    m.plain = 1
    del m.plain
    return [list(m.state_dict()), hasattr(m, "scale"), hasattr(m, "plain")]


def test_deletion(torch: ModuleType) -> None:
    check(torch, _deleted)


def _early(T: Any, value: Any) -> None:
    class Early(T.nn.Module):
        def __init__(self) -> None:
            self.x = value(T)

    Early()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda T: _early(T, lambda T: T.nn.Parameter(T.ones(1))), "cannot assign parameters"),
        (lambda T: _early(T, lambda T: T.nn.Identity()), "cannot assign module before"),
        (lambda T: T.nn.Module.__new__(T.nn.Module).register_buffer("b", None), "before"),
        (lambda T: T.nn.Module.__new__(T.nn.Module).register_parameter("b", None), "before"),
        (lambda T: setattr(net(T).first, "weight", T.ones(1)), "as parameter 'weight'"),
        (lambda T: setattr(net(T).first, "seen", 3), "cannot assign 'int' as buffer 'seen'"),
        (lambda T: setattr(net(T), "first", 3), "cannot assign 'int' as child module 'first'"),
        (lambda T: net(T).register_parameter("scale.x", None), None),
        (lambda T: net(T).register_parameter("", None), None),
        (lambda T: net(T).register_parameter("forward", None), None),
        (lambda T: net(T).register_parameter(3, None), None),
        (lambda T: net(T).register_parameter("w", T.ones(1)), "cannot assign"),
        (lambda T: net(T).register_buffer("a.b", None), None),
        (lambda T: net(T).register_buffer("", None), None),
        (lambda T: net(T).register_buffer("scale", None), None),
        (lambda T: net(T).register_buffer(None, None), None),
        (lambda T: net(T).register_buffer("b", 3), None),
        (lambda T: net(T).add_module("a.b", None), None),
        (lambda T: net(T).add_module("", None), None),
        (lambda T: net(T).add_module("scale", T.nn.Identity()), None),
        (lambda T: net(T).add_module("m", 3), None),
        (lambda T: net(T).add_module(3, None), None),
        (lambda T: net(T).missing, None),
        (lambda T: delattr(net(T), "missing"), None),
        (lambda T: net(T).get_submodule("first.missing"), None),
        (lambda T: net(T).get_submodule("scale"), None),
        (lambda T: net(T).get_parameter("first.seen"), None),
        (lambda T: net(T).get_parameter("first.missing"), None),
        (lambda T: net(T).get_buffer("scale"), None),
        (lambda T: net(T).set_submodule("", T.nn.Identity()), None),
        (lambda T: net(T).set_submodule("first.weight", T.nn.Identity()), None),
        (lambda T: net(T).train("yes"), None),
        (lambda T: net(T).to(T.int64), None),
        (lambda T: T.nn.Module()(1), "is missing the required"),
        (lambda T: T.nn.Module(3), None),
        (lambda T: T.nn.Module(x=3), None),
        (lambda T: T.nn.Parameter(T.ones(1, dtype=T.int64)), None),
    ],
)
def test_errors(torch: ModuleType, program: Any, says: str | None) -> None:
    fails(torch, program, says)


def test_non_leaf_parameter(torch: ModuleType) -> None:
    p = nn.Parameter(jitgrad.ones(2))
    computed = p.view(2)
    assert type(computed) is jitgrad.Tensor
    assert type(p + 1) is jitgrad.Tensor
    fails(torch, lambda T: T.nn.Module().register_parameter("x", T.ones(1)), "cannot assign")


def test_set_submodule() -> None:
    m = net(jitgrad)
    replaced = nn.Identity()
    m.set_submodule("more.inner", replaced)
    assert m.more.inner is replaced
    with pytest.raises(AttributeError, match="no attribute `other`"):
        m.set_submodule("more.other", replaced, strict=True)


# ---------------------------------------------------------------- Parameter and Buffer
def test_parameter_shares_memory_and_counts_as_a_leaf() -> None:
    x = jitgrad.ones(3)
    p = nn.Parameter(x)
    p.data[0] = 5.0
    assert x.tolist() == [5.0, 1.0, 1.0]
    assert p.is_leaf
    assert p.requires_grad
    assert not nn.Parameter(x, requires_grad=False).requires_grad
    assert nn.Parameter().shape == (0,)
    with pytest.raises(AttributeError, match="list"):
        nn.Parameter([1.0])


def test_parameter_text_and_copies(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        p = T.nn.Parameter(T.tensor([1.0, 2.0]))
        p.grad = T.ones(2)
        q, r = copy.deepcopy(p), pickle.loads(pickle.dumps(p))
        return [repr(p), repr(q), repr(r), q.grad, isinstance(r, T.nn.Parameter), q is p]

    check(torch, program)


def test_buffer_is_told_apart(torch: ModuleType) -> None:
    check(
        torch,
        lambda T: [
            isinstance(T.nn.Buffer(T.ones(1)), T.nn.Buffer),
            isinstance(T.ones(1), T.nn.Buffer),
            isinstance(T.nn.Parameter(T.ones(1)), T.nn.Buffer),
            type(T.nn.Buffer(T.ones(1))).__name__ in ("Tensor", "Buffer"),
        ],
    )


# ---------------------------------------------------------------- modes and conversion
def _converted(T: Any) -> Any:
    m = net(T)
    m(T.ones(1, 2)).sum().backward()
    before = m.scale
    same = m.double() is m and m.scale is before
    y = m(T.ones(1, 2, dtype=T.float64))
    y.sum().backward()
    return [same, y, m.scale.grad, m.first.seen, m.first.hidden, m.to(T.ones(1)).scale]


def test_conversion_keeps_the_objects(torch: ModuleType) -> None:
    check(torch, _converted)


def _modes(T: Any) -> Any:
    m = net(T)
    found = [m.eval() is m, m.more.inner.training, m.train().more.inner.training]
    m.requires_grad_(False)
    m.first.requires_grad_(True)
    found.append([n for n, p in m.named_parameters() if p.requires_grad])
    names: list[str] = []
    found.append(m.apply(lambda module: names.append(type(module).__name__)) is m)
    return [found, names]


def test_modes(torch: ModuleType) -> None:
    check(torch, _modes)


@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad(torch: ModuleType, to_none: bool) -> None:
    def program(T: Any) -> Any:
        m = net(T)
        m(T.ones(1, 2)).sum().backward()
        m.zero_grad(set_to_none=to_none)
        return [p.grad for p in m.parameters()]

    check(torch, program)


def test_16_bits() -> None:
    for model, dtype in ((net(jitgrad).half(), "float16"), (net(jitgrad).bfloat16(), "bfloat16")):
        assert {p.dtype.name for p in model.parameters()} == {dtype}


# ---------------------------------------------------------------- state
def _loaded(T: Any, change: Any, **options: Any) -> Any:
    m, state = net(T), net(T).state_dict()
    state = change(T, state) or state
    before = m.first.weight
    keys = m.load_state_dict(state, **options)
    return [
        str(keys),
        keys.missing_keys,
        keys.unexpected_keys,
        m.first.weight,
        before is m.first.weight,
    ]


def _replace(name: str, value: Any) -> Any:
    return lambda T, state: state.update({name: value(T)})


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda T, s: None, {}),
        (_replace("first.weight", lambda T: T.zeros(2, 2, dtype=T.float64)), {}),
        (_replace("first.weight", lambda T: T.zeros(2, 2)), {"assign": True}),
        (_replace("first.weight", lambda T: T.nn.Parameter(T.zeros(2, 2))), {"assign": True}),
        (_replace("first.seen", lambda T: T.ones(1, dtype=T.int64)), {}),
        (lambda T, s: s.popitem() and None, {"strict": False}),
        (_replace("other", lambda T: T.ones(1)), {"strict": False}),
        (lambda T, s: dict(s), {}),
    ],
)
def test_load_state(torch: ModuleType, change: Any, options: Any) -> None:
    check(torch, lambda T: _loaded(T, change, **options))


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda T, s: s.pop("scale") is None, {}),
        (_replace("scale", lambda T: T.ones(3)), {}),
        (_replace("scale", lambda T: T.ones(3)), {"strict": False}),
        (_replace("scale", lambda T: 3), {}),
        (_replace("first.deeper.w", lambda T: T.ones(3)), {}),
        (_replace("first.nothing", lambda T: T.ones(3)), {}),
        (lambda T, s: OrderedDict(a=T.ones(1), b=T.ones(2)), {}),
        (lambda T, s: [1], {}),
    ],
)
def test_load_state_errors(torch: ModuleType, change: Any, options: Any) -> None:
    fails(torch, lambda T: _loaded(T, change, **options))


def test_state_shares_memory() -> None:
    m = net(jitgrad)
    m.state_dict()["scale"][0] = 7.0
    assert m.scale.tolist() == [7.0, 1.0]
    assert not m.state_dict()["scale"].requires_grad


def _extra(T: Any) -> Any:
    class Counter(T.nn.Module):
        _version = 3

        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    m = T.nn.Sequential(Counter(), T.nn.Identity())
    m[0].count = 5
    state = m.state_dict()
    fresh = T.nn.Sequential(Counter(), T.nn.Identity())
    fresh.load_state_dict(state)
    missing = fresh.load_state_dict({}, strict=False).missing_keys
    unexpected = T.nn.Sequential(T.nn.Identity()).load_state_dict(state, strict=False)
    return [list(state), fresh[0].count, state._metadata["0"], missing, unexpected.unexpected_keys]


def test_extra_state(torch: ModuleType) -> None:
    check(torch, _extra)


def _state_hooks(T: Any) -> Any:
    m = net(T)
    seen: list[Any] = []
    m.register_state_dict_pre_hook(lambda module, prefix, keep: seen.append(["pre", prefix, keep]))
    post = m.first.register_state_dict_post_hook(
        lambda module, state, prefix, meta: seen.append(["post", prefix, meta["version"]])
    )
    m.register_load_state_dict_pre_hook(
        lambda module, state, prefix, *rest: state.__setitem__("scale", T.zeros(2))
    )

    def forgive(module: Any, keys: Any) -> None:
        seen.append(list(keys.unexpected_keys))
        keys.unexpected_keys.clear()

    m.register_load_state_dict_post_hook(forgive)
    state = m.state_dict()
    post.remove()
    state["other"] = T.ones(1)
    m.load_state_dict(state)
    return [seen, m.scale, len(m.state_dict())]


def test_state_hooks(torch: ModuleType) -> None:
    check(torch, _state_hooks)


# ---------------------------------------------------------------- hooks of the call
def _forward_hooks(T: Any) -> Any:
    m = net(T).first
    seen: list[Any] = []
    m.register_forward_pre_hook(lambda module, args: args[0] * 2)
    m.register_forward_pre_hook(
        lambda module, args, kwargs: (args, {**kwargs, "shift": 1.0}), with_kwargs=True
    )
    m.register_forward_pre_hook(lambda module, args: seen.append(args[0]), prepend=True)
    double = m.register_forward_hook(lambda module, args, out: out * 2)
    m.register_forward_hook(
        lambda module, args, kwargs, out: seen.append([kwargs, out]), with_kwargs=True
    )
    m.register_forward_hook(lambda module, args, out: seen.append(out), prepend=True)
    first = m(T.ones(1, 2))
    double.remove()
    return [first, seen, m(T.ones(1, 2))]


def test_forward_hooks(torch: ModuleType) -> None:
    check(torch, _forward_hooks)


def _always(T: Any) -> Any:
    m = net(T).first
    seen: list[str] = []
    m.register_forward_hook(lambda *a: seen.append("always"), always_call=True)
    m.register_forward_hook(lambda *a: seen.append("sometimes"))
    m.register_forward_hook(lambda *a: 1 / 0, always_call=True)
    try:
        m("no tensor")
    except Exception as error:
        seen.append(str(isinstance(error, (TypeError, AttributeError))))
    return seen


def test_hooks_that_are_always_called(torch: ModuleType) -> None:
    check(torch, _always)


def test_bad_pre_hook(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        m = T.nn.Identity()
        m.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
        return m(T.ones(1))

    fails(torch, program)


def _backward_hooks(T: Any, grad: bool = True) -> Any:
    class Two(T.nn.Module):
        def forward(self, a: Any, number: Any, b: Any) -> Any:
            return a * b, "text", b * number

    m, seen = Two(), []
    m.register_full_backward_hook(lambda module, gi, go: seen.append(["hook", list(gi), list(go)]))
    m.register_full_backward_hook(
        lambda module, gi, go: tuple(None if g is None else g * 10 for g in gi) if grad else None
    )
    m.register_full_backward_pre_hook(lambda module, go: seen.append(["pre", list(go)]))
    m.register_full_backward_pre_hook(
        lambda module, go: tuple(None if g is None else g + 1 for g in go), prepend=True
    )
    a, b = T.tensor([1.0, 2.0]), T.tensor([3.0, 4.0])
    if grad:
        a.requires_grad_()
        b.requires_grad_()
    else:
        m.weight = T.nn.Parameter(T.ones(2))
        m.forward = lambda a, number, b: (a * m.weight, "text", b * m.weight)
    first, _, second = m(a, 3.0, b)
    (first.sum() + (second * 2).sum()).backward()
    return [seen, a.grad, b.grad, first.grad_fn.name()]


def test_backward_hooks(torch: ModuleType) -> None:
    check(torch, _backward_hooks)


def test_backward_hooks_without_input_gradients(torch: ModuleType) -> None:
    check(torch, lambda T: _backward_hooks(T, grad=False))


def test_backward_hooks_of_an_unused_output(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        class Two(T.nn.Module):
            def forward(self, a: Any) -> Any:
                return a * 2, a * 3

        m, seen = Two(), []
        m.register_full_backward_hook(lambda module, gi, go: seen.append([list(gi), list(go)]))
        x = leaf(T, 1.0, 2.0)
        m(x)[1].sum().backward()
        with T.no_grad():
            m(x)
        return [seen, x.grad]

    check(torch, program)


@pytest.mark.parametrize("kind", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_backward_hook_of_wrong_length(torch: ModuleType, kind: str) -> None:
    def program(T: Any) -> Any:
        m = net(T)
        getattr(m, kind)(lambda module, *g: (T.ones(1), T.ones(1)))
        m(leaf(T, 1.0, 2.0).reshape(1, 2)).sum().backward()

    fails(torch, program, "invalid number of grad_")


# ---------------------------------------------------------------- copies
@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(how: Any) -> None:
    m = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    m.append(m[0])
    m[0].weight.grad = jitgrad.ones(2, 2)
    m.eval()
    other = how(m)
    x = jitgrad.ones(1, 2)
    assert (other(x) == m(x)).all()
    assert other[0] is other[2]
    assert other[0].weight is not m[0].weight
    assert not other[1].training
    assert repr(other) == repr(m)
    with jitgrad.no_grad():
        other[0].weight.zero_()
    assert (other(x) != m(x)).any()


def test_no_cycles_keep_a_module_alive() -> None:
    m = nn.Sequential(nn.Linear(2, 2))
    handle = m.register_forward_hook(lambda *a: None)
    m.register_full_backward_hook(lambda *a: None)
    m(jitgrad.ones(1, 2).requires_grad_()).sum().backward()
    gc.collect()
    gone = weakref.ref(m)
    del m
    assert gone() is None
    handle.remove()
