"""The disk cache of object code.

A file is named after the hash of everything its content follows from: the sources of the engine, the
op's own row, the versions of Numba, llvmlite and Python, and the processor.  So nothing in it is ever
stale: after an edit or an upgrade other names are looked for.  A file holds the SHA-256 of the rest of
itself and no pickle; it is machine code that will run, so the folder belongs to its owner alone.

Files appear by renaming a finished temporary file, so any number of processes can fill the cache at the
same time.  What cannot be read or does not match its hash is compiled again, with one warning a process.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import struct
import sys
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

#: The C symbols of a unit's functions, and the object files that hold them.
Compiled = tuple[list[str], list[bytes]]

_MAGIC = b"jitgrad object cache 1\n"
_warned = False
_unwritable = False


def folder() -> Path:
    """Where compiled kernels are kept: ``$JITGRAD_CACHE_DIR``, else the platform's user cache folder."""
    chosen = os.environ.get("JITGRAD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "jitgrad"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return Path(base or Path.home() / "AppData" / "Local") / "jitgrad" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "jitgrad"
    return Path.home() / ".cache" / "jitgrad"


def _processor() -> str:
    import llvmlite.binding as llvm

    return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


_environment: bytes | None = None


def environment() -> bytes:
    """Hash of what every kernel depends on: the engine's sources, the versions, the processor."""
    global _environment
    if _environment is None:
        digest = hashlib.sha256()
        root = Path(__file__).parent.parent
        # Of ops/ compiled code takes only what the name of its unit holds too: the row of the op, the
        # numbers of the ops that the core knows.  So a new op compiles itself alone.
        sources = [root / "dtypes.py", root / "ops" / "table.py", root / "ops" / "build.py"]
        for package in ("arena", "kernels"):
            sources += sorted((root / package).glob("*.py"))
        for path in sources:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        for package in ("numba", "llvmlite"):
            digest.update(f"{package} {metadata.version(package)};".encode())
        digest.update(f"{sys.version};{platform.machine()};{sys.platform};{_processor()}".encode())
        _environment = digest.digest()
    return _environment


def key(name: str) -> str:
    """Name of the file for a unit of that name."""
    return hashlib.sha256(environment() + name.encode()).hexdigest()[:40]


def _complain(what: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(f"jitgrad's kernel cache: {what}", RuntimeWarning, stacklevel=4)


def has(name: str) -> bool:
    """Whether there is a file for a unit, whole or not."""
    return (folder() / f"{key(name)}.jgo").exists()


def read(name: str) -> Compiled | None:
    """What is stored under a name, or None."""
    path = folder() / f"{key(name)}.jgo"
    try:
        _check_owner(path.parent)
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _complain(f"cannot read {path} ({error}); compiling instead")
        return None
    head = len(_MAGIC) + 32
    body = data[head:]
    if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != data[len(_MAGIC) : head]:
        _complain(f"{path} is damaged; compiling it again")
        return None
    (size,) = struct.unpack("<I", body[:4])
    objects = []
    at = 4 + size
    symbols, lengths = json.loads(body[4:at])
    for length in lengths:
        objects.append(body[at : at + length])
        at += length
    return symbols, objects


def write(name: str, compiled: Compiled) -> None:
    """Store under a name; does nothing, after one warning, where the folder cannot be written."""
    global _unwritable
    if _unwritable:
        return
    symbols, objects = compiled
    table = json.dumps([symbols, [len(code) for code in objects]]).encode()
    body = struct.pack("<I", len(table)) + table + b"".join(objects)
    where = folder()
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(where)
        handle, temporary = tempfile.mkstemp(dir=where, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            os.replace(temporary, where / f"{key(name)}.jgo")
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        _unwritable = True
        _complain(f"cannot write to {where} ({error}); kernels are compiled anew in every process")


def writable() -> bool:
    """Whether what is compiled can be kept."""
    where = folder()
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(where)
    except OSError:
        return False
    return os.access(where, os.W_OK)


def _check_owner(where: Path) -> None:
    """Refuse a folder in which somebody else could have put code (POSIX; Windows profiles are private)."""
    if not hasattr(os, "getuid"):
        return
    status = where.stat()
    if status.st_uid != os.getuid():
        raise PermissionError(f"{where} belongs to another user")
    if status.st_mode & 0o022:
        raise PermissionError(f"{where} can be written by other users; chmod it to 700")
