"""Where a backward pass stops for Python: hooks, custom functions, exceptions in them, chosen inputs.

Every program runs with jitgrad and with PyTorch, and both must give the same numbers in the same order.
"""

import _thread
import gc
import signal
import threading
import time

import numpy as np
import pytest

import jitgrad


def plain(x):
    """Tensors as nested lists, everything else as it is."""
    if isinstance(x, (list, tuple)):
        return [plain(e) for e in x]
    return x.tolist() if hasattr(x, "tolist") else x


def leaf(torch, *values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


# ---------------------------------------------------------------- programs
def hook_on_a_leaf_replaces(torch):
    x = leaf(torch, 1.0, 2.0)
    x.register_hook(lambda g: g * 10)
    (x * x).sum().backward()
    return [x.grad]


def hooks_run_in_order_and_can_be_removed(torch):
    x, seen = leaf(torch, 1.0, 2.0), []
    y = x * 3
    first = y.register_hook(lambda g: seen.append(plain(g)))
    y.register_hook(lambda g: g + 1)
    y.register_hook(lambda g: seen.append(plain(g)))
    y.sum().backward(retain_graph=True)
    first.remove()
    first.remove()
    y.sum().backward()
    return [seen, x.grad]


def a_hook_sees_the_whole_gradient(torch):
    x, seen = leaf(torch, 1.0, 2.0), []
    y = x.exp()
    y.register_hook(lambda g: seen.append(plain(g)))
    (y.sin() + y * 2 + y.sum()).sum().backward()
    return [seen, x.grad]


def a_hook_on_an_intermediate_changes_what_is_retained(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    y.sum().backward()
    return [y.grad, x.grad]


def a_hook_may_run_another_backward(torch):
    x, w = leaf(torch, 1.0, 2.0), leaf(torch, 3.0)

    def hook(g):
        with torch.enable_grad():
            (w * w).sum().backward()

    y = x * 2
    y.register_hook(hook)
    z = (y.exp() * x).sum()
    z.backward()
    return [x.grad, w.grad]


def a_hook_may_differentiate_the_same_graph(torch):
    x, seen = leaf(torch, 1.0, 2.0), []
    y = x * x
    z = (y.exp() * x).sum()

    def hook(g):
        if not seen:
            seen.append("inside")
            seen.append(plain(torch.autograd.grad(z, x, retain_graph=True)))

    y.register_hook(hook)
    z.backward(retain_graph=True)
    return [seen, x.grad]


def after_accumulation(torch):
    x, seen = leaf(torch, 1.0, 2.0), []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(plain(t.grad)))
    (x * 2).sum().backward()
    (x * 2).sum().backward()
    return [seen, x.grad]


def hooks_on_the_node_of_a_leaf(torch):
    x, seen = leaf(torch, 1.0, 2.0), []
    node = (x * 2).grad_fn.next_functions[0][0]
    node.register_prehook(lambda g: seen.append(["before", plain(g)]))
    node.register_hook(lambda i, o: seen.append(["after", plain(i), plain(o)]))
    (x * 3).sum().backward()
    return [seen, type(node).__name__, node.variable is x]


def grad_leaves_grad_alone(torch):
    x, w = leaf(torch, 1.0, 2.0), leaf(torch, 3.0, 4.0)
    y = x * w
    z = (y.exp() * w).sum()
    found = torch.autograd.grad(z, [w, y, x, y], retain_graph=True)
    again = torch.autograd.grad([z, y], y, grad_outputs=[None, torch.ones(2, dtype=torch.float64)])
    return [found, again, x.grad, w.grad]


def backward_to_chosen_inputs(torch):
    x, w = leaf(torch, 1.0, 2.0), leaf(torch, 3.0, 4.0)
    y = x * w
    (y * y).sum().backward(inputs=[w])
    return [x.grad, w.grad]


def hooks_see_chosen_gradients(torch):
    x, seen = leaf(torch, 1.0, 2.0), []
    x.register_hook(lambda g: g * 2)
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad))
    y = x * 3
    y.register_hook(lambda g: g + 1)
    return [torch.autograd.grad(y.sum(), [x, y]), seen, x.grad]


