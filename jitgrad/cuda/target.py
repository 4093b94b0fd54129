"""The one place that imports numba.cuda: the compiler for the GPU, or its simulator.

numba-cuda is in maintenance and has a successor; what is used of it is what the successor has as well:
``cuda.compile`` to PTX, the thread indices, shared memory and libdevice.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from jitgrad import dtypes

#: Whether kernels run in numba's simulator, thread by thread, in Python (``NUMBA_ENABLE_CUDASIM=1``).
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
#: Whether numba-cuda is there (``pip install jitgrad[cuda]``).
INSTALLED = importlib.util.find_spec("numba_cuda") is not None

cuda: Any
if INSTALLED:
    from numba import cuda
else:
    cuda = None

#: The compute capabilities that every kernel is compiled for by the tests.
ARCHITECTURES = ((7, 5), (8, 0), (9, 0), (10, 0))

#: The dtypes that kernels of the GPU know, by code; bool is stored as a byte.
DTYPES = tuple(d for d in dtypes.ALL if d.name not in ("float16", "bfloat16"))


def _casts() -> dict[int, Any]:
    names = {d.code: "uint8" if d.name == "bool" else d.name for d in DTYPES}
    if SIMULATED or not INSTALLED:
        import numpy as np

        return {code: getattr(np, name) for code, name in names.items()}
    from numba import types

    return {code: getattr(types, name) for code, name in names.items()}


#: What a kernel's source calls to cast to a dtype, by code; compiled, they are also the types.
CASTS = _casts()
INT64 = dtypes.int64.code
FLOAT32 = dtypes.float32.code
FLOAT64 = dtypes.float64.code
