"""The disk cache: damage, folders of others, several processes, edits, a warm start without Numba."""

import dataclasses
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import jitgrad
from jitgrad.kernels import cache
from jitgrad.ops.table import BY_NAME

FIRST_GRADIENT = """
import sys
import jitgrad
x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
(x * x).sum().backward()
print(x.grad.tolist(), "numba" in sys.modules)
"""


def run(folder, code=FIRST_GRADIENT, **environment):
    env = {**os.environ, "JITGRAD_CACHE_DIR": str(folder), **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A folder in which the first gradient has been computed once."""
    folder = tmp_path_factory.mktemp("cache")
    shutil.copytree(cache.folder(), folder, dirs_exist_ok=True)
    folder.chmod(0o700)
    first = run(folder)
    assert first.returncode == 0, first.stderr
    return folder


def test_a_warm_start_does_not_import_numba(warm):
    again = run(warm)
    assert again.stdout == "[2.0, 4.0] False\n"
    assert again.stderr == ""


def test_files_belong_to_their_owner_alone(warm):
    assert warm.stat().st_mode & 0o077 == 0
    assert list(warm.glob("*.jgo"))


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_file_is_compiled_again_with_one_warning(warm, tmp_path, damage):
    folder = tmp_path / "cache"
    shutil.copytree(warm, folder)
    from jitgrad.ops.table import BY_NAME

    op = BY_NAME["mul"]
    file = folder / f"{cache.key(f'{op!r} 6 0')}.jgo"
    data = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        file.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    else:
        file.write_bytes(b"")
    second = run(folder)
    assert second.stdout == "[2.0, 4.0] True\n"
    assert second.stderr.count("RuntimeWarning") == 1
    assert "damaged" in second.stderr
    third = run(folder)
    assert (third.stdout, third.stderr) == ("[2.0, 4.0] False\n", "")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions")
def test_a_folder_that_others_can_write_is_not_used(tmp_path, monkeypatch):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("JITGRAD_CACHE_DIR", str(folder))
    monkeypatch.setattr(cache, "_warned", False)
    monkeypatch.setattr(cache, "_unwritable", False)
    with pytest.warns(RuntimeWarning, match="can be written by other users"):
        assert cache.read("anything") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.write("anything", (["f"], [b"code"]))
    assert list(folder.iterdir()) == []


def test_an_unwritable_home_works_with_one_warning(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("JITGRAD_CACHE_DIR", str(file / "below"))
    monkeypatch.setattr(cache, "_warned", False)
    monkeypatch.setattr(cache, "_unwritable", False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert cache.read("anything") is None
        cache.write("anything", (["f"], [b"code"]))
    assert [w.category for w in caught] == [RuntimeWarning]


def test_what_is_written_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("JITGRAD_CACHE_DIR", str(tmp_path / "new"))
    compiled = (["f", "g"], [b"one", b"two" * 100])
    cache.write("unit", compiled)
    assert cache.read("unit") == compiled
    assert cache.read("another") is None


def test_an_edit_of_an_engine_source_changes_every_name(monkeypatch, tmp_path):
    package = tmp_path / "jitgrad"
    shutil.copytree(Path(jitgrad.__file__).parent, package)
    script = "from jitgrad.kernels import cache; print(cache.key('core'))"

    def key():
        env = {**os.environ, "PYTHONPATH": str(tmp_path)}
        code = "import sys, types; m = types.ModuleType('jitgrad'); "
        code += f"m.__path__ = [{str(package)!r}]; sys.modules['jitgrad'] = m; " + script
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = key()
    assert key() == before
    with open(package / "ops" / "pointwise.py", "a") as file:
        file.write("\n# an edit of what no other op's code follows from\n")
    assert key() == before
    for source in ("kernels/sums.py", "arena/rows.py", "ops/table.py"):
        with open(package / source, "a") as file:
            file.write("\n# an edit\n")
        assert key() != before
        before = key()


def test_the_name_of_a_kernel_holds_its_formulas_but_not_its_number():
    op = BY_NAME["exp"]
    assert repr(dataclasses.replace(op, vjps=("g",))) != repr(op)
    assert repr(dataclasses.replace(op, forward="x")) != repr(op)
    assert repr(dataclasses.replace(op, number=op.number + 1)) == repr(op)


def test_compiled_code_takes_from_the_ops_only_what_names_hold():
    root = Path(jitgrad.__file__).parent
    allowed = {
        "from jitgrad.ops.table import",
        "from jitgrad.ops.casts import FIRST_CAST",
        "from jitgrad.ops import views as ops",
        "from jitgrad.ops.build import kernels_of",
        "from jitgrad.ops import complete",  # the companion, which is not compiled
    }
    for path in [*root.glob("arena/*.py"), *root.glob("kernels/*.py")]:
        for line in path.read_text().splitlines():
            if "import" in line and "jitgrad.ops" in line:
                assert any(line.strip().startswith(a) for a in allowed), f"{path.name}: {line}"


def test_processes_that_start_together_share_the_folder(warm, tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(warm, folder)
    for file in sorted(folder.glob("*.jgo"))[::2]:
        if file.stat().st_size < 100_000:  # leave the core: this is about racing, not compiling
            file.unlink()
    env = {**os.environ, "JITGRAD_CACHE_DIR": str(folder)}
    together = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_GRADIENT],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in together:
        out, err = process.communicate()
        assert out.startswith(b"[2.0, 4.0]"), err
        assert err == b""
    assert list(folder.glob(".writing-*")) == []


def test_numbas_own_way_of_compiling_gives_the_same(tmp_path):
    from jitgrad.kernels.compiler import compile_units
    from jitgrad.kernels.loader import load
    from jitgrad.ops.build import kernels_of
    from jitgrad.ops.table import BY_NAME

    before = os.environ.get("JITGRAD_COMPILER")
    os.environ["JITGRAD_COMPILER"] = "plain"
    try:
        symbols, objects = compile_units([kernels_of(BY_NAME["exp"].number, 6, 0)])
    finally:
        if before is None:
            del os.environ["JITGRAD_COMPILER"]
        else:
            os.environ["JITGRAD_COMPILER"] = before
    assert all(load(symbols, objects))
