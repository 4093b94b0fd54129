"""Snapshots of the graph, the backward pass in steps, and the files that they are written to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.arena import debug
from jitgrad.arena.engine import entry

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> Any:
    """Read the numbers that are shown."""
    return np.array(json.loads(re.sub(r"(?<=\d)\.(?=\D|$)", ".0", text)))


def leaf(*values: float) -> jitgrad.Tensor:
    """Give a leaf of float64."""
    return jitgrad.tensor(values, dtype=jitgrad.float64, requires_grad=True)


@pytest.fixture
def layout(required: Any) -> ModuleType:
    """Give the layout library, which drawings need."""
    return required("pygraphviz")


# ---------------------------------------------------------------- what is found
def test_nodes_edges_and_saved_values() -> None:
    x, c = leaf(1, 2), jitgrad.tensor([3.0, 4.0], dtype=jitgrad.float64)
    y = (x * c).exp()
    found = jitgrad.graph(y, params={"x": x})
    assert [(n.op, n.kind, n.name) for n in found.nodes] == [
        ("leaf", "leaf", "x"),
        ("leaf", "constant", ""),
        ("mul", "op", ""),
        ("exp", "op", ""),
    ]
    row = {"x": entry.row(x), "c": entry.row(c), "y": entry.row(y)}
    mul = found.nodes[2]
    assert [(e.source, e.target, e.index, e.grad) for e in found.edges] == [
        (row["x"], mul.row, 0, True),
        (row["c"], mul.row, 1, False),
        (mul.row, row["y"], 0, True),
    ]
    assert [n.root for n in found.nodes] == [False, False, False, True]
    assert found.nodes[3].grad_fn == y.grad_fn.name() == "ExpBackward0"
    assert found.nodes[3].shape == (2,)
    assert found.nodes[3].dtype == "float64"
    # The product's value is gone, c is kept for the product's gradient, exp keeps its result.
    assert mul.value is None
    assert [(k.what, k.row, k.version, k.now) for k in mul.saved] == [("input 1", row["c"], 0, 0)]
    assert [(k.what, k.row) for k in found.nodes[3].saved] == [("result", row["y"])]
    assert found.nodes[3].value is not None
    np.testing.assert_allclose(parsed(found.nodes[3].value.text), np.exp([3.0, 8.0]), rtol=1e-5)


def test_a_number_is_shown_where_a_gradient_reads_it() -> None:
    x = leaf(1)
    (saved,) = jitgrad.graph((x * 2.5) + 7, steps=False).nodes[1].saved
    assert saved.number == 2.5
    assert jitgrad.graph(x + 7, steps=False).nodes[1].saved == ()


def test_a_graph_without_tensors_is_shown() -> None:
    y = (leaf(1, 2) * leaf(3, 4)).exp().sum()
    found = jitgrad.graph(y)
    assert [n.op for n in found.nodes] == ["leaf", "leaf", "mul", "exp", "sum"]
    assert len(found.steps) == 5


def test_several_roots_share_what_they_have_in_common() -> None:
    x = leaf(1, 2)
    h = x.exp()
    found = jitgrad.graph(h.sum(), h.prod(), params={"x": x, "h": h})
    assert [n.name for n in found.nodes].count("h") == 1
    assert sum(n.root for n in found.nodes) == 2


def test_many_inputs() -> None:
    parts = [leaf(i) for i in range(7)]
    found = jitgrad.graph(jitgrad.cat(parts))
    assert [e.index for e in found.edges] == list(range(7))
    assert {s.node for s in found.steps[0].sent} == {entry.row(p) for p in parts}


def test_a_saved_value_that_was_changed_is_named_and_ends_the_pass() -> None:
    x = leaf(1, 2)
    y = x.exp()
    z = y.sum()
    with jitgrad.no_grad():
        y.add_(1)
    found = jitgrad.graph(z)
    (saved,) = found.nodes[1].saved
    assert (saved.version, saved.now, saved.stale) == (0, 1, True)
    assert "v0, now v1" in repr(found)
    assert [s.node for s in found.steps] == [entry.row(z), entry.row(y)]
    assert "modified by an inplace operation" in found.stopped


def test_a_freed_graph_is_shown_without_steps() -> None:
    x = leaf(1, 2)
    y = x.exp().sum()
    y.backward()
    found = jitgrad.graph(y)
    assert "freed" in found.nodes[1].marks
    assert found.steps == ()
    assert "second time" in found.stopped


def test_nothing_to_differentiate() -> None:
    found = jitgrad.graph(jitgrad.ones(2))
    assert [n.kind for n in found.nodes] == ["constant"]
    assert found.stopped == "no root requires a gradient"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_json_does_not_have(layout: ModuleType, value: float) -> None:
    page = jitgrad.graph(leaf(value, 1) * 2).to_html()
    content = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert content is not None

    def never(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    json.loads(content[1], parse_constant=never)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (3, 100), (1, 1, 1, 1, 1, 1, 1, 1)])
def test_shapes(shape: tuple[int, ...]) -> None:
    x = jitgrad.ones(*shape, requires_grad=True) if shape else leaf(1)[0]
    found = jitgrad.graph(x * 3)
    assert found.nodes[-1].shape == shape
    gradient = found.steps[1].gradient
    assert gradient is not None
    assert gradient.shape == shape
    np.testing.assert_allclose(gradient.norm, 3 * np.sqrt(np.prod(shape)))


# ---------------------------------------------------------------- the steps
def test_steps_are_the_gradients_of_pytorch(torch: ModuleType) -> None:
    """Every gradient that arrives anywhere is the one that PyTorch's tensor hooks see there."""
    data = np.random.default_rng(0).normal(size=(3, 4))
    seen: dict[str, Any] = {}

    def build(lib: Any, note: Any) -> Any:
        x = lib.tensor(data, requires_grad=True)
        w = lib.tensor(data[:2] + 1, requires_grad=True)
        h = note("h", lib.tanh(note("p", x @ w.T)))
        s = note("s", h * h + h[:, :1])
        return {"x": x, "w": w}, s.sum() + note("m", h.mean())

    def hook(name: str, tensor: Any) -> Any:
        tensor.register_hook(lambda g: seen.__setitem__(name, g.numpy()))
        return tensor

    leaves, y = build(torch, hook)
    y.backward()
    seen |= {name: tensor.grad.numpy() for name, tensor in leaves.items()}

    named: dict[str, Any] = {}

    def keep(name: str, tensor: Any) -> Any:
        named[name] = tensor
        return tensor

    leaves, y = build(jitgrad, keep)
    found = jitgrad.graph(y, params={**leaves, **named})
    names = {n.row: n.name for n in found.nodes}
    shown = {names[s.node]: s.gradient for s in found.steps if names[s.node]}
    assert shown.keys() == seen.keys()
    for name, value in shown.items():
        assert value is not None
        np.testing.assert_allclose(parsed(value.text), seen[name], rtol=2e-5, atol=1e-9)


