"""save and load: what is kept, PyTorch's files, and files that are damaged or made to do harm."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.arena import debug

DTYPES = "bool uint8 int8 int16 int32 int64 float32 float64".split()


def again(value: Any) -> Any:
    file = io.BytesIO()
    jitgrad.save(value, file)
    file.seek(0)
    return jitgrad.load(file)


def same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, jitgrad.Tensor):
        assert found.dtype is wanted.dtype
        assert found.requires_grad is wanted.requires_grad
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found.detach().numpy(), wanted.detach().numpy())
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            same(found[key], wanted[key])
    elif isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            same(a, b)
    else:
        assert found == wanted or (found != found and wanted != wanted)


# ---------------------------------------------------------------- our own files
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3, 4)])
def test_tensors(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 2, shape)
    same(again(x := jitgrad.tensor(values.astype(dtype))), x)


def test_structures() -> None:
    value = {
        "list": [1, 2.5, "three", None, True, [], {}],
        "tuple": (1, (2,), ()),
        3: {(1, "a"): b"\x00\xff", None: 3 + 4j, 2.5: {1, 2}},
        "floats": [float("inf"), float("nan"), -0.0, 1e-320, 0.1],
        "big": 2**200,
        "text": "\ud800 \N{SNOWMAN} \x00",
        "ordered": OrderedDict(b=1, a=jitgrad.ones(1)),
        "counter": Counter([1, 1, 2]),
        "dtype": jitgrad.float64,
        "device": jitgrad.device("cpu"),
        "size": jitgrad.Size([2, 3]),
        "parameter": jitgrad.nn.Parameter(jitgrad.ones(2)),
        "leaf": jitgrad.zeros(2, requires_grad=True),
        "__metadata__": jitgrad.arange(3),
        "\ud800": jitgrad.arange(2),
        "a.b": jitgrad.zeros(1),
        "a": {"b": jitgrad.ones(1)},
    }
    same(again(value), value)
    assert again(np.float64(2.5)) == 2.5
    debug.check()


def test_memory_that_is_shared_stays_shared_and_strides_stay() -> None:
    base = jitgrad.arange(24.0)
    x = base.reshape(4, 6).t()
    tied = jitgrad.nn.Parameter(jitgrad.randn(3))
    value = {"all": base, "t": x, "part": base[5:9], "same": base, "wide": base[:1].expand(3)}
    found = again({**value, "w": tied, "w2": tied})
    same(found, {**value, "w": tied, "w2": tied})
    assert found["same"] is found["all"]
    assert found["w2"] is found["w"]
    assert found["t"].stride() == (1, 6)
    assert found["wide"].stride() == (0,)
    found["part"].fill_(-1)
    assert found["all"].tolist()[4:10] == [4, -1, -1, -1, -1, 9]
    # They share a version too, so that backward notices a change through another.
    assert found["t"]._version == found["part"]._version > 0
    found = again(found)
    found["all"].fill_(7)
    assert found["part"].tolist() == [7] * 4
    lone = again(x)
    assert lone.stride() == (1, 6)
    same(lone, x)
    debug.check()


def test_a_small_view_does_not_drag_its_memory_along() -> None:
    file = io.BytesIO()
    big = jitgrad.zeros(1000, 100)
    jitgrad.save([big[:, 3]], file)
    assert file.tell() < 10_000
    assert again(big[:, 3]).shape == (1000,)


def test_training_goes_on_where_it_was(tmp_path: Path) -> None:
    def make() -> tuple[Any, Any, Any]:
        model = jitgrad.nn.Sequential(jitgrad.nn.Linear(2, 3), jitgrad.nn.Linear(3, 1))
        optimizer = jitgrad.optim.Adam(model.parameters(), lr=0.1)
        return model, optimizer, jitgrad.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])

    def train(parts: Any, steps: int) -> None:
        model, optimizer, scheduler = parts
        for step in range(steps):
            optimizer.zero_grad()
            model(jitgrad.full((4, 2), float(step))).sum().backward()
            optimizer.step()
            scheduler.step()

    one, two = make(), make()
    train(one, 3)
    path = tmp_path / "checkpoint.safetensors"
    jitgrad.save([part.state_dict() for part in one], path)
    for part, state in zip(two, jitgrad.load(path), strict=True):
        part.load_state_dict(state)
    train(one, 3)
    train(two, 3)
    same(two[0].state_dict(), one[0].state_dict())
    assert two[2].get_last_lr() == one[2].get_last_lr()
    assert jitgrad.load(str(path))[0]._metadata == one[0].state_dict()._metadata


def test_other_readers_find_the_tensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "model.safetensors"
    jitgrad.save({"a": jitgrad.ones(2, 3), "b": [jitgrad.arange(3)]}, path)
    found = load_file(path)
    assert found["a"].shape == (2, 3)
    assert found["b.0"].tolist() == [0, 1, 2]
    save_file({"x": np.ones((2, 1), np.float32), "y": np.zeros((), np.int8)}, path)
    foreign = jitgrad.load(path, map_location="cpu", weights_only=True, mmap=False)
    assert {k: v.tolist() for k, v in foreign.items()} == {"x": [[1.0], [1.0]], "y": 0}
    save_file({"x": np.ones(1, np.uint16)}, path)
    with pytest.raises(RuntimeError, match="dtype uint16, which jitgrad does not have"):
        jitgrad.load(path)


def test_what_cannot_be_saved_is_named_with_its_place() -> None:
    for value, words in (
        ({"a": [1, object()]}, r"builtins.object \(at a.1\)"),
        ({"m": jitgrad.nn.Linear(1, 1)}, r"Linear \(at m\).*state_dict"),
        (print, r"builtin_function_or_method \(at the top\)"),
        ({object(): 1}, "<key>"),
    ):
        with pytest.raises(TypeError, match=words):
            again(value)
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        again(loop)


def test_places(tmp_path: Path) -> None:
    path = tmp_path / "x"
    jitgrad.save(jitgrad.ones(1), path)
    for place in (
        None,
        "cpu",
        jitgrad.device("cpu"),
        {"cpu": "cpu"},
        lambda storage, where: storage,
    ):
        assert jitgrad.load(path, map_location=place).tolist() == [1.0]
    with pytest.raises(RuntimeError, match=r"move what load returns with .to\('cuda'\)"):
        jitgrad.load(path, map_location="cuda")
    with pytest.raises(ValueError, match="pickle_module"):
        jitgrad.load(path, pickle_module=pickle)
    with pytest.raises(FileNotFoundError):
        jitgrad.load(tmp_path / "none")


# ---------------------------------------------------------------- whole or not at all
def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    jitgrad.save(1, path)

    def broken(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        jitgrad.save(2, path)
    assert jitgrad.load(path) == 1
    assert os.listdir(tmp_path) == ["x"]


def test_links_and_modes(tmp_path: Path) -> None:
    path, link = tmp_path / "x", tmp_path / "link"
    link.symlink_to(path)
    before = os.umask(0o027)
    try:
        jitgrad.save(1, link)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


SAVING = """
import sys, jitgrad
x = jitgrad.zeros(1 << 19)
for i in range(10**6):
    jitgrad.save({"x": x + i, "i": i}, sys.argv[1])
    print(i, flush=True)
