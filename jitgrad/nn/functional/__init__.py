"""``torch.nn.functional``: a file per theme, each with its own ``__all__``.

A new theme is a file here, named unlike any function, with its star import and its line of ``__all__``.
"""

from __future__ import annotations

from jitgrad.nn.functional import (
    attention,
    convolution,
    ctc,
    distances,
    dropouts,
    embeddings,
    losses,
    margins,
    normalization,
    pooling,
    products,
    resampling,
)
from jitgrad.nn.functional.attention import *
from jitgrad.nn.functional.convolution import *
from jitgrad.nn.functional.ctc import *
from jitgrad.nn.functional.distances import *
from jitgrad.nn.functional.dropouts import *
from jitgrad.nn.functional.embeddings import *
from jitgrad.nn.functional.losses import *
from jitgrad.nn.functional.margins import *
from jitgrad.nn.functional.normalization import *
from jitgrad.nn.functional.pooling import *
from jitgrad.nn.functional.products import *
from jitgrad.nn.functional.resampling import *
from jitgrad.ops import activations, softmaxes
from jitgrad.ops.activations import *
from jitgrad.ops.softmaxes import *

__all__: list[str] = []
__all__ += activations.__all__ + softmaxes.__all__
__all__ += attention.__all__
__all__ += convolution.__all__
__all__ += ctc.__all__
__all__ += distances.__all__
__all__ += dropouts.__all__
__all__ += embeddings.__all__
__all__ += losses.__all__
__all__ += margins.__all__
__all__ += normalization.__all__
__all__ += pooling.__all__
__all__ += products.__all__
__all__ += resampling.__all__