def test_steps_follow_the_engines_order_and_count_what_arrives() -> None:
    x = leaf(2)
    a = x * 3
    b = a * a
    y = b + a
    found = jitgrad.graph(y, params={"x": x, "a": a, "b": b})
    name = {n.row: n.name for n in found.nodes}
    assert [name[s.node] for s in found.steps] == ["", "b", "a", "x"]
    story = [
        [(name[k.node], k.so_far and k.so_far.text, k.received, k.expected) for k in s.sent]
        for s in found.steps
    ]
    assert story == [
        [("b", "[1]", 1, 1), ("a", "[1]", 1, 3)],
        [("a", "[13]", 3, 3)],
        [("x", "[39]", 1, 1)],
        [],
    ]


def test_custom_functions_and_hooks_take_part() -> None:
    class Both(jitgrad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, z: Any) -> Any:
            ctx.save_for_backward(x, None, z)
            return x * z, x + z

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            x, _, z = ctx.saved_tensors
            return g * z + h, g * x + h

    x, z = leaf(2), leaf(5)
    p, s = Both.apply(x, z)
    s.register_hook(lambda g: 10 * g)
    with jitgrad.no_grad():
        z += 1
    found = jitgrad.graph(p * 3 + s, params={"x": x, "z": z, "p": p, "s": s})
    function = next(n for n in found.nodes if n.op == "Both")
    assert function.grad_fn == "BothBackward"
    assert [(k.what, k.row, k.version, k.now) for k in function.saved] == [
        ("tensor 0", entry.row(x), 0, 0),
        ("tensor 2", entry.row(z), 0, 1),
    ]
    assert [n.name for n in found.nodes if "hooks" in n.marks] == ["s"]
    assert "modified by an inplace operation" in found.stopped

    p, s = Both.apply(x, z)
    s.register_hook(lambda g: 10 * g)
    x.register_post_accumulate_grad_hook(lambda leaf: pytest.fail("nothing is accumulated"))
    found = jitgrad.graph(p * 3 + s, params={"x": x, "z": z, "p": p, "s": s})
    names = {n.row: n.name or n.op for n in found.nodes}
    arrived = {names[t.node]: t.gradient and t.gradient.text for t in found.steps}
    assert arrived == {
        "add": "[1]",
        "mul": "[1]",
        "s": "[1]",
        "p": "[3]",
        "Both": None,
        "x": "[28]",
        "z": "[16]",
    }
    assert x.grad is None


