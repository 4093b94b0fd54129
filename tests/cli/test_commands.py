"""The commands, run as a user runs them, on tiny work."""

from __future__ import annotations

import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jitgrad.bench import comparing, peers, runner
from jitgrad.bench.case import CannotDo, Case, Prepared
from jitgrad.bench.results import Measurement, Report
from jitgrad.bench.workloads import WORKLOADS
from jitgrad.cli import bench
from jitgrad.cli.app import app

QUICK = ["--budget", "0.002", "--rounds", "3", "--no-peak"]


def call(*arguments: str) -> Any:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(arguments))


def measure(*arguments: str) -> Any:
    """Run a quick `jitgrad bench`."""
    return call("bench", *QUICK, *arguments)


def rows(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Read the measurements of a JSON file."""
    data = json.loads(path.read_text())
    return {(m["case"], m["library"]): m for m in data["measurements"]}


def test_bench_beside_numpy_and_torch(tmp_path: Path, torch: Any) -> None:
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "md", "svg")}
    done = measure(
        *("--ops", "sin,mm", "--sizes", "4,16", "--parts", "forward,both", "--vs", "torch,numpy"),
        *("--json", str(files["json"]), "--csv", str(files["csv"])),
        *("--markdown", str(files["md"]), "--plot", str(files["svg"])),
    )
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert "NumPy has no gradients" in done.output
    found = rows(files["json"])
    assert len(found) == 2 * 2 * 2 * 3
    mine = found["mm:forward:float32:contiguous:16", "jitgrad"]
    assert len(mine["samples"]) == len(mine["control"]) == 3
    assert mine["flops"] == 2 * 4**3
    assert found["sin:both:float32:contiguous:4", "numpy"]["cannot"]
    assert found["sin:forward:float32:contiguous:4", "numpy"]["samples"]
    with files["csv"].open() as file:
        assert len(list(csv.DictReader(file))) == 24
    assert "sin:both:float32:contiguous:4" in files["md"].read_text()
    assert files["svg"].read_text().startswith("<?xml")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("layout", ["transposed", "broadcast"])
def test_layouts_and_dtypes_agree_with_torch(layout: str, tmp_path: Path, torch: Any) -> None:
    out = tmp_path / "o.json"
    done = measure(
        *("--ops", "mul,sum,softmax,where", "--sizes", "9", "--dtypes", "float64"),
        *("--layouts", layout, "--vs", "torch", "--json", str(out)),
    )
    assert done.exit_code == 0, done.output
    assert all(m["samples"] and not m["cannot"] for m in rows(out).values())


@pytest.mark.parametrize("elements", ["1", "16"])
def test_ops_on_few_elements_agree_with_torch(elements: str, tmp_path: Path, torch: Any) -> None:
    out = tmp_path / "o.json"
    names = "convolution,ctc_loss,lstm,gru,rnn_tanh,nll_loss_nd,remap,band,clamp_tensor,to_bfloat16"
    extra = ("--sizes", elements, "--vs", "torch", "--json", str(out))
    done = measure("--ops", names, *extra)
    assert done.exit_code == 0, done.output
    assert all(m["samples"] for m in rows(out).values())


def test_goals_are_shown_where_they_can_be_judged(torch: Any) -> None:
    done = measure("--workloads", "A1", "--ops", "exp", "--sizes", "4", "--vs", "torch")
    assert done.exit_code == 0, done.output
    assert "0.15 torch: met" in done.stdout
    assert "1 of 1 goals met" in done.stdout
    assert "goal" not in measure("--workloads", "A1").stdout


def test_an_op_that_a_dtype_does_not_have_is_no_failure() -> None:
    from jitgrad.cli.cache import UNDEFINED, warm_one

    assert warm_one("var", "int64") == UNDEFINED
    assert warm_one("softmax", "int64") == UNDEFINED
    assert warm_one("add", "int64") == ""
    done = measure("--ops", "var", "--dtypes", "int64", "--sizes", "4")
    assert done.exit_code == 0
    assert "takes floating point only" in done.stdout


def test_integers_have_no_gradient(tmp_path: Path) -> None:
    out = tmp_path / "o.json"
    args = ("--ops", "add", "--dtypes", "int64", "--sizes", "4", "--json", str(out))
    assert measure(*args, "--parts", "forward,both").exit_code == 0
    found = rows(out)
    assert found["add:forward:int64:contiguous:4", "jitgrad"]["samples"]
    assert "no gradient" in found["add:both:int64:contiguous:4", "jitgrad"]["cannot"]


def test_workloads_agree_with_torch(tmp_path: Path, torch: Any) -> None:
    out = tmp_path / "o.json"
    done = measure(
        "--workloads",
        "A1,A5_100,B1,gmm,rosenbrock_2,mlp,lstm,gpt,transformer",
        "--vs",
        "torch",
        "--json",
        str(out),
    )
    assert done.exit_code == 0, done.output
    assert len(rows(out)) == 18


def test_gradients_by_hand_are_the_gradients(tmp_path: Path) -> None:
    out = tmp_path / "o.json"
    names = "A1,A2,B1,gmm,rosenbrock_2,C_*_16K,D_layer_norm"
    extra = ("--ops", "add,mul,mm", "--sizes", "9", "--dtypes", "float64")
    done = measure("--workloads", names, *extra, "--vs", "numpy", "--json", str(out))
    assert done.exit_code == 0, done.output
    found = rows(out)
    assert len(found) == 2 * 18
    assert all(m["samples"] for m in found.values())


def test_workloads_agree_with_jax_and_autograd(required: Any, tmp_path: Path) -> None:
    required("jax")
    required("autograd")
    out = tmp_path / "o.json"
    # JAX's threads, and what it does to forks and warnings, stay in a process of their own.
    command = [sys.executable, "-m", "jitgrad", "bench", *QUICK, "--vs", "jax,autograd"]
    chosen = ["--workloads", "A1,B1,gmm,rosenbrock_2,lorenz", "--ops", "tanh", "--sizes", "9"]
    done = subprocess.run(
        [*command, *chosen, "--json", str(out)], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(out)
    assert len(found) == 3 * 6
    without = {key for key, m in found.items() if not m["samples"]}
    assert without == {("lorenz", "autograd")}


def test_memory_of_a_case(tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("Linux only")
    out = tmp_path / "o.json"
    extra = ("--ops", "exp", "--sizes", "1M", "--memory", "--json", str(out))
    done = measure(*extra)
    assert done.exit_code == 0, done.output
    taken = rows(out)["exp:both:float32:contiguous:1048576", "jitgrad"]["memory"]
    # Operand, result, cotangent and gradient have 4 MiB each.
    assert 12 << 20 < taken < 48 << 20
    assert f"{taken / 2**20:.1f} MiB" in done.stdout


def test_a_loop_is_kept_from_libraries_that_write_it_out() -> None:
    program = WORKLOADS["lorenz"].program
    assert program is not None
    with pytest.raises(CannotDo, match="20,800 ops"):
        program.autograd(None)


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = peers.Peer("jax", "no_such_module", "pip install jax", peers.PEERS["jax"].prepare)
    monkeypatch.setitem(peers.PEERS, "jax", missing)
    done = measure("--ops", "exp", "--sizes", "4", "--vs", "jax")
    assert done.exit_code == 0
    assert "jax is not installed: pip install jax" in done.stderr


def broken(T: Any) -> Prepared:  # noqa: N803
    """Fail."""
    raise ValueError("broken on purpose")


def one(value: float, monkeypatch: pytest.MonkeyPatch) -> Case:
    """A case whose results differ between the first library and the others."""
    values = iter((1.0, value))

    def setup(T: Any) -> Prepared:  # noqa: N803
        import numpy as np

        mine = np.array([next(values)])
        return Prepared(lambda: None, lambda: [mine])

    case = Case("odd", "work", setup)
    monkeypatch.setitem(bench.PROGRAMS, "odd", case)
    return case


def test_a_failing_case_is_reported_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(bench.PROGRAMS, "A1", Case("A1", "work", broken))
    out = tmp_path / "o.json"
    done = measure("--workloads", "A1,A2", "--json", str(out))
    assert done.exit_code == 1
    assert "ValueError: broken on purpose" in done.output
    assert rows(out)["A2", "jitgrad"]["samples"]


def test_a_library_that_fails_later_does_not_take_the_others_along(
    monkeypatch: pytest.MonkeyPatch, torch: Any, tmp_path: Path
) -> None:
    def setup(T: Any) -> Prepared:  # noqa: N803
        left = [3]

        def run() -> None:
            left[0] -= 1
            if T is torch and left[0] < 0:
                raise ValueError("broken in the fourth call")

        return Prepared(run, list)

    monkeypatch.setitem(bench.PROGRAMS, "A1", Case("A1", "work", setup))
    out = tmp_path / "o.json"
    done = measure("--workloads", "A1", "--vs", "torch", "--json", str(out))
    assert done.exit_code == 1
    found = rows(out)
    assert len(found["A1", "jitgrad"]["samples"]) == 3
    assert not found["A1", "jitgrad"]["error"]
    assert found["A1", "torch"]["error"] == "ValueError: broken in the fourth call"


def test_other_numbers_are_a_failure(monkeypatch: pytest.MonkeyPatch, torch: Any) -> None:
    one(1.1, monkeypatch)
    done = measure("--workloads", "odd", "--vs", "torch")
    assert done.exit_code == 1
    assert "other numbers than jitgrad's" in done.output


def test_ctrl_c_shows_and_writes_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(T: Any) -> Prepared:  # noqa: N803
        raise KeyboardInterrupt

    monkeypatch.setitem(bench.PROGRAMS, "B1", Case("B1", "work", interrupted))
    out = tmp_path / "o.json"
    done = measure("--workloads", "A2,B1,A1", "--json", str(out), "--save", str(tmp_path / "s"))
    assert done.exit_code == 130
    assert "A2" in done.stdout
    assert "1 of 3 cases" in done.stderr
    assert list(rows(out)) == [("A2", "jitgrad")]
    assert not (tmp_path / "s").exists()


def saved_report(path: Path, scale: float) -> Path:
    """A saved run in which A2 took a given time relative to the control."""
    m = Measurement("A2", "", "jitgrad", [scale * 1e-5] * 20, [1e-5] * 20)
    path.write_text(Report({}, [m]).as_json())
    return path


@pytest.mark.parametrize(("scale", "code", "word"), [(1e-6, 3, "slower"), (1e6, 0, "faster")])
def test_compare_sets_the_exit_code(scale: float, code: int, word: str, tmp_path: Path) -> None:
    path = saved_report(tmp_path / "before.json", scale)
    done = measure("--workloads", "A2,A1", "--compare", str(path))
    assert done.exit_code == code, done.output
    assert word in done.stdout
    assert comparing.MISSING in done.stdout  # A1


def test_save_then_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JITGRAD_BENCH_DIR", str(tmp_path))
    assert measure("--workloads", "A2", "--save", "a").exit_code == 0
    done = measure("--workloads", "A2", "--compare", "a", "--threshold", "1000")
    assert done.exit_code == 0
    assert "same" in done.stdout
    done = measure("--workloads", "A2", "--compare", "b")
    assert done.exit_code == 2
    assert "saved are: a" in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ops", "expp"], "did you mean exp"),
        (["--ops", "exp", "--sizes", ","], "name at least one size"),
        (["--ops", "exp", "--sizes", "many"], "is no number of elements"),
        (["--ops", "exp", "--sizes", "2^40"], "between 1 and 2^28"),
        (["--ops", "exp", "--dtypes", "complex64"], "is no dtype"),
        (["--ops", "exp", "--vs", "tensorflow"], "is no peer"),
        (["--ops", "none"], "nothing to measure"),
        (["--workloads", "A2", "--plot", "x.jpeg"], "must end in .png or .svg"),
    ],
)
def test_bad_options_get_a_sentence(arguments: list[str], says: str) -> None:
    done = measure(*arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())


def test_a_folder_that_is_not_there_is_noticed_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "measure", lambda *a: pytest.fail("measured"))
    done = measure("--workloads", "A2", "--json", str(tmp_path / "no" / "o.json"))
    assert done.exit_code == 4
    assert "cannot write" in done.stderr
    (tmp_path / "file").write_text("")
    assert measure("--workloads", "A2", "--save", str(tmp_path / "file" / "x")).exit_code == 4
    assert measure("--workloads", "A2", "--csv", str(tmp_path)).exit_code == 4


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")


@ON_LINUX
def test_a_device_is_written_to_and_not_replaced() -> None:
    full = Path("/dev/full")
    done = measure("--workloads", "A2", "--json", str(full))
    assert done.exit_code == 4
    assert "cannot write /dev/full: No space left on device" in done.stderr
    assert "A2" in done.stdout
    assert full.is_char_device()


@ON_LINUX
def test_an_output_that_is_full_gets_a_sentence_and_loses_no_file(tmp_path: Path) -> None:
    out = tmp_path / "o.json"
    command = [sys.executable, "-m", "jitgrad", "bench", *QUICK, "--workloads", "A2", "--json", out]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 4
    assert done.stderr == "jitgrad: cannot write the output: No space left on device\n"
    assert rows(out)["A2", "jitgrad"]["samples"]


def test_nothing_to_plot_is_noticed_before_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "measure", lambda *a: pytest.fail("measured"))
    done = measure("--workloads", "A2", "--plot", "x.png")
    assert done.exit_code == 1
    assert "nothing to plot" in done.stderr


def test_every_op_has_a_line_or_a_reason() -> None:
    from jitgrad.bench.operations import NOT_CALLED, OPERATIONS
    from jitgrad.ops.table import OPS

    assert not set(NOT_CALLED) & set(OPERATIONS)
    assert {op.name for op in OPS} >= set(OPERATIONS)  # other tests add ops of their own
    without = [name for name, why in NOT_CALLED.items() if "operations.py" in why]
    assert not [name for name in without if not name.startswith("custom_")]


@pytest.mark.parametrize("command", [[], ["bench"], ["info"], ["cache"], ["cache", "warm"],
                                     ["cache", "clear"], ["profile"]])  # fmt: skip
def test_help(command: list[str]) -> None:
    done = call(*command, "--help")
    assert done.exit_code == 0
    if command and command != ["cache"]:
        assert "Example" in done.stdout


def test_list_info_and_version() -> None:
    assert "rosenbrock_2" in call("bench", "--list").stdout
    assert "jitgrad 0." in call("--version").stdout
    facts = call("info")
    assert facts.exit_code == 0, facts.output
    for word in (
        "numba:",
        "processor:",
        "layer",
        "BLAS:",
        "CUDA:",
        "cache folder:",
        "memory pool:",
    ):
        assert word in facts.stdout


def test_cache_warm_info_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder of its own; the core is taken from the usual one, or each process would compile it.
    from jitgrad.arena import engine
    from jitgrad.kernels import cache

    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    usual = cache.folder()
    for number, name in enumerate(engine.part_names()):
        engine.load_part(number)
        unit = cache.key(name)
        (folder / f"{unit}.jgo").write_bytes((usual / f"{unit}.jgo").read_bytes())
    monkeypatch.setenv("JITGRAD_CACHE_DIR", str(folder))
    loaded: list[int] = []
    monkeypatch.setattr(engine, "load_part", loaded.append)
    done = call("cache", "warm", "--ops", "square", "--dtypes", "float32,float64", "--jobs", "1")
    assert done.exit_code == 0, done.output
    assert "2 of 2 ops are compiled" in done.stdout
    assert loaded == list(range(len(engine.PARTS)))
    assert len(list(folder.glob("*.jgo"))) > 2
    assert str(folder) in call("cache", "info").stdout
    assert "deleted" in call("cache", "clear", "--yes").stdout
    assert not list(folder.glob("*.jgo"))
    assert "no compiled code" in call("cache", "clear").stdout
    done = call("cache", "warm", "--ops", "squaer")
    assert done.exit_code == 2


def test_the_module_is_a_command() -> None:
    command = [sys.executable, "-m", "jitgrad", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()[0]) == (0, "jitgrad")


def test_asv_reads_the_cases() -> None:
    folder = Path(__file__).parents[2] / "benchmarks"
    for path in sorted(folder.glob("asv_*.py")):
        importlib.import_module(f"benchmarks.{path.stem}")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_real_interrupt_ends_it_with_130() -> None:
    program = """
import signal, sys
import jitgrad
from jitgrad.bench import runner
from jitgrad.cli import main
# A process that a shell starts in the background ignores the signal, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
below = runner.measure
def measure(*arguments):
    if arguments[0].name == "A2":
        signal.raise_signal(signal.SIGINT)
    return below(*arguments)
runner.measure = measure
sys.argv[1:] = "bench --workloads B1,A2 --budget 3 --rounds 100000 --no-peak".split()
main()
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    assert "B1" in done.stdout
    assert done.stderr.strip() == "jitgrad: interrupted; 1 of 2 cases were measured"


SCRIPT = """
import sys
import jitgrad
w = jitgrad.ones(100, requires_grad=True)
for _ in range(3):
    (w * 2).exp().sum().backward()
print(sys.argv[1:], w.grad[0].item())
sys.exit(7)
"""


def test_profile_shows_both_parts(tmp_path: Path) -> None:
    script, trace = tmp_path / "script.py", tmp_path / "trace.json"
    script.write_text(SCRIPT)
    done = call("profile", "--trace", str(trace), str(script), "--epochs", "3")
    assert done.exit_code == 7
    assert "['--epochs', '3'] 44.33" in done.stdout  # 3 * 2 * exp(2)
    events = json.loads(trace.read_text())["traceEvents"]
    for name in ("mul", "exp", "sum"):
        for part in ("forward", "backward"):
            found = [e for e in events if (e["name"], e.get("cat")) == (name, part)]
            assert len(found) == 3, (name, part)
            assert all(e["dur"] >= 0 and e["ph"] == "X" for e in found)
    for e in events:  # what the format asks of each kind of event
        assert {"name", "ph", "pid", "tid"} <= set(e)
        assert e["ph"] in "XCM"
        assert e["ph"] == "M" or e["ts"] >= 0
        assert isinstance(e["args"], dict)
    assert [e["args"]["name"] for e in events if e["name"] == "thread_name"] == ["main thread"]
    assert max(e["args"]["bytes"] for e in events if e["ph"] == "C") >= 800
    assert {
        e["args"]["bytes"] for e in events if (e["name"], e.get("cat")) == ("exp", "forward")
    } == {
        448  # 100 float32 in a buffer of a size class
    }
    line = next(line for line in done.stdout.splitlines() if line.split()[:2] == ["exp", "forward"])
    assert line.split()[2] == "3"


@pytest.mark.parametrize(("source", "code"), [("raise ValueError('no')", 1), ("1", 0)])
def test_profile_ends_as_the_script_does(source: str, code: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(source)
    done = call("profile", str(script))
    assert done.exit_code == code
    assert "no op of jitgrad ran" in done.stdout
    assert call("profile", str(tmp_path / "none.py")).exit_code == 2


def test_nothing_is_left_behind_by_a_profile() -> None:
    from jitgrad.arena import engine
    from jitgrad.arena.engine import entry
    from jitgrad.cli.profiling import profiled

    before = engine.run_backward, engine.load_kernel, engine.watched, entry.pointwise
    with pytest.raises(KeyError), profiled():
        raise KeyError
    assert (engine.run_backward, engine.load_kernel, engine.watched, entry.pointwise) == before
