"""The page that steps through the backward pass, in a real browser: what it shows are the gradients."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.browsing import chromium


@pytest.fixture(scope="module")
def browser(required: Any) -> Iterator[Any]:
    """Give a headless Chromium; a machine without one skips, but fails in CI."""
    required("pygraphviz")
    playwright = required("playwright.sync_api")
    with chromium(playwright) as found:
        yield found


class Page:
    """An opened page, as a person sees it."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab

    def text(self, where: str) -> str:
        return self.tab.inner_text(where)

    def numbers(self, where: str) -> Any:
        return np.array(json.loads(re.sub(r"(?<=\d)\.(?=\D|$)", ".0", self.text(where))))

    def rows(self, where: str) -> list[int]:
        """Give the rows of the nodes that match."""
        found = self.tab.query_selector_all(where)
        return [int(node.get_attribute("data-row")) for node in found]

    def view(self) -> list[float]:
        return [float(x) for x in self.tab.get_attribute("#canvas > svg", "viewBox").split()]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Give a function that opens a graph's page; errors on the page fail the test at its end."""
    errors: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")

    def open_(found: Any) -> Page:
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("request", lambda r: r.url.startswith("file:") or errors.append(r.url))
        tab.goto(found.save(tmp_path / "y.html").as_uri())
        return Page(tab)

    yield open_
    context.close()
    assert errors == []


def perceptron() -> tuple[dict[str, Any], Any]:
    """Give leaves and the loss of a small network: broadcasting, views, a value that is used twice."""
    rng = np.random.default_rng(3)
    shapes = {"x": (3, 2), "w1": (2, 4), "b1": (4,), "w2": (4, 1)}
    leaves = {
        k: jitgrad.tensor(rng.normal(size=s), requires_grad=k != "x") for k, s in shapes.items()
    }
    h = jitgrad.tanh(leaves["x"] @ leaves["w1"] + leaves["b1"])
    h.retain_grad()
    out = h @ leaves["w2"]
    return {**leaves, "h": h}, (out * out).mean() + h[0].sum()


def test_the_steps_show_the_gradients(opened: Any) -> None:
    named, loss = perceptron()
    found = jitgrad.graph(loss, params=named)
    loss.backward()
    page = opened(found)
    assert page.text("#counter") == f"step 0 of {len(found.steps)}"
    seen: dict[int, Any] = {}
    sums: dict[int, Any] = {found.steps[0].node: np.array(1.0)}
    for i, step in enumerate(found.steps, 1):
        page.tab.click("#forward")
        assert page.text("#counter") == f"step {i} of {len(found.steps)}"
        assert page.rows(".node.current") == [step.node]
        assert set(page.rows(".node.done")) == {s.node for s in found.steps[: i - 1]}
        gradient = page.numbers("#gradient")
        # What arrives is the sum of what was said to be sent here.
        np.testing.assert_array_equal(gradient, sums[step.node])
        seen[step.node] = gradient
        receivers = {
            int(e.get_attribute("data-sent")) for e in page.tab.query_selector_all(".sent")
        }
        assert receivers == {e.source for e in found.edges if e.target == step.node and e.grad}
        for row in receivers:
            sums[row] = page.numbers(f'[data-sent="{row}"] pre')
            assert page.tab.query_selector(f'[data-badge="{row}"]') is not None
        active = page.tab.query_selector_all(".edge.active")
        wires = {int(edge.get_attribute("data-edge")) for edge in active}
        assert wires == {i for i, e in enumerate(found.edges) if e.target == step.node and e.grad}
    assert page.tab.is_disabled("#forward")
    rows = {node.name: node.row for node in found.nodes if node.name}
    for name, tensor in named.items():
        if name == "x":
            assert rows[name] not in seen
        else:
            np.testing.assert_allclose(seen[rows[name]], tensor.grad.numpy(), rtol=1e-5, atol=1e-9)