def test_the_weight_of_a_root() -> None:
    x = leaf(1, 2)
    weight = jitgrad.tensor([1.0, 10.0], dtype=jitgrad.float64)
    last = jitgrad.graph(x * 3, gradient=weight).steps[-1].gradient
    assert last is not None
    assert last.text == "[3, 30]"


def test_drawing_changes_nothing() -> None:
    x = leaf(1, 2)
    x.grad = before = jitgrad.full((2,), 5.0, dtype=jitgrad.float64)
    h = x.exp()
    h.retain_grad()
    y = (h * x).sum()
    rows, seen = jitgrad.memory_stats()["live_rows"], (x._version, h._version, y._version)
    found = jitgrad.graph(y, gradient=None)
    assert found.steps
    assert jitgrad.memory_stats()["live_rows"] == rows
    debug.check()
    assert x.grad is before
    assert before.tolist() == [5.0, 5.0]
    assert h.grad is None
    assert (x._version, h._version, y._version) == seen
    assert found.nodes[0].grad is not None
    y.backward()
    expected = 5 + np.exp([1.0, 2.0]) * np.array([2.0, 3.0])
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(h.grad.numpy(), [1.0, 2.0])


def test_an_interrupted_pass_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    from jitgrad.viz import trace

    x = leaf(1, 2)
    y = x.exp().sum()
    before = jitgrad.memory_stats()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trace, "_received", interrupt)
        with pytest.raises(KeyboardInterrupt):
            jitgrad.graph(y)
    debug.check()
    after = jitgrad.memory_stats()
    assert (after["live_rows"], after["live_bytes"]) == (before["live_rows"], before["live_bytes"])
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]))


def test_a_snapshot_holds_no_memory() -> None:
    before = jitgrad.memory_stats()
    found = jitgrad.graph((leaf(*range(1000)) * 2).sum())
    after = jitgrad.memory_stats()
    assert found.nodes
    assert (after["live_rows"], after["live_bytes"]) == (before["live_rows"], before["live_bytes"])


# ---------------------------------------------------------------- wrong arguments
def test_large_graphs_are_refused_with_the_option_named() -> None:
    y = leaf(1)
    for _ in range(2_000):
        y = y + 1
    with pytest.raises(ValueError, match=r"more than 500 nodes.*limit=n"):
        jitgrad.graph(y)
    assert len(jitgrad.graph(y, limit=2_001, steps=False).nodes) == 2_001


