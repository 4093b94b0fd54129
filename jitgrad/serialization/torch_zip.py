"""PyTorch's checkpoints: a zip file with a pickle of the structure and a member for each storage.

The pickle goes through `restricted`.  Members are only looked up by their exact names, never extracted, and
must be stored as they are, as PyTorch does: then no member is larger than the file.
"""

from __future__ import annotations

import pickle
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from typing import Any

import numpy as np

from jitgrad import dtypes
from jitgrad.devices import device
from jitgrad.serialization.geometry import BadFile, memory, show
from jitgrad.serialization.native import finished
from jitgrad.serialization.restricted import Machine, Name, Table, hashable
from jitgrad.size import Size
from jitgrad.tensor import Tensor

_STORAGES = {
    "BoolStorage": dtypes.bool,
    "ByteStorage": dtypes.uint8,
    "CharStorage": dtypes.int8,
    "ShortStorage": dtypes.int16,
    "IntStorage": dtypes.int32,
    "LongStorage": dtypes.int64,
    "FloatStorage": dtypes.float32,
    "DoubleStorage": dtypes.float64,
    "HalfStorage": dtypes.float16,
    "BFloat16Storage": dtypes.bfloat16,
}
_UNKNOWN = ("ComplexFloatStorage", "ComplexDoubleStorage")


_DTYPES = {f"torch.{d.name}": d for d in dtypes.ALL}


def _plain(value: Any) -> Any:
    """The value with names of dtypes replaced by them; lists and dicts are changed in place."""
    # Each container once: tuples of the same tuples would take for ever.
    done: dict[int, Any] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, Name):
            found = _DTYPES.get(value.name)
            if found is None:
                raise BadFile(f"the global {value.name} stands where a value should")
            return found
        if id(value) in done:
            return done[id(value)]
        if isinstance(value, (list, dict)):
            done[id(value)] = value
            for key in range(len(value)) if isinstance(value, list) else list(value):
                value[key] = walk(value[key])
        elif type(value) is tuple:
            # The old tuple is kept with the new one, so that its id is not used again.
            done[id(value)] = made = tuple(walk(item) for item in value)
            kept.append(value)
            return made
        return value

    kept: list[Any] = []
    try:
        return walk(value)
    except RecursionError:
        raise BadFile("containers are nested too deep, or contain themselves") from None


class _Archive:
    """The members of a checkpoint and the storages made from them."""

    def __init__(self, members: zipfile.ZipFile, size: int) -> None:
        self.members = members
        infos = members.infolist()
        names = [info.filename for info in infos]
        if len(set(names)) != len(names):
            raise BadFile("two members of the zip file have the same name")
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise BadFile(
                    f"the member {info.filename[:80]!r} is compressed, which PyTorch's never are"
                )
        if sum(info.file_size for info in infos) > size:
            raise BadFile("the members of the zip file overlap")
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise BadFile("no PyTorch checkpoint: the zip file has no data.pkl, or several")
        self.prefix = pickles[0].removesuffix("data.pkl")
        self.names = set(names)
        self.storages: dict[str, tuple[dtypes.dtype, Tensor]] = {}
        order = self.read("byteorder").decode("ascii", "replace") if self.has("byteorder") else ""
        if order not in ("", sys.byteorder):
            raise BadFile(f"its byte order is {order[:20]!r}, this machine's is {sys.byteorder!r}")

    def has(self, name: str) -> bool:
        return self.prefix + name in self.names

    def read(self, name: str) -> bytes:
        if not self.has(name):
            raise BadFile(f"the member {name[:80]!r} is missing")
        return self.members.read(self.prefix + name)

    def storage(self, key: Any) -> Tensor:
        """What a persistent id stands for: a storage, as a flat tensor."""
        if type(key) is not tuple or len(key) != 5 or key[0] != "storage":
            raise BadFile("a reference to something that is no storage")
        _, kind, name, _, numel = key
        if not isinstance(kind, Name) or type(name) is not str or type(numel) is not int:
            raise BadFile("a reference to a storage that names no dtype, member or size")
        kind_name = kind.name.removeprefix("torch.")
        if kind_name in _UNKNOWN:
            raise BadFile(f"it has tensors in {kind.name}: jitgrad has no such dtype")
        if kind_name not in _STORAGES:
            raise BadFile(f"{kind.name} is no storage")
        dtype = _STORAGES[kind_name]
        if name not in self.storages:
            data = self.read(f"data/{name}")
            if len(data) % dtype.itemsize or not 0 <= numel <= len(data) // dtype.itemsize:
                raise BadFile(
                    f"the storage {name[:80]!r} has {len(data)} bytes for {numel} {dtype}"
                )
            values = np.frombuffer(data, np.uint8 if dtype is dtypes.bool else dtype.numpy)
            if dtype is dtypes.bool:
                values = values != 0
            self.storages[name] = dtype, memory(values)
        known, base = self.storages[name]
        if known is not dtype:
            raise BadFile(f"the storage {name[:80]!r} is used as {known} and as {dtype}")
        return base


