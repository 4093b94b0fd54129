"""jitgrad: PyTorch's dynamic autograd on flat arrays, compiled by Numba.

``import jitgrad as torch`` runs ordinary eager code.  This file is the public namespace and nothing else.
"""

from __future__ import annotations

import importlib as _importlib
import math as _math
import sys as _sys

# The arena starts when the op table is complete.
from jitgrad.ops import complete as _complete  # isort: skip
from jitgrad.arena import engine as _engine  # isort: skip

_engine.start()

from jitgrad import (
    autograd,
    backends,
    calling,
    cuda,
    custom,
    func,
    linalg,
    methods,
    nn,
    optim,
    random,
    return_types,
    special,
    typed,
    utils,
)
from jitgrad.arena.inspect import memory_stats, reset_peak_memory_stats
from jitgrad.arena.threads import get_num_threads, set_num_threads
from jitgrad.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from jitgrad.autograd.anomaly import is_anomaly_check_nan_enabled, is_anomaly_enabled
from jitgrad.autograd.grad_mode import is_inference_mode_enabled
from jitgrad.creation import (
    arange,
    as_tensor,
    asarray,
    empty,
    empty_cache,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    get_default_device,
    get_default_dtype,
    linspace,
    logspace,
    ones,
    ones_like,
    set_default_device,
    set_default_dtype,
    tensor,
    zeros,
    zeros_like,
)
from jitgrad.creation import inclusive_range as range  # noqa: A004
from jitgrad.devices import device
from jitgrad.dtypes import (
    bfloat16,
    bool,  # noqa: A004
    can_cast,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    uint8,
)
from jitgrad.formats import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    memory_format,
    preserve_format,
)
from jitgrad.func import vmap
from jitgrad.layouts import layout, strided
from jitgrad.linalg import (
    cholesky,
    cholesky_inverse,
    cholesky_solve,
    det,
    logdet,
    matrix_exp,
    slogdet,
    triangular_solve,
)
from jitgrad.linalg import inv as inverse
from jitgrad.linalg import old_qr as qr
from jitgrad.linalg import old_svd as svd
from jitgrad.linalg import old_vander as vander
from jitgrad.linalg import pinv as pinverse
from jitgrad.ops.comparison import allclose, equal, is_tensor, isclose, numel
from jitgrad.ops.products import broadcast_shapes
from jitgrad.ops.promotion import result_type
from jitgrad.printing import get_printoptions, printoptions, set_printoptions
from jitgrad.random import (
    Generator,
    bernoulli,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    multinomial,
    normal,
    poisson,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)
from jitgrad.serialization import load, save
from jitgrad.settings import (
    are_deterministic_algorithms_enabled,
    get_float32_matmul_precision,
    get_num_interop_threads,
    is_deterministic_algorithms_warn_only_enabled,
    is_warn_always_enabled,
    set_float32_matmul_precision,
    set_flush_denormal,
    set_num_interop_threads,
    set_warn_always,
    use_deterministic_algorithms,
)
from jitgrad.size import Size
from jitgrad.tensor import Tensor
from jitgrad.typed import set_default_tensor_type
from jitgrad.viz import graph

__version__ = "0.1.0"

inf, nan, pi, e = _math.inf, _math.nan, _math.pi, _math.e

float = float32
double = float64
half = float16
short = int16
int = int32
long = int64
newaxis = None


def __getattr__(name: str) -> object:
    """Import `jitgrad.models` and `jitgrad.testing` when they are first asked for."""
    if name in ("models", "testing"):
        return _importlib.import_module(f"jitgrad.{name}")
    raise AttributeError(f"module 'jitgrad' has no attribute {name!r}")


_me = _sys.modules[__name__]
for _name, _function in methods.public().items():
    if not hasattr(_me, _name):
        setattr(_me, _name, _function)
for _name in (
    "adaptive_avg_pool1d avg_pool1d bilinear celu_ cosine_similarity pairwise_distance rrelu_ selu_"
    " threshold_"
).split():
    setattr(_me, _name, getattr(nn.functional, _name))
for _name, _kind in typed.ALL.items():
    setattr(_me, _name, _kind)
for _name in calling.CREATING:
    setattr(_me, _name, calling.widened(getattr(_me, _name), calling.OUT.get(_name, "")))
del _me, _name, _function, _kind, _math, _sys