def test_wrong_arguments() -> None:
    x = leaf(1, 2)
    with pytest.raises(ValueError, match="at least one"):
        jitgrad.graph()
    with pytest.raises(TypeError, match="expects Tensors, got float"):
        jitgrad.graph(1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(1,\), its root \(2,\)"):
        jitgrad.graph(x * 2, gradient=leaf(1))
    with pytest.raises(ValueError, match="1 roots and 2 gradients"):
        jitgrad.graph(x * 2, gradient=[None, None])
    with pytest.raises(ValueError, match=r"not as '.pdf'"):
        jitgrad.graph(x).save("x.pdf")


# ---------------------------------------------------------------- what is written
def test_the_text_is_a_tree() -> None:
    x = leaf(1, 2)
    y = (x * x).sum()
    rows = [n.row for n in jitgrad.graph(y).nodes]
    assert repr(jitgrad.graph(y, params={"x": x})).splitlines() == [
        "graph of 3 nodes, 1 of them leaves",
        f"sum  () float64  row {rows[2]}",
        f"mul  (2,) float64  row {rows[1]}  saves input 0 (row {rows[0]}) v0"
        f"  saves input 1 (row {rows[0]}) v0",
        f"├─ x  (2,) float64  row {rows[0]}",
        f"└─ row {rows[0]}, see above",
    ]


def test_the_drawing_shows_every_node_and_edge(layout: ModuleType, tmp_path: Path) -> None:
    x = leaf(1, 2)
    found = jitgrad.graph((x * 2.0).exp().sum() + x.sum(), params={"x": x})
    tree = ET.parse(found.save(tmp_path / "y.svg")).getroot()
    groups = tree.findall(f".//{SVG}g[@data-row]")
    assert {int(g.attrib["data-row"]) for g in groups} == {n.row for n in found.nodes}
    assert len(tree.findall(f".//{SVG}g[@data-edge]")) == len(found.edges)
    fills = {}
    boxes = []
    for g, node in zip(groups, found.nodes, strict=True):
        rect = g.find(f"{SVG}rect")
        assert rect is not None
        fills.setdefault(node.kind, set()).add(rect.attrib["fill"])
        text = " ".join(t.text or "" for t in g.findall(f"{SVG}text"))
        assert f"row {node.row}" in text
        assert node.dtype in text
        assert (node.name or node.op) in text
        boxes.append([float(rect.attrib[k]) for k in ("x", "y", "width", "height")])
    # One colour a kind, another for each.
    assert all(len(f) == 1 for f in fills.values())
    assert len(set.union(*fills.values())) == len(fills) == 2
    # No node lies on another one.
    for i, (x0, y0, w0, h0) in enumerate(boxes):
        for x1, y1, w1, h1 in boxes[:i]:
            assert x0 + w0 <= x1 or x1 + w1 <= x0 or y0 + h0 <= y1 or y1 + h1 <= y0


def test_files(layout: ModuleType, required: Any, tmp_path: Path) -> None:
    required("matplotlib")
    from matplotlib.image import imread

    x = leaf(1, 2)
    found = jitgrad.graph((x * x).sum(), params={'"x" \\ <b>$a$</b>': x})
    assert imread(found.save(tmp_path / "y.png")).shape[0] > 200
    dot = layout.AGraph(string=found.save(tmp_path / "y.dot").read_text(encoding="utf-8"))
    assert (dot.number_of_nodes(), dot.number_of_edges()) == (3, 3)
    assert '"x" \\\\ <b>$a$</b>' in dot.get_node(str(entry.row(x))).attr["label"]
    page = found.save(tmp_path / "y.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    # Nothing is fetched from anywhere.
    links = set(re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", page))
    assert links == {"http://www.w3.org"}
    assert not re.search(r"(?: src=| href=|@import|url\()", page)


def test_notebooks_show_the_drawing_and_without_the_library_the_text(
    layout: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = (leaf(1, 2) * 2).sum()
    shown = jitgrad.graph(y)._repr_mimebundle_(include=None, exclude=None)
    assert ET.fromstring(shown["image/svg+xml"]).tag == f"{SVG}svg"
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    found = jitgrad.graph(y)
    shown = found._repr_mimebundle_()
    assert shown.keys() == {"text/plain"}
    assert shown["text/plain"].startswith(repr(found))
    with pytest.raises(ImportError, match=r'pip install "jitgrad\[viz\]"'):
        found.to_svg()
    assert found.to_dot()


def test_show_opens_the_page(layout: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import webbrowser
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    jitgrad.graph(leaf(1) * 2).show()
    (address,) = opened
    page = Path(url2pathname(urlsplit(address).path))
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    page.unlink()


def test_the_example_in_the_documentation_runs(layout: ModuleType, tmp_path: Path) -> None:
    page = Path(__file__).parents[1] / "docs" / "graph.md"
    found = re.search(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    command = [sys.executable, "-W", "error", "-c", found[1]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("graph of 5 nodes, 2 of them leaves\nsum")
    assert {p.name for p in tmp_path.iterdir()} == {"y.svg", "y.png", "y.dot", "y.html"}


def test_importing_jitgrad_imports_nothing_to_draw_with() -> None:
    program = (
        "import sys, jitgrad; jitgrad.graph(jitgrad.ones(1, requires_grad=True) * 2).to_dot();"
        "print({'pygraphviz', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "set()\n", done.stderr