"""


def test_a_killed_process_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for delay in (0.0, 0.003, 0.007):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = jitgrad.load(path)
        assert (found["x"] == found["i"]).all()


# ---------------------------------------------------------------- damaged files
def test_damage_is_noticed_wherever_it_is(tmp_path: Path, torch: ModuleType) -> None:
    model = jitgrad.nn.Linear(2, 3)
    mine, theirs = io.BytesIO(), io.BytesIO()
    jitgrad.save(model.state_dict(), mine)
    torch.save({"weight": torch.ones(3, 2), "bias": torch.zeros(3)}, theirs)
    rng = np.random.default_rng(0)
    before = {k: v.tolist() for k, v in model.state_dict().items()}
    for whole in (mine.getvalue(), theirs.getvalue()):
        cuts = [whole[:n] for n in [*range(12), *rng.integers(12, len(whole) - 1, 40)]]
        for content in cuts:
            with pytest.raises(
                (RuntimeError, pickle.UnpicklingError), match="load|refused|damaged"
            ):
                model.load_state_dict(jitgrad.load(io.BytesIO(content)))
    # PyTorch's files have many bytes that mean nothing.
    whole, values = theirs.getvalue(), {"weight": [[1.0, 1.0]] * 3, "bias": [0.0] * 3}
    for at in rng.integers(0, len(whole), 600):
        broken = bytearray(whole)
        broken[at] = int(rng.integers(256))
        with contextlib.suppress(RuntimeError, pickle.UnpicklingError):
            found = jitgrad.load(io.BytesIO(bytes(broken)))
            assert {k: v.tolist() for k, v in found.items()} == values
    # Any byte of our own files.
    whole, harmless = mine.getvalue(), 0
    for at in rng.integers(0, len(whole), 150):
        broken = bytearray(whole)
        broken[at] ^= 1 << int(rng.integers(8))
        # It is refused, unless the bit means nothing.
        with contextlib.suppress(RuntimeError):
            found = jitgrad.load(io.BytesIO(bytes(broken)))
            assert {k: v.tolist() for k, v in found.items()} == before
            harmless += 1
    assert harmless < 15
    assert {k: v.tolist() for k, v in model.state_dict().items()} == before
    assert not list(tmp_path.iterdir())


def native(header: dict[str, Any], text: dict[str, Any], data: bytes) -> io.BytesIO:
    """A file of our own format with any header."""
    import json
    import zlib

    inner = json.dumps(text)
    header["__metadata__"] = {"jitgrad": inner, "jitgrad.crc32": str(zlib.crc32(inner.encode()))}
    head = json.dumps(header).encode()
    return io.BytesIO(struct.pack("<Q", len(head)) + head + data)


GEOMETRY: list[dict[str, Any]] = [
    {"shape": [5]},
    {"shape": [2], "stride": [4], "offset": 0},
    {"shape": [2], "stride": [1], "offset": 3},
    {"shape": [2], "stride": [-1], "offset": 1},
    {"shape": [2], "stride": [1], "offset": -1},
    {"shape": [-2]},
    {"shape": [1 << 62, 1 << 62], "stride": [0, 0], "offset": 0},
    {"shape": [1 << 40, 1 << 40], "stride": [0, 0], "offset": 0},
    {"shape": [1.0]},
    {"shape": [True]},
    {"shape": "12"},
    {"shape": [1, 1], "stride": [1], "offset": 0},
    {"shape": [1] * 9},
    {"shape": [1], "stride": [1], "offset": None},
    {"shape": None},
    {"entry": "other", "shape": [1]},
    {"entry": 3, "shape": [1]},
    {},
]


@pytest.mark.parametrize("number", range(len(GEOMETRY)))
def test_no_tensor_reaches_outside_its_memory(number: int) -> None:
    import zlib

    data = np.arange(4, dtype=np.float32).tobytes()
    header = {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    text = {"value": {"tensor": 0}, "crc32": {"x": zlib.crc32(data)}}
    good = {"entry": "x", "shape": [2, 2]}
    assert jitgrad.load(native(dict(header), {**text, "tensors": [good]}, data)).tolist() == [
        [0, 1],
        [2, 3],
    ]
    line = {"entry": "x", **GEOMETRY[number]}
    with pytest.raises(RuntimeError, match="can't be loaded"):
        jitgrad.load(native(dict(header), {**text, "tensors": [line]}, data))
    debug.check()


@pytest.mark.parametrize(
    "value",
    [
        {"tensor": 0},
        {"tensor": -1},
        {"tensor": True},
        {"eval": "1"},
        {"dict": 3},
        {"dict": [[1]]},
        {"dict": [[[1], 2]]},
        {"dtype": "object"},
        {"device": "nowhere"},
        {"bytes": "*"},
        {"complex": [1, 2, 3]},
        {},
        {"set": [[1]]},
        {"a": 1, "b": 2},
    ],
    ids=str,
)
def test_structures_that_cannot_be_are_refused(value: Any) -> None:
    with pytest.raises(RuntimeError, match="can't be loaded"):
        jitgrad.load(native({}, {"value": value, "tensors": [], "crc32": {}}, b""))


def test_deep_structures_are_refused() -> None:
    import zlib

    for text in (
        '{"value": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "[" * 300 + "]" * 300,
        "3",
        "{",
    ):
        import json

        meta = {"jitgrad": text, "jitgrad.crc32": str(zlib.crc32(text.encode()))}
        head = json.dumps({"__metadata__": meta}).encode()
        with pytest.raises(RuntimeError, match="can't be loaded"):
            jitgrad.load(io.BytesIO(struct.pack("<Q", len(head)) + head))


# ---------------------------------------------------------------- PyTorch's files
def from_torch(torch: ModuleType, value: Any, **options: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file, **options)
    file.seek(0)
    return jitgrad.load(file)


@pytest.mark.parametrize("protocol", [2, 4])
def test_pytorchs_checkpoints(torch: ModuleType, protocol: int) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
    model(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    base = torch.arange(6.0)
    value = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "parameter": model[0].weight,
        "leaf": torch.ones(1, requires_grad=True),
        "view": base.reshape(2, 3).t(),
        "base": base,
        "size": torch.Size([1, 2]),
        "dtype": [torch.float32, (torch.int64,)],
        "device": torch.device("cpu"),
        "dtypes": {name: torch.ones(2).to(getattr(torch, name)) for name in DTYPES},
        "plain": [None, True, 1, 2**70, -1.5, "text", b"bytes", (1,), {1, 2}, Counter([1])],
        "more": [1 - 2j, bytearray(b"\xff\0"), bytearray()],
        "empty": torch.zeros(0, 3),
    }
    found = from_torch(torch, value, pickle_protocol=protocol)
    assert list(found) == list(value)
    assert isinstance(found["model"], OrderedDict)
    assert found["model"]._metadata == value["model"]._metadata
    for key, tensor in value["model"].items():
        np.testing.assert_array_equal(found["model"][key].numpy(), tensor.numpy())
    assert type(found["parameter"]) is jitgrad.nn.Parameter
    assert found["leaf"].requires_grad
    assert found["leaf"].is_leaf
    assert found["view"].stride() == (1, 3)
    found["base"].fill_(3)
    assert found["view"].tolist() == [[3, 3]] * 3
    assert found["size"] == (1, 2)
    assert type(found["size"]) is jitgrad.Size
    assert found["dtype"] == [jitgrad.float32, (jitgrad.int64,)]
    assert found["device"] == jitgrad.device("cpu")
    assert {k: (v.dtype.name, v.tolist()) for k, v in found["dtypes"].items()} == {
        k: (k, v.tolist()) for k, v in value["dtypes"].items()
    }
    assert found["plain"] == value["plain"]
    assert found["more"] == value["more"]
    assert [type(x) for x in found["more"]] == [complex, bytearray, bytearray]
    assert found["empty"].shape == (0, 3)
    mine = [jitgrad.tensor(p.detach().numpy()).requires_grad_() for p in model.parameters()]
    other = jitgrad.optim.Adam(mine)
    other.load_state_dict(found["optimizer"])
    for p, q in zip(mine, model.parameters(), strict=True):
        p.grad = jitgrad.tensor(q.grad.numpy())
    other.step()
    optimizer.step()
    for p, q in zip(mine, model.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-7)
    debug.check()


def test_pytorchs_files_with_what_is_not_there(torch: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="ComplexFloatStorage: jitgrad has no such dtype"):
        from_torch(torch, torch.ones(1, dtype=torch.complex64))
    with pytest.raises(RuntimeError, match="bare pickle, such as PyTorch wrote before version 1.6"):
        from_torch(torch, torch.ones(1), _use_new_zipfile_serialization=False)
    with pytest.raises(pickle.UnpicklingError, match=r"global torch\.nn\.modules\.linear\.Linear"):
        from_torch(torch, torch.nn.Linear(1, 1))


def crafted(data: bytes, **members: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in members.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", content)
    file.seek(0)
    return file


class Attack:
    """Pickles as a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def attacks(marker: str) -> dict[str, Any]:
    command = f"touch {marker}"
    return {
        "posix.system": Attack(os.system, command),
        "eval": Attack(eval, f"__import__('os').system({command!r})"),
        "exec": Attack(exec, f"import os; os.system({command!r})"),
        "getattr": Attack(getattr, Attack(__import__, "os"), "system"),
        "subprocess.Popen": Attack(subprocess.Popen, ["touch", marker]),
        "open": Attack(open, marker, "w"),
        "pickle.*loads": Attack(pickle.loads, b"."),
        "partial": Attack(__import__("functools").partial, os.system),
        "_rebuild": Attack(jitgrad.tensor.__globals__["_new"], (1,), jitgrad.float32),
    }