def unused_inputs(torch):
    x, w = leaf(torch, 1.0, 2.0), leaf(torch, 3.0)
    found = torch.autograd.grad((x * 2).sum(), [x, w], allow_unused=True)
    zeros = torch.autograd.grad((x * 2).sum(), [x, w], materialize_grads=True)
    return [found, zeros]


def batched(torch):
    x = leaf(torch, 1.0, 2.0, 3.0)
    return torch.autograd.grad(
        x * x, x, grad_outputs=torch.eye(3, dtype=torch.float64), is_grads_batched=True
    )


def custom_exp(torch):
    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx, i):
            result = i.exp()
            ctx.save_for_backward(result)
            return result

        @staticmethod
        def backward(ctx, g):
            (result,) = ctx.saved_tensors
            return g * result

    x = leaf(torch, 1.0, 2.0)
    y = Exp.apply(x)
    z = (y * y).sum()
    z.backward(retain_graph=True)
    z.backward()
    return [y, x.grad, y.grad_fn.name(), y.requires_grad, y.is_leaf]


def custom_linear_with_optional_arguments(torch):
    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(x, w, b=None):
            return x.mm(w.t()) + (0 if b is None else b)

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, w, b = inputs
            ctx.save_for_backward(x, w, b)

        @staticmethod
        def backward(ctx, g):
            x, w, b = ctx.saved_tensors
            return (
                g.mm(w) if ctx.needs_input_grad[0] else None,
                g.t().mm(x) if ctx.needs_input_grad[1] else None,
                g.sum(0) if b is not None and ctx.needs_input_grad[2] else None,
            )

    x = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    w = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    b = leaf(torch, 1.0, 2.0)
    (Linear.apply(x, w, b) ** 2).sum().backward()
    (Linear.apply(x, w, None) ** 2).sum().backward()
    return [w.grad, b.grad]


def several_outputs_one_unused(torch):
    seen = []

    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, k, b):
            ctx.k = k
            return a * b, k, a + b

        @staticmethod
        def backward(ctx, g, k, h):
            seen.append([plain(g), k if k is None else plain(k), plain(h)])
            return g * 2 + h, None, g + h

    a, b = leaf(torch, 1.0, 2.0), leaf(torch, 3.0, 4.0)
    p, k, q = Pair.apply(a, 7, b)
    (p * 2).sum().backward(retain_graph=True)
    (p * q).sum().backward()
    return [seen, k, a.grad, b.grad]


def no_materialised_zeros(torch):
    seen = []

    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.set_materialize_grads(False)
            return a * 2, a * 3

        @staticmethod
        def backward(ctx, g, h):
            seen.append([plain(g), plain(h)])
            return g * 2

    a = leaf(torch, 1.0)
    p, _ = Pair.apply(a)
    p.sum().backward()
    return [seen, a.grad]


