"""Walk through an article on autograd from top to bottom: each claim, what came of it, and its graphs.

    pip install "jitgrad[viz]"
    python examples/article.py                    # writes its graphs to article/
    python examples/article.py --backend torch    # the same claims, of PyTorch; draws nothing
    python examples/article.py --help

The graphs are SVG files, and pages to step through the backward pass. The exit code is 1 if a claim
does not hold.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

Backend = Literal["jitgrad", "torch"]


@dataclass(frozen=True)
class Result:
    """What was looked at, what was seen, and whether that is what the article says."""

    looked_at: str
    seen: str
    holds: bool


@dataclass(frozen=True)
class Drawing:
    """A graph to be drawn: file name, root, and the names of its tensors."""

    name: str
    root: Any
    names: dict[str, Any]


Part = Callable[[Any], Iterator[Result | Drawing]]
PARTS: list[tuple[str, Part]] = []


def claim(text: str) -> Callable[[Part], Part]:
    """Add a part of the article: what it says, and the function that tries it with a library."""

    def add(part: Part) -> Part:
        PARTS.append((text, part))
        return part

    return add


def numbers(tensor: Any) -> str:
    """The elements of a tensor, rounded."""
    return str(tensor.detach().double().numpy().round(4).tolist())


def refused(looked_at: str, action: Callable[[], Any], kind: type[Exception], words: str) -> Result:
    """Try an action that has to be refused with that exception and these words in its message."""
    try:
        action()
    except kind as error:
        message = str(error).partition("\n")[0]
        return Result(looked_at, f"{kind.__name__}: {message}", words in message)
    return Result(looked_at, "no error", False)


@claim("Only floating-point numbers can propagate gradients")
def floating_point(torch: Any) -> Iterator[Result | Drawing]:
    yield refused(
        "tensor([1, 2], requires_grad=True)",
        lambda: torch.tensor([1, 2], requires_grad=True),
        RuntimeError,
        "floating point",
    )
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    holds = x.grad.tolist() == [2.0, 4.0]
    yield Result(
        "x = tensor([1., 2.], requires_grad=True), gradient of sum(x * x)", numbers(x.grad), holds
    )


@claim("Operations are recorded as they run, in an acyclic graph from leaves to roots")
def recorded(torch: Any) -> Iterator[Result | Drawing]:
    a = torch.tensor([2.0, 3.0], requires_grad=True)
    b = torch.tensor([6.0, 4.0], requires_grad=True)
    q = 3 * a**3 - b**2
    yield Result("grad_fn of q = 3 a^3 - b^2", q.grad_fn.name(), q.grad_fn.name() == "SubBackward0")
    yield Result(
        "is_leaf of a, b, q", f"{a.is_leaf}, {b.is_leaf}, {q.is_leaf}", a.is_leaf and not q.is_leaf
    )
    total = q.sum()
    yield Drawing("recorded", total, {"a": a, "b": b, "q": q})
    total.backward()
    holds = bool((a.grad == 9 * a * a).all()) and bool((b.grad == -2 * b).all())
    yield Result(
        "gradients by the chain rule: 9 a^2 and -2 b",
        f"{numbers(a.grad)}, {numbers(b.grad)}",
        holds,
    )


@claim("A tensor cannot be differentiated by a tensor: a root that is a vector needs weights")
def vector_root(torch: Any) -> Iterator[Result | Drawing]:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * x
    yield refused("(x * x).backward()", y.backward, RuntimeError, "only for scalar outputs")
    w = torch.tensor([1.0, 0.1, 0.01])
    y.backward(gradient=w)
    weighted = x.grad.clone()
    x.grad = None
    (w * (x * x)).sum().backward()
    yield Result("(x * x).backward(w)", numbers(weighted), numbers(weighted) == "[2.0, 0.4, 0.06]")
    yield Result(
        "(w * (x * x)).sum().backward()", numbers(x.grad), bool(torch.allclose(x.grad, weighted))
    )


@claim("Only leaves that require a gradient keep .grad; others keep it when asked to")
def stored(torch: Any) -> Iterator[Result | Drawing]:
    x, y, z = (
        torch.tensor(v, requires_grad=r) for v, r in ((1.0, True), (2.0, True), (3.0, False))
    )
    a = x * y
    kept = a + z
    kept.retain_grad()
    root = kept * kept
    yield Drawing("stored", root, {"x": x, "y": y, "z": z, "a": a, "kept": kept})
    root.backward()
    holds = (x.grad.item(), y.grad.item()) == (20.0, 10.0)
    yield Result("leaves x and y", f"{x.grad.item()}, {y.grad.item()}", holds)
    yield Result("leaf z, which does not require one", str(z.grad), z.grad is None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = a.grad
    words = "that is not a leaf Tensor is being accessed"
    warned = any(words in str(w.message) for w in caught)
    yield Result(
        "a, which is no leaf",
        f"{found}, {'a' if warned else 'no'} warning",
        found is None and warned,
    )
    yield Result("after retain_grad()", str(kept.grad.item()), kept.grad.item() == 10.0)


@claim("A gradient on its way can be looked at and changed")
def hooks(torch: Any) -> Iterator[Result | Drawing]:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(g))
    handle = y.register_hook(lambda g: 10 * g)
    root = y.sum()
    root.backward(retain_graph=True)
    yield Result("a hook on y = x * x sees", numbers(seen[0]), seen[0].tolist() == [1.0, 1.0])
    yield Result(
        "another makes it ten times as large", numbers(x.grad), x.grad.tolist() == [20.0, 40.0]
    )
    yield Drawing("hooks", root, {"x": x, "y": y})
    handle.remove()
    x.grad = None
    root.backward()
    yield Result("and once that is removed", numbers(x.grad), x.grad.tolist() == [2.0, 4.0])


@claim("requires_grad is a flag per tensor; a result has it if any operand has it")
def flag(torch: Any) -> Iterator[Result | Drawing]:
    x, y = torch.randn(5, 5), torch.randn(5, 5)
    z = torch.randn((5, 5), requires_grad=True)
    a = x + y
    b = a + z
    yield Result("a = x + y", str(a.requires_grad), a.requires_grad is False)
    yield Result("b = a + z", str(b.requires_grad), b.requires_grad is True)
    yield Result("grad_fn of a: nothing was recorded", str(a.grad_fn), a.grad_fn is None)
    yield Drawing("flag", b.sum(), {"a": a, "b": b, "z": z})


@claim("exp, a linear layer and ReLU know their derivatives")
def functions(torch: Any) -> Iterator[Result | Drawing]:
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    y = x.exp()
    y.sum().backward()
    yield Result(
        "exp: its gradient is its result", numbers(x.grad), bool(torch.equal(x.grad, y.detach()))
    )
    x.grad = None
    torch.relu(x).sum().backward()
    yield Result(
        "relu: 0 up to and at 0, then 1", numbers(x.grad), x.grad.tolist() == [0.0, 0.0, 1.0]
    )
    data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    w, b = torch.ones(3, 2, requires_grad=True), torch.zeros(3, requires_grad=True)
    out = torch.nn.functional.linear(data, w, b).sum()
    yield Drawing("linear", out, {"data": data, "w": w, "b": b})
    out.backward()
    holds = w.grad.tolist() == [[4.0, 6.0]] * 3 and b.grad.tolist() == [2.0] * 3
    yield Result(
        "linear: gradients of weight and bias", f"{numbers(w.grad)}, {numbers(b.grad)}", holds
    )


@claim("Functions of one's own have a forward and a backward")
def own_functions(torch: Any) -> Iterator[Result | Drawing]:
    class Exp(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (y,) = ctx.saved_tensors
            return g * y

    class Linear(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any, b: Any) -> Any:
            ctx.save_for_backward(x, w)
            return x @ w.t() + b

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, w = ctx.saved_tensors
            return g @ w if ctx.needs_input_grad[0] else None, g.t() @ x, g.sum(0)

    class ReLU(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * (x > 0)

    def values() -> list[Any]:
        flat = [[0.5, -1.0], [2.0, 0.25]], [[1.0, -2.0], [0.5, 3.0], [-1.0, 1.0]], [0.1, -0.2, 0.3]
        return [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in flat]

    mine, theirs = values(), values()
    root = Exp.apply(ReLU.apply(Linear.apply(*mine))).sum()
    yield Drawing("own-functions", root, dict(zip("xwb", mine, strict=True)))
    root.backward()
    torch.relu(torch.nn.functional.linear(*theirs)).exp().sum().backward()
    for name, a, b in zip("xwb", mine, theirs, strict=True):
        holds = bool(torch.allclose(a.grad, b.grad))
        yield Result(f"exp(relu(linear(x, w, b))): gradient of {name}", numbers(a.grad), holds)


@claim("The graph is made anew in each iteration, so any control flow can be used")
def control_flow(torch: Any) -> Iterator[Result | Drawing]:
    for start, doublings in ((0.3, 2), (0.1, 4)):
        x = torch.tensor(start, requires_grad=True)
        y = x
        while y < 1:
            y = y * 2
        yield Drawing(f"while-{doublings}", y, {"x": x})
        y.backward()
        holds = x.grad.item() == 2.0**doublings
        yield Result(f"x = {start}, doubled until it is 1", f"gradient {x.grad.item()}", holds)


@claim("In-place operations are best avoided under autograd")
def in_place(torch: Any) -> Iterator[Result | Drawing]:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    yield refused(
        "x.add_(1) on a leaf", lambda: x.add_(1), RuntimeError, "a leaf Variable that requires grad"
    )
    y = x.exp()
    root = y.sum()
    with torch.no_grad():
        y.add_(1)
    yield Drawing("in-place", root, {"x": x, "y": y})
    yield refused(
        "exp's result changed before backward()", root.backward, RuntimeError, "inplace operation"
    )


def draw(drawing: Drawing, folder: Path, place: int) -> list[Path]:
    """Write a graph as a drawing and as a page."""
    import jitgrad

    graph = jitgrad.graph(drawing.root, params=drawing.names)
    folder.mkdir(parents=True, exist_ok=True)
    return [graph.save(folder / f"{place}-{drawing.name}{suffix}") for suffix in (".svg", ".html")]


def main(
    backend: Annotated[Backend, typer.Option(help="Library that is tried.")] = "jitgrad",
    out: Annotated[Path, typer.Option(help="Folder for the graphs.")] = Path("article"),
) -> None:
    """Try every claim of the article and draw its graphs."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    torch = importlib.import_module(backend)
    wrong = total = 0
    for place, (text, part) in enumerate(PARTS, 1):
        console.print(f"\n{place}. {text}", style="bold")
        for found in part(torch):
            if isinstance(found, Result):
                total += 1
                wrong += not found.holds
                mark, style = ("yes", "green") if found.holds else ("NO ", "red")
                console.print(f"   {mark}  ", style=style, end="")
                console.print(f"{found.looked_at}: {found.seen}")
            elif backend == "jitgrad":
                try:
                    files = draw(found, out, place)
                except ImportError as error:
                    Console(stderr=True, markup=False, soft_wrap=True).print(error)
                    raise typer.Exit(1) from None
                console.print(f"   drawn {' '.join(map(str, files))}", style="dim")
    console.print(f"\n{total - wrong} of {total} hold with {backend}", style="bold")
    if wrong:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