@pytest.mark.parametrize("name", attacks(""))
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_calls_are_refused_by_name(tmp_path: Path, name: str, protocol: int) -> None:
    marker = tmp_path / "owned"
    attack = attacks(str(marker))[name]
    for value in (attack, {"state": [attack]}, OrderedDict(a=attack)):
        with pytest.raises(pickle.UnpicklingError, match="refused.* asks for the global"):
            jitgrad.load(crafted(pickle.dumps(value, protocol)))
    assert not marker.exists()


OD = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
RAW: dict[str, tuple[bytes, str]] = {
    "build on a global": (
        REBUILD + b"}X\x01\x00\x00\x00aK\x01sb.",
        "sets attributes of torch._utils",
    ),
    "build with slots": (REBUILD + b"N}X\x0c\x00\x00\x00__defaults__)s\x86b.", "sets attributes"),
    "build on an instance": (OD + b")R}X\x09\x00\x00\x00__class__K\x01sb.", "sets attributes"),
    "build on a list": (b"]}b.", "sets attributes of list"),
    "call a value": (b"X\x01\x00\x00\x00a)R.", "calls a str"),
    "call a result": (OD + b")R)R.", "calls a OrderedDict"),
    "call a dtype": (b"ctorch\nfloat32\n)R.", "calls the global torch.float32"),
    "a class by itself": (OD + b".", "global collections.OrderedDict stands where"),
    "inst": (b"(ios\nsystem\n.", "opcode INST"),
    "obj": (b"(" + OD + b"o.", "opcode OBJ"),
    "newobj_ex": (OD + b")}\x92.", "opcode NEWOBJ_EX"),
    "extension": (b"\x82\x01.", "opcode EXT1"),
    "text persistent id": (b"Pstorage\n.", "opcode PERSID"),
    "dunder": (b"ccollections\n__builtins__\n.", "global collections.__builtins__"),
    "dotted": (b"\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", "OrderedDict.__init__"),
    "unnamed": (b"K\x01K\x02\x93.", "name is no string"),
    "no stop": (b"K\x01", "damaged|no end"),
    "two values": (b"K\x01K\x02.", "damaged"),
    "nothing": (b".", "damaged"),
    "memo": (b"h\x05.", "damaged"),
    "no mark": (b"t.", "damaged"),
    "short tuple": (b"K\x01\x86.", "damaged"),
    "items for a tuple": (b")K\x01a.", "damaged"),
    "a list as key": (b"}]K\x01s.", "damaged"),
    "a huge string": (b"X\xff\xff\xff\x7fa.", "damaged"),
    "a huge integer": (b"\x8b\xff\xff\xff\x7fa.", "damaged"),
    "a huge memo place": (b"K\x01r\xff\xff\xff\xff.", "^$"),
    "no storage": (b"K\x01Q.", "no storage"),
    "storage of a system call": (
        b"(X\x07\x00\x00\x00storagecos\nsystem\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
        "global os.system",
    ),
    "storage outside": (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x10\x00\x00\x00../../etc/passwd"
        b"X\x03\x00\x00\x00cpuK\x01tQ.",
        "damaged|missing",
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_tricks_with_opcodes(name: str) -> None:
    data, words = RAW[name]
    if words == "^$":
        assert jitgrad.load(crafted(data)) == 1
        return
    with pytest.raises((pickle.UnpicklingError, RuntimeError), match=words):
        jitgrad.load(crafted(data))


def storage(kind: str, name: str, numel: int) -> bytes:
    text = b"X" + struct.pack("<I", len(name)) + name.encode()
    number = b"J" + struct.pack("<i", numel)
    return (
        b"(X\x07\x00\x00\x00storagectorch\n" + kind.encode() + b"\n" + text
        + b"X\x03\x00\x00\x00cpu" + number + b"tQ"
    )  # fmt: skip


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values) + b"t"


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (5,), (1,)),
        (3, (2,), (1,)),
        (0, (2,), (1 << 40,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (2,), (-1,)),
        (1 << 62, (1,), (1,)),
        (0, (1 << 62, 4), (0, 0)),
        (0, (2, 2), (1,)),
        (0, (1,) * 9, (1,) * 9),
    ],
)
def test_pytorchs_tensors_stay_within_their_storage(offset: int, shape: Any, stride: Any) -> None:
    memory = np.arange(4, dtype=np.float32).tobytes()

    def tensor(offset: int, shape: Any, stride: Any, kind: str = "FloatStorage", n: int = 4) -> Any:
        at = b"\x8a\x08" + struct.pack("<q", offset)
        body = storage(kind, "0", n) + at + numbers(*shape) + numbers(*stride)
        pkl = REBUILD + b"(" + body + b"\x89" + OD + b")RtR."
        return jitgrad.load(crafted(pkl, data__0=memory))

    assert tensor(1, (3,), (1,)).tolist() == [1, 2, 3]
    with pytest.raises(RuntimeError, match="can't be loaded"):
        tensor(offset, shape, stride)
    for kind, n in (("FloatStorage", 5), ("FloatStorage", -1), ("DoubleStorage", 3)):
        with pytest.raises(RuntimeError, match="has 16 bytes for"):
            tensor(0, (1,), (1,), kind, n)
    debug.check()