def an_output_without_gradient(torch):
    class Best(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            where = a.argmax()
            ctx.where = where
            ctx.mark_non_differentiable(where)
            return a.max(), where

        @staticmethod
        def backward(ctx, g, _):
            return torch.tensor([0.0, 1.0], dtype=torch.float64) * g

    a = leaf(torch, 1.0, 5.0)
    y, where = Best.apply(a)
    y.backward()
    return [y, where, where.requires_grad, a.grad]


def in_place(torch):
    class DoubleInPlace(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            a.mul_(2)
            ctx.mark_dirty(a)
            return a

        @staticmethod
        def backward(ctx, g):
            return g * 2

    a = leaf(torch, 1.0, 5.0)
    b = a.clone()
    c = DoubleInPlace.apply(b)
    (c * c).sum().backward()
    return [c is b, c, a.grad]


def an_input_that_is_returned(torch):
    class Identity(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a

        @staticmethod
        def backward(ctx, g):
            return g * 7

    a = leaf(torch, 1.0, 5.0)
    y = Identity.apply(a)
    y.sum().backward()
    return [y is a, a.grad]


def gradients_are_summed_and_cast_to_the_input(torch):
    class Wide(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a.expand(4, 2).double().clone()

        @staticmethod
        def backward(ctx, g):
            return g

    a = torch.ones(1, 2, dtype=torch.float32, requires_grad=True)
    y = Wide.apply(a)
    y.sum().backward()
    return [a.grad, str(a.grad.dtype).split(".")[-1]]


def many_inputs(torch):
    class Total(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *xs):
            return sum(xs[1:], xs[0].clone())

        @staticmethod
        def backward(ctx, g):
            return tuple(g * i for i in range(7))

    xs = [leaf(torch, float(i)) for i in range(7)]
    Total.apply(*xs).sum().backward()
    return [x.grad for x in xs]


PROGRAMS = [
    f
    for name, f in list(globals().items())
    if callable(f) and getattr(f, "__module__", "") == __name__ and name not in ("plain", "leaf")
]


def agree(got, want):
    """Whether nested lists hold the same, floats to rounding."""
    if isinstance(want, list):
        return (
            isinstance(got, list)
            and len(got) == len(want)
            and all(agree(g, w) for g, w in zip(got, want, strict=True))
        )
    if isinstance(want, float):
        return isinstance(got, float) and got == pytest.approx(want, rel=1e-12)
    return type(got) is type(want) and got == want


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_like_pytorch(torch, program):
    want = plain(program(torch))
    got = plain(program(jitgrad))
    assert agree(got, want), f"{got} is not {want}"


# ---------------------------------------------------------------- errors
def returns_another_shape(torch):
    x = leaf(torch, 1.0, 2.0)
    x.register_hook(lambda g: g.sum())
    x.sum().backward()


def returns_no_tensor(torch):
    x = leaf(torch, 1.0, 2.0)
    x.register_hook(lambda g: 3)
    x.sum().backward()


def hook_without_grad(torch):
    torch.ones(2).register_hook(print)


def accumulate_hook_on_a_result(torch):
    (leaf(torch, 1.0) * 2).register_post_accumulate_grad_hook(print)


def unused(torch):
    torch.autograd.grad(leaf(torch, 1.0).sum(), leaf(torch, 1.0))


def not_required(torch):
    torch.autograd.grad(leaf(torch, 1.0).sum(), torch.ones(1))


def no_inputs(torch):
    leaf(torch, 1.0).sum().backward(inputs=[])


def too_few_gradients(torch):
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a * b

        @staticmethod
        def backward(ctx, g):
            return g

    Bad.apply(leaf(torch, 1.0), leaf(torch, 2.0)).sum().backward()


def gradient_of_another_shape(torch):
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a * 2

        @staticmethod
        def backward(ctx, g):
            return torch.ones(5, dtype=torch.float64)

    Bad.apply(leaf(torch, 1.0, 2.0)).sum().backward()


def saved_and_changed(torch):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        def backward(ctx, g):
            (a,) = ctx.saved_tensors
            return 2 * a * g

    a = leaf(torch, 1.0) * 1
    y = Square.apply(a)
    with torch.no_grad():
        a.add_(1)
    y.sum().backward()


def a_second_time(torch):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        def backward(ctx, g):
            (a,) = ctx.saved_tensors
            return 2 * a * g

    y = Square.apply(leaf(torch, 1.0)).sum()
    y.backward()
    y.backward()


def dirty_leaf(torch):
    class DoubleInPlace(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            a.mul_(2)
            ctx.mark_dirty(a)
            return a

    DoubleInPlace.apply(leaf(torch, 1.0))


def an_instance(torch):
    class F(torch.autograd.Function):
        pass

    F()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (returns_another_shape, ".* has changed the size of value"),
        (returns_no_tensor, "expected Variable, but hook returned 'int'"),
        (hook_without_grad, "cannot register a hook on a tensor that doesn't require grad"),
        (
            accumulate_hook_on_a_result,
            "post accumulate grad hooks cannot be registered on non-leaf",
        ),
        (unused, "The differentiated Tensor at index 0 appears to not have been used in the graph"),
        (not_required, "One of the differentiated Tensors does not require grad"),
        (no_inputs, "argument to .backward... cannot be empty"),
        (too_few_gradients, "returned an incorrect number of gradients .expected 2, got 1"),
        (
            gradient_of_another_shape,
            "returned an invalid gradient at index 0 - got .5. but expected",
        ),
        (saved_and_changed, "has been modified by an inplace operation"),
        (a_second_time, "Trying to backward through the graph a second time"),
        (dirty_leaf, "a leaf Variable that requires grad has been used in an in-place operation"),
        (an_instance, "should not be instantiated"),
    ],
    ids=lambda p: getattr(p, "__name__", None),
)
def test_errors_like_pytorch(torch, program, words):
    with pytest.raises(Exception, match=words) as theirs:
        program(torch)
    with pytest.raises(type(theirs.value), match=words):
        program(jitgrad)


# ---------------------------------------------------------------- nothing leaks, nothing breaks
class Scale(jitgrad.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, g):
        return g * ctx.factor, None


def fail(error):
    def hook(g):
        raise error("stop")

    return hook


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_a_hook_gives_everything_back(error):
    x = jitgrad.ones(3, requires_grad=True)

    def once(hooked):
        y = Scale.apply(x.exp(), 2.0)
        z = y * y + y
        if hooked:
            y.register_hook(fail(error))
            with pytest.raises(error, match="stop"):
                z.sum().backward()
        else:
            z.sum().backward()

    once(False)
    once(True)
    gc.collect()
    before = jitgrad.memory_stats()
    for _ in range(50):
        once(True)
        once(False)
    gc.collect()
    after = jitgrad.memory_stats()
    for key in ("live_rows", "live_storages", "live_bytes"):
        assert after[key] == before[key]
    x.grad = None
    once(False)
    e = np.exp(np.ones(3))
    np.testing.assert_allclose(x.grad.numpy(), 8 * e * e + 2 * e, rtol=1e-6)


@pytest.fixture
def interruptible():
    """Python's own handler: a process that a shell started in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph")
def test_an_interrupt_ends_a_long_pass(interruptible):
    """Ctrl-C comes at any time, from outside: here while 50 functions run backward, plainly or recorded."""
    started = threading.Event()

    class Slow(jitgrad.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 1

        @staticmethod
        def backward(ctx, g):
            started.set()
            time.sleep(0.002)
            return g * 1 + 0 * ctx.saved_tensors[0]

    def interrupt():
        started.wait()
        time.sleep(0.02)
        _thread.interrupt_main()

    def interrupted(x, create_graph):
        started.clear()
        y = x
        for _ in range(50):
            y = Slow.apply(y)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            y.sum().backward(create_graph=create_graph)
        thread.join()

    x = jitgrad.ones(3, requires_grad=True)
    interrupted(x, False)
    gc.collect()
    before = jitgrad.memory_stats()
    for create_graph in (False, True, False):
        interrupted(x, create_graph)
        assert x.grad is None
        assert jitgrad.is_grad_enabled()
        y = Slow.apply(x * 2).sum()
        assert jitgrad.autograd.grad(y, x)[0].tolist() == [2.0] * 3
        del y
    gc.collect()
    after = jitgrad.memory_stats()
    for key in ("live_rows", "live_storages", "live_bytes"):
        assert after[key] == before[key]


def test_a_long_chain_of_functions_is_freed_without_recursion():
    gc.collect()
    before = jitgrad.memory_stats()["live_rows"]
    x = jitgrad.ones(1, requires_grad=True)
    y = x
    for _ in range(30_000):
        y = Scale.apply(y, 1.0)
    y.backward()
    assert x.grad.item() == 1.0
    for _ in range(30_000):
        y = Scale.apply(y, 1.0)
    del x, y
    gc.collect()
    assert jitgrad.memory_stats()["live_rows"] == before


def test_a_node_keeps_its_row_but_not_its_value():
    x = jitgrad.ones(1000, requires_grad=True)
    y = x + 1
    node = y.grad_fn
    live = jitgrad.memory_stats()["live_bytes"]
    del y
    assert jitgrad.memory_stats()["live_bytes"] < live
    assert node.name() == "AddBackward0"
    assert node.next_functions[0][0].variable is x
    assert (x + 1).grad_fn is not node


def test_one_node_object_a_row():
    y = jitgrad.ones(2, requires_grad=True) * 2
    assert y.grad_fn is y.grad_fn
    node = y.grad_fn
    node.metadata["note"] = 3
    del node
    assert y.grad_fn.metadata == {"note": 3}


def test_threads_with_hooks_do_not_disturb_each_other():
    failures = []

    def work(seed):
        for i in range(30):
            x = jitgrad.full((3,), float(seed + 1), requires_grad=True)
            y = Scale.apply(x * x, 3.0)
            y.register_hook(lambda g: g * 2)
            y.sum().backward()
            if x.grad.tolist() != [12.0 * (seed + 1)] * 3:
                failures.append((seed, i))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
