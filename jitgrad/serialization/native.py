"""jitgrad's own files: safetensors, with the structure around the tensors in the header's metadata.

A tensor that shares its memory with no other is an ordinary entry, named after its place
(``model.0.weight``), which any reader of safetensors finds.  Tensors that share memory have one flat entry;
the metadata says which part of it each one shows.  Entries and metadata carry checksums.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.serialization.geometry import BadFile, extent, flat, memory, show, storage_of
from jitgrad.serialization.structure import decode, encode
from jitgrad.tensor import Tensor

_KEY = "jitgrad"
_CHECK = "jitgrad.crc32"

Arrays = dict[str, np.ndarray[Any, Any]]


def _crc(values: np.ndarray[Any, Any]) -> int:
    flat_bytes: Any = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return zlib.crc32(flat_bytes)


def pack(value: Any) -> tuple[Arrays, dict[str, str]]:
    """The entries and the metadata of a file for a value."""
    found: list[tuple[str, Tensor]] = []
    structure = encode(value, found)
    originals = [x for _, x in found]
    found = list(zip((place for place, _ in found), _on_cpu(originals), strict=True))
    groups: dict[tuple[int, int], list[tuple[str, Tensor]]] = {}
    for place, x in found:
        groups.setdefault(storage_of(x), []).append((place, x))
    arrays: Arrays = {}
    where: dict[tuple[int, int], tuple[str, int]] = {}
    for storage, members in groups.items():
        name = members[0][0].lstrip(".").encode("utf-8", "replace").decode() or "value"
        while name in arrays or name == "__metadata__":
            name += "'"
        first = members[0][1]
        if len(members) == 1 and (first.is_contiguous() or not _dense(first)):
            # Of a view that shows little of a large memory only the elements are kept.
            arrays[name] = np.ascontiguousarray(first._memory()).reshape(tuple(first.shape))
            where[storage] = name, -1
        else:
            spans = [extent(x) for _, x in members if x.numel()] or [(0, 0)]
            start, stop = min(s for s, _ in spans), max(e for _, e in spans)
            arrays[name] = flat(max((x for _, x in members), key=Tensor.numel), start, stop)
            where[storage] = name, start
    table = []
    for (_, x), original in zip(found, originals, strict=True):
        name, start = where[storage_of(x)]
        line: dict[str, Any] = {"entry": name, "shape": list(x.shape)}
        if start >= 0 and x.numel():
            line |= {"stride": list(x.stride()), "offset": x.storage_offset() - start}
        if original.requires_grad:
            line["requires_grad"] = True
        if type(original).__name__ != "Tensor":
            line["class"] = type(original).__name__
        table.append(line)
    checks = {name: _crc(values) for name, values in arrays.items()}
    text = json.dumps({"value": structure, "tensors": table, "crc32": checks})
    metadata = {"format": "np", _KEY: text, _CHECK: str(zlib.crc32(text.encode()))}
    return arrays, metadata


def _on_cpu(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors, of those on the GPU copies with the same strides; what shares memory there still does."""
    ends: dict[tuple[Any, Any], int] = {}
    for x in tensors:
        if x.is_cuda:
            key = storage_of(x), x.dtype
            ends[key] = max(ends.get(key, 0), extent(x)[1] if x.numel() else 0)
    copies: dict[tuple[Any, Any], Tensor] = {}
    found = []
    for x in tensors:
        if x.is_cuda:
            key = storage_of(x), x.dtype
            if key not in copies:
                copies[key] = x.detach().as_strided((ends[key],), (1,), 0).cpu()
            x = copies[key].as_strided(tuple(x.shape), x.stride(), x.storage_offset())
        found.append(x)
    return found


def _dense(x: Tensor) -> bool:
    """Whether a tensor shows every element of its part of the memory once, in whatever order."""
    start, stop = extent(x)
    return stop - start == x.numel()


def read_metadata(head: bytes) -> dict[str, str]:
    """The metadata in the first bytes of a safetensors file, whose form has been checked."""
    (size,) = struct.unpack("<Q", head[:8])
    found: dict[str, str] = json.loads(head[8 : 8 + size]).get("__metadata__", {})
    return found


def unpack(arrays: Arrays, metadata: dict[str, str]) -> Any:
    """The value of a file's entries and metadata; of a foreign file, a dict of tensors by name.

    Raises
    ------
    BadFile
        If a checksum does not match, or a tensor does not fit its entry.
    """
    text = metadata.get(_KEY)
    if text is None:
        return {name: memory(a).reshape(a.shape) for name, a in sorted(arrays.items())}
    if str(zlib.crc32(text.encode())) != metadata.get(_CHECK):
        raise BadFile("the header's checksum does not match")
    try:
        content = json.loads(text)
        table, checks, structure = content["tensors"], content["crc32"], content["value"]
        for name, values in arrays.items():
            if checks.get(name) != _crc(values):
                raise BadFile(f"the checksum of {name!r} does not match")
        bases: dict[str, Tensor] = {}
        tensors = [_tensor(line, arrays, bases) for line in table]
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise BadFile(f"the header is not of jitgrad's form: {error!r}") from None
    return decode(structure, tensors)


def _tensor(line: dict[str, Any], arrays: Arrays, bases: dict[str, Tensor]) -> Tensor:
    name = line["entry"]
    if name not in bases:
        bases[name] = memory(arrays[name])
    shape = line["shape"]
    if "stride" in line:
        made = show(bases[name], line["offset"], shape, line["stride"])
    else:
        stride = [1] * len(shape)
        for d in range(len(shape) - 1, 0, -1):
            stride[d - 1] = stride[d] * max(shape[d], 1)
        made = show(bases[name], 0, shape, stride)
    return finished(made, line.get("class") == "Parameter", line.get("requires_grad") is True)


def finished(x: Tensor, parameter: bool, requires_grad: bool) -> Tensor:
    """A loaded tensor as the Parameter or leaf that it was."""
    if requires_grad and not x.dtype.is_floating_point:
        raise BadFile(f"a tensor of dtype {x.dtype} that requires grad")
    if parameter:
        from jitgrad.nn.parameter import Parameter

        return Parameter(x, requires_grad)
    if requires_grad:
        entry.flag(x, col.F_REQUIRES_GRAD, 1)
    return x


def supported(values: np.ndarray[Any, Any], metadata: dict[str, str]) -> np.ndarray[Any, Any]:
    """An entry of a file with that metadata, if there is a dtype for it.

    Raises
    ------
    BadFile
        If there is none.
    """
    if _KEY in metadata and values.dtype == np.uint16:
        return values  # the bits of bfloat16
    try:
        dtypes.from_numpy(values.dtype)
    except TypeError:
        raise BadFile(f"an entry of dtype {values.dtype}, which jitgrad does not have") from None
    return values
