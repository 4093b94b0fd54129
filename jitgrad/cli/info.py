"""``jitgrad info``: what there is to know about this installation."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

from jitgrad.bench import machine
from jitgrad.bench.results import size
from jitgrad.cli import tables

HELP = """Show versions, processor, threads, BLAS, the cache of compiled code, and memory.

[bold]Example[/]

    jitgrad info
"""


def cache_files(folder: Path) -> list[Path]:
    """The files of compiled code in a folder."""
    return sorted(folder.glob("*.jgo")) if folder.is_dir() else []


def cache_text(folder: Path) -> str:
    """How many files the cache holds, and how large they are."""
    files = cache_files(folder)
    return f"{len(files)} files, {size(sum(f.stat().st_size for f in files))}"


def cuda_text() -> str:
    """The device that tensors can be on beside the processor's memory, or that there is none."""
    import jitgrad

    cuda = getattr(jitgrad, "cuda", None)
    if cuda is None or not cuda.is_available():
        return "no device"
    return f"{cuda.get_device_name()}, {cuda.device_count()} in all"


def cublas_text() -> str:
    """What multiplies matrices on the GPU."""
    from jitgrad.cuda import cublas

    return cublas.text()


def facts() -> dict[str, str]:
    """Everything, name by name."""
    from numba.np.ufunc.parallel import threading_layer

    import jitgrad
    from jitgrad.arena import blas
    from jitgrad.arena.engine import load_parallel
    from jitgrad.arena.inspect import memory_stats
    from jitgrad.arena.threads import get_num_threads
    from jitgrad.kernels import cache

    def version(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "not installed"

    try:
        # As the arena does it, or a child of this process would not know that there are threads.
        load_parallel()
        layer = str(threading_layer())  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        layer = f"none ({error})"

    stats = memory_stats()
    library = getattr(blas._library, "_name", None)
    folder = cache.folder()
    packages = ("numba", "llvmlite", "numpy", "scipy", "torch", "jax", "autograd", "matplotlib")
    return {
        "jitgrad": f"{jitgrad.__version__} in {Path(jitgrad.__file__).parent}",
        "python": f"{sys.version.split()[0]} in {sys.prefix}",
        **{name: version(name) for name in packages},
        "processor": machine.processor(),
        "cores": f"{machine.usable_cores()} usable of {os.cpu_count()}",
        "threads": f"{get_num_threads()}, layer {layer}",
        "BLAS": f"NumPy's: {library}" if library else "SciPy's (scipy.linalg.cython_blas)",
        "CUDA": cuda_text(),
        "cuBLAS": cublas_text(),
        "cache folder": str(folder),
        "cache": cache_text(folder),
        "live memory": f"{size(stats['live_bytes'])} in {stats['live_storages']} storages",
        "memory pool": f"{size(stats['pool_bytes'])} of at most {size(stats['pool_limit'])}",
        "environment": ", ".join(
            f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("JITGRAD_")
        )
        or "no JITGRAD_ variables",
    }


def info() -> None:
    """See HELP."""
    out = tables.console()
    for name, value in facts().items():
        out.print(f"{name + ':':<14} {value}", markup=False, soft_wrap=True)
