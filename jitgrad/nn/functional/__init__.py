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
from jitgrad.nn.functional.attention import *  # noqa: F403
from jitgrad.nn.functional.convolution import *  # noqa: F403
from jitgrad.nn.functional.ctc import *  # noqa: F403
from jitgrad.nn.functional.distances import *  # noqa: F403
from jitgrad.nn.functional.dropouts import *  # noqa: F403
from jitgrad.nn.functional.embeddings import *  # noqa: F403
from jitgrad.nn.functional.losses import *  # noqa: F403
from jitgrad.nn.functional.margins import *  # noqa: F403
from jitgrad.nn.functional.normalization import *  # noqa: F403
from jitgrad.nn.functional.pooling import *  # noqa: F403
from jitgrad.nn.functional.products import *  # noqa: F403
from jitgrad.nn.functional.resampling import *  # noqa: F403
from jitgrad.ops import activations
from jitgrad.ops.activations import *  # noqa: F403

__all__: list[str] = []
__all__ += activations.__all__
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