def test_keys_buttons_and_the_list_of_steps_move_through_the_pass(opened: Any) -> None:
    named, loss = perceptron()
    found = jitgrad.graph(loss, params=named)
    page = opened(found)
    press = page.tab.keyboard.press

    def at() -> int:
        return int(page.tab.get_attribute("body", "data-step"))

    for key, step in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", len(found.steps)),
        ("Home", 0),
        ("ArrowLeft", 0),
    ):
        press(key)
        assert at() == step, key
    page.tab.click("#steps li:nth-child(4) button")
    assert at() == 4
    assert page.rows(".node.current") == [found.steps[3].node]
    page.tab.click("#back")
    assert at() == 3
    page.tab.click("#reset")
    assert at() == 0
    assert page.rows(".node.current") == []
    page.tab.click("#play")
    page.tab.wait_for_selector('body[data-step="2"]')
    page.tab.click("#play")
    stopped = at()
    page.tab.wait_for_timeout(1100)
    assert at() == stopped


def test_search_finds_centres_and_goes_on(opened: Any) -> None:
    named, loss = perceptron()
    found = jitgrad.graph(loss, params=named)
    page = opened(found)
    page.tab.keyboard.press("/")
    page.tab.keyboard.type("mm")
    products = [n.row for n in found.nodes if "mm" in n.op]
    assert len(products) == 2
    assert page.rows(".node.hit") == products
    assert page.text("#hits") == "1 of 2"
    for row in products:
        x, y, w, h = page.view()
        box = page.tab.query_selector(f'[data-row="{row}"] rect')
        left, top, width, height = (
            float(box.get_attribute(k)) for k in ("x", "y", "width", "height")
        )
        np.testing.assert_allclose([x + w / 2, y + h / 2], [left + width / 2, top + height / 2])
        assert page.rows(".node.selected") == [row]
        assert f"\nrow\n{row}\n" in page.text("#node")
        page.tab.keyboard.press("Enter")
    page.tab.fill("#search", "no such node")
    assert page.text("#hits") == "no node"
    page.tab.keyboard.press("Escape")
    assert page.rows(".node.hit") == []


def test_dragging_moves_and_the_wheel_zooms_at_the_pointer(opened: Any) -> None:
    page = opened(jitgrad.graph(perceptron()[1]))
    mouse = page.tab.mouse
    before, scale = page.view(), page.tab.get_attribute("#canvas > svg", "data-scale")
    mouse.move(300, 300)
    mouse.down()
    mouse.move(360, 340)
    mouse.up()
    after = page.view()
    moved = np.subtract(before[:2], after[:2]) * float(scale)
    np.testing.assert_allclose(moved, [60, 40], rtol=1e-6)
    mouse.move(300, 300)
    mouse.wheel(0, -400)
    page.tab.wait_for_selector(f'#canvas > svg:not([data-scale="{scale}"])')
    zoomed = page.view()
    assert zoomed[2] < after[2]
    canvas = page.tab.query_selector("#canvas").bounding_box()
    fraction = np.array([300 - canvas["x"], 300 - canvas["y"]]) / [
        canvas["width"],
        canvas["height"],
    ]
    np.testing.assert_allclose(
        after[:2] + fraction * after[2:], zoomed[:2] + fraction * zoomed[2:], rtol=1e-6
    )
    page.tab.keyboard.press("0")
    np.testing.assert_allclose(page.view(), before)


def test_a_click_shows_saved_values_and_names_are_no_markup(opened: Any) -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = x.exp()
    z = y.sum()
    with jitgrad.no_grad():
        y.add_(1)
    name = "<img src=x onerror=alert(1)>&\"'</script>"
    found = jitgrad.graph(z, params={name: x})
    page = opened(found)
    assert page.tab.query_selector("img") is None
    page.tab.click(f'.node[data-row="{found.nodes[0].row}"]')
    assert page.text("#node h3") == name
    page.tab.click(f'.node[data-row="{found.nodes[1].row}"]')
    assert page.text("#node dd.stale") == "result v0, now v1"
    assert "modified by an inplace operation" in page.text("#stopped")


def test_nodes_can_be_reached_by_keyboard(opened: Any) -> None:
    found = jitgrad.graph(perceptron()[1])
    page = opened(found)
    page.tab.focus(f'.node[data-row="{found.nodes[0].row}"]')
    page.tab.keyboard.press("Enter")
    assert page.rows(".node.selected") == [found.nodes[0].row]
    assert page.tab.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
        "constant, row"
    )