def _tensor(base: Any, offset: Any, shape: Any, stride: Any, requires_grad: Any, *_: Any) -> Tensor:
    if not isinstance(base, Tensor):
        raise BadFile("a tensor that has no storage")
    return finished(show(base, offset, shape, stride), False, requires_grad is True)


def _parameter(data: Any, requires_grad: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise BadFile("a parameter that is no tensor")
    return finished(data.detach(), True, requires_grad is True)


def _size(sizes: Any = ()) -> Size:
    if not isinstance(sizes, (tuple, list)) or any(type(n) is not int for n in sizes):
        raise BadFile("a torch.Size that is no list of numbers")
    return Size(sizes)


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((hashable(key), value) for key, value in pairs)


def _counter(counts: Any = ()) -> Counter[Any]:
    if not isinstance(counts, dict) or any(type(n) is not int for n in counts.values()):
        raise BadFile("a Counter that is no dict of numbers")
    return Counter(counts)


def _set(items: Any = ()) -> set[Any]:
    return {hashable(item) for item in items}


def _bytes(text: Any, encoding: Any) -> bytes:
    """How older pickles write bytes."""
    if type(text) is not str or encoding != "latin1":
        raise BadFile("a call of _codecs.encode that does not make bytes")
    return text.encode("latin1")


def _bytearray(data: Any = b"", encoding: Any = "latin1") -> bytearray:
    if isinstance(data, str):
        return bytearray(_bytes(data, {"latin-1": "latin1"}.get(encoding, encoding)))
    if type(data) is not bytes:
        raise BadFile("a bytearray that is not made of bytes")
    return bytearray(data)


def _complex(real: Any, imag: Any) -> complex:
    if type(real) is not float or type(imag) is not float:
        raise BadFile("a complex number that is not made of two floats")
    return complex(real, imag)


def _device(*_: Any) -> device:
    return device("cpu")  # where everything is loaded to


TABLE: Table = {
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "_codecs.encode": _bytes,
    **{
        f"{module}.{name}": make
        for module in ("__builtin__", "builtins")
        for name, make in (("set", _set), ("bytearray", _bytearray), ("complex", _complex))
    },
    **dict.fromkeys((f"torch.{name}" for name in (*_STORAGES, *_UNKNOWN)), None),
    **dict.fromkeys(_DTYPES, None),
}


def load(file: Any) -> Any:
    """The value of a checkpoint.

    Raises
    ------
    pickle.UnpicklingError
        If its pickle asks for anything but tensors and plain data.
    BadFile
        If the file is damaged or no checkpoint.
    """
    start = file.tell()
    size = file.seek(0, 2)
    file.seek(start)
    try:
        with zipfile.ZipFile(file) as members:
            archive = _Archive(members, size)
            value = Machine(TABLE, archive.storage).run(archive.read("data.pkl"))
    except (BadFile, pickle.UnpicklingError):
        raise
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        OSError,
        OverflowError,
        RuntimeError,
        ValueError,
        struct.error,
    ) as error:
        raise BadFile(f"the zip file is damaged: {error}") from None
    return _plain(value)
