"""save and load: which format a file has, writing it whole or not at all."""

from __future__ import annotations

import os
import secrets
from typing import Any

from jitgrad.devices import device
from jitgrad.serialization import native
from jitgrad.serialization.geometry import BadFile


def save(obj: Any, f: Any) -> None:
    """Write tensors, and what holds them, to a file in the safetensors format.

    Dicts, lists, tuples, sets, numbers, strings, dtypes and None keep their types, tensors their strides;
    tensors that share memory still do when they are loaded.  A file is complete or is not there: a process
    that is killed meanwhile leaves what was there before.

    Parameters
    ----------
    obj
        A tensor, a state dict, or any nesting of those.
    f : str, path or file
        Where to; a file must be open for writing bytes.

    Raises
    ------
    TypeError
        For a value of another type, named with its place.
    ValueError
        If containers are nested too deep, or contain themselves.

    Examples
    --------
    >>> import io, jitgrad
    >>> file = io.BytesIO()
    >>> jitgrad.save({"weight": jitgrad.ones(2), "step": 3}, file)
    >>> _ = file.seek(0)
    >>> jitgrad.load(file)
    {'weight': tensor([1., 1.]), 'step': 3}
    """
    from safetensors import numpy

    content = numpy.save(*native.pack(obj))
    if hasattr(f, "write"):
        f.write(content)
    else:
        _replace(f, content)


def _replace(target: Any, content: bytes) -> None:
    """Write a file beside the target, see to it that it is on the disk, and put it in the target's place."""
    real = os.path.realpath(target)
    folder = os.path.dirname(real)
    temporary = f"{real}.{secrets.token_hex(6)}.tmp"
    # Not by `tempfile`: the mode is to follow the umask.
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, real)
    except BaseException:
        os.unlink(temporary)
        raise
    if os.name == "posix":
        # The new name too is to be on the disk.
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: None = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
) -> Any:
    """Read what `save` or ``torch.save`` wrote; no code in a file is ever run.

    Of PyTorch's files, those that hold tensors in dicts, lists and tuples with numbers and strings (state
    dicts, mostly) can be read.  A safetensors file of others is a dict of tensors.

    Parameters
    ----------
    f : str, path or file
        A file must be open for reading bytes and be able to seek.
    map_location : optional
        The CPU, in any of PyTorch's forms.
    weights_only, mmap : optional
        Accepted; a file's code is not run in any case.

    Raises
    ------
    pickle.UnpicklingError
        If a PyTorch file asks for anything but tensors and plain containers; it names what.
    RuntimeError
        If the file is damaged, cut short, or none of the known kinds, or ``map_location`` is not the CPU.

    Examples
    --------
    >>> import jitgrad, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> jitgrad.save(jitgrad.nn.Linear(2, 1).state_dict(), path)
    >>> list(jitgrad.load(path))
    ['weight', 'bias']
    """
    if pickle_module is not None:
        raise ValueError("pickle_module: jitgrad.load does not unpickle")
    _check_location(map_location)
    if not hasattr(f, "read"):
        with open(f, "rb") as file:
            return _load(file, str(f))
    return _load(f, str(getattr(f, "name", "the file")))


def _check_location(where: Any) -> None:
    """Refuse a place that is not the CPU; a function's answer cannot change where tensors are."""
    if where is None or callable(where):
        return
    for one in where.values() if isinstance(where, dict) else [where]:
        if device(one).type != "cpu":
            raise RuntimeError(
                f"map_location {one}: files are read into the memory of the cpu; move what load returns"
                f" with .to('{one}')"
            )


def _load(file: Any, name: str) -> Any:
    start = file.tell()
    head = file.read(8)
    file.seek(start)
    try:
        if head[:4] == b"PK\x03\x04":
            from jitgrad.serialization import torch_zip

            return torch_zip.load(file)
        if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise BadFile(
                "a bare pickle, such as PyTorch wrote before version 1.6; load it with PyTorch and"
                " save it again"
            )
        return _load_native(file.read())
    except BadFile as error:
        raise RuntimeError(f"{name} can't be loaded: {error}") from None


def _load_native(content: bytes) -> Any:
    import safetensors
    from safetensors import numpy

    try:
        arrays = numpy.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadFile(f"no complete safetensors file ({error})") from None
    metadata = native.read_metadata(content)
    checked = {name: native.supported(values, metadata) for name, values in arrays.items()}
    return native.unpack(checked, metadata)