def test_bombs_are_refused_or_harmless() -> None:
    # Tuples of tuples: 2**60 of them, if somebody counted.
    bomb = b"K\x01K\x02\x86" + b"q\x00h\x00\x86" * 60
    found = jitgrad.load(crafted(bomb + b"."))
    assert type(found) is tuple
    for use in (b"}" + bomb + b"K\x01s.", b"\x8f(" + bomb + b"\x90.", bomb + b"Q."):
        with pytest.raises((pickle.UnpicklingError, RuntimeError)):
            jitgrad.load(crafted(use))
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        jitgrad.load(crafted(b"]" * 100_000 + b"a" * 99_999 + b"."))
    # A compressed member, and two directory entries for the same bytes.
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"N" * 10_000_000 + b".")
    file.seek(0)
    with pytest.raises(RuntimeError, match="compressed"):
        jitgrad.load(file)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"N.")
        archive.writestr("archive/data/0", b"0" * 100_000)
        for k in range(1, 50):
            info = zipfile.ZipInfo(f"archive/data/{k}")
            first = archive.getinfo("archive/data/0")
            info.header_offset, info.CRC = first.header_offset, first.CRC
            info.file_size = info.compress_size = first.file_size
            archive.filelist.append(info)
    file.seek(0)
    with pytest.raises(RuntimeError, match="overlap"):
        jitgrad.load(file)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (Attack(bytearray, 10**12), "not made of bytes"),
        (Attack(complex, "1", 2), "two floats"),
        (Attack(bytearray, "x", "idna"), "does not make bytes"),
    ],
)
def test_plain_values_are_made_of_plain_values(call: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        jitgrad.load(crafted(pickle.dumps(call, 2)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_odd_zip_files() -> None:
    for names, words in (
        (["archive/x"], "no data.pkl"),
        (["../data.pkl", "archive/data.pkl"], "or several"),
        (["archive/data.pkl", "archive/data.pkl"], "same name"),
        (["/etc/data.pkl"], "no data.pkl"),
    ):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"N.")
        file.seek(0)
        with pytest.raises(RuntimeError, match=words):
            jitgrad.load(file)
    with pytest.raises(RuntimeError, match="byte order is 'big'"):
        jitgrad.load(crafted(b"N.", byteorder=b"big"))
    assert jitgrad.load(crafted(b"N.")) is None
