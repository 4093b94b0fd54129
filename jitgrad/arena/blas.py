"""Finding BLAS without importing anything slow: the OpenBLAS that NumPy brought along, else SciPy's.

Jitted code calls ``sgemm`` and ``dgemm`` by address, through Fortran's interface.  NumPy's wheels carry an
OpenBLAS that is loaded already; where there is none (Accelerate, MKL, distribution packages),
`scipy.linalg.cython_blas` gives the addresses, at the price of importing it (0.2 s).
"""

from __future__ import annotations

import ctypes
import glob
import os
import sys
from typing import Any

import numpy as np

from jitgrad.arena import columns as col
from jitgrad.arena.header import header

_library: Any = None
_suffix = ""


def _bundled() -> tuple[int, int] | None:
    """``sgemm`` and ``dgemm`` of NumPy's own OpenBLAS."""
    global _library, _suffix
    root = os.path.dirname(np.__file__)
    folders = [os.path.join(os.path.dirname(root), "numpy.libs"), os.path.join(root, ".dylibs")]
    for folder in folders:
        for path in glob.glob(os.path.join(folder, "*openblas*")):
            try:
                library = ctypes.CDLL(path)
            except OSError:
                continue
            for suffix in ("64_", ""):
                names = [f"scipy_{k}gemm_{suffix}" for k in "sd"]
                if all(hasattr(library, n) for n in names):
                    _library, _suffix = library, suffix
                    found = [ctypes.cast(getattr(library, n), ctypes.c_void_p).value for n in names]
                    return int(found[0] or 0), int(found[1] or 0)
    return None


def _from_scipy() -> tuple[int, int]:
    from scipy.linalg import cython_blas

    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    capsules = cython_blas.__pyx_capi__
    addresses = [get(capsules[n], get_name(capsules[n])) for n in ("sgemm", "dgemm")]
    return int(addresses[0]), int(addresses[1])


def _threads(kind: str) -> Any:
    """The bundled library's function that tells (``get``) or sets its number of threads, or None."""
    for prefix in ("scipy_", ""):
        found = getattr(_library, f"{prefix}openblas_{kind}_num_threads{_suffix}", None)
        if found is not None:
            return found
    return None


def start() -> None:
    """Put the addresses into the header."""
    found = None
    if sys.byteorder == "little" and os.environ.get("JITGRAD_BLAS") != "scipy":
        found = _bundled()
    header[col.H_GEMM32], header[col.H_GEMM64] = found or _from_scipy()
    tell, limit = _threads("get"), _threads("set")
    if tell is not None and limit is not None:
        header[col.H_BLAS_THREADS] = ctypes.cast(tell, ctypes.c_void_p).value or 0
        header[col.H_BLAS_LIMIT] = ctypes.cast(limit, ctypes.c_void_p).value or 0


def set_threads(n: int) -> None:
    """Let BLAS use so many threads where NumPy calls it, if its library has a call for that."""
    limit = _threads("set")
    if limit is not None:
        limit(ctypes.c_int(n))
