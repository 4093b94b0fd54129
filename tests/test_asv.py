"""asv: the benchmarks are found, run over two commits, and published as a page whose graphs have points."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.browsing import chromium

ROOT = Path(__file__).parents[1]
CHOSEN = "asv_control.Control.time_exp|asv_overhead.Small.time_step"

#: The scripts that asv's page loads from the network, and the packages that bring them here. The page has
#: other releases than PyPI, so what checks their content is removed. Not there: tables that can be sorted
#: and bar charts, which the tested pages do not use.
SCRIPTS = {
    "jquery-3": ("XStatic-jQuery", "jquery.min.js"),
    "jquery.flot.min": ("js.jquery_flot", "jquery.flot.min.js"),
    "jquery.flot.time": ("js.jquery_flot", "jquery.flot.time.min.js"),
    "jquery.flot.selection": ("js.jquery_flot", "jquery.flot.selection.min.js"),
    "jquery.flot.categories": ("js.jquery_flot", "jquery.flot.categories.min.js"),
    "bootstrap.min.js": ("XStatic-Bootstrap-SCSS", "bootstrap.min.js"),
}


def script(url: str) -> str:
    """Give the content of a script, from the installed packages."""
    for part, (package, name) in SCRIPTS.items():
        if part in url:
            found = [f for f in metadata.files(package) or () if f.name == name]
            return found[0].read_text()
    return ""


def run(folder: Path, *command: str) -> str:
    """Run a command in a folder as a user with nothing in his home."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {
        "HOME": str(folder),
        "ASV_PYTHONPATH": str(ROOT),  # asv drops PYTHONPATH
        **{
            f"GIT_{who}_{what}": "x"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    if "JITGRAD_CACHE_DIR" not in environment and "XDG_CACHE_HOME" not in environment:
        environment["XDG_CACHE_HOME"] = str(Path.home() / ".cache")
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def published(required: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run some benchmarks over two commits of a repository, in this environment, and publish them."""
    required("asv")
    folder = tmp_path_factory.mktemp("asv")
    settings = json.loads((ROOT / "asv.conf.json").read_text())
    settings["benchmark_dir"] = str(ROOT / "benchmarks")
    (folder / "asv.conf.json").write_text(json.dumps(settings))
    asv = (sys.executable, "-m", "asv")
    here = ("-E", f"existing:{sys.executable}")
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, *asv, "machine", "--yes")
    for message in ("one", "two"):
        run(folder, "git", "commit", "-q", "--allow-empty", "-m", message)
        commit = run(folder, "git", "rev-parse", "HEAD").strip()
        options = ("--quick", "--bench", CHOSEN, "--set-commit-hash", commit, "--show-stderr")
        assert "failed" not in run(folder, *asv, "run", *here, *options)
    run(folder, *asv, "publish")
    return folder / ".asv" / "html"


@pytest.fixture(scope="module")
def address(published: Path) -> Iterator[str]:
    """Serve the page, as `asv preview` does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            """Be silent."""

    handler = partial(Handler, directory=str(published))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_every_benchmark_is_found(required: Any, published: Path) -> None:
    run(
        published.parents[1],
        sys.executable,
        "-m",
        "asv",
        "check",
        "-E",
        f"existing:{sys.executable}",
    )
    index = json.loads((published / "index.json").read_text())
    found = " ".join(index["benchmarks"])
    for part in (*CHOSEN.split("|"), "track_", "peakmem_", "Cold.timeraw_import", "Warm.timeraw"):
        assert part in found


def test_the_published_graphs_have_points(required: Any, address: str) -> None:
    errors: list[str] = []
    with chromium(required("playwright.sync_api")) as browser:
        tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        tab.set_default_timeout(20_000)
        tab.on("pageerror", lambda error: errors.append(str(error)))

        def answer(route: Any) -> None:
            if not route.request.url.startswith(address):
                route.fulfill(body=script(route.request.url))
            elif route.request.url.split("#")[0] in (address, f"{address}index.html"):
                body = re.sub(r' (integrity|crossorigin)="[^"]*"', "", route.fetch().text())
                route.fulfill(body=body, content_type="text/html")
            else:
                route.continue_()

        tab.route("**/*", answer)
        tab.goto(f"{address}#/")
        tab.wait_for_selector("#summarygrid-display canvas.flot-base")
        for name, lines in (
            ("asv_control.Control.time_exp", 1),
            ("asv_overhead.Small.time_step", 2),
        ):
            tab.goto(f"{address}#{name}")
            tab.wait_for_selector("#main-graph canvas.flot-base")
            # What the plot was given, and whether it drew something.
            drawn = tab.evaluate(
                """() => $("#main-graph").data("plot").getData().map(
                       line => line.data.filter(point => point[1] > 0).length)"""
            )
            assert [n for n in drawn if n] == [2] * lines, name
            inked = tab.evaluate(
                """() => {
                    const canvas = document.querySelector("#main-graph canvas.flot-base");
                    const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                    return all.data.filter((value, i) => i % 4 == 3 && value > 0).length;
                }"""
            )
            assert inked > 1000, name
    assert errors == []
