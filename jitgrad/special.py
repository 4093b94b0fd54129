"""``torch.special``: the special functions under the names of its namespace."""

from __future__ import annotations

from jitgrad.ops import reductions
from jitgrad.ops.arithmetic import round  # noqa: A004
from jitgrad.ops.elementwise import FUNCTIONS
from jitgrad.ops.reductions import logsumexp
from jitgrad.ops.scipy_special import (
    entr,
    erfcx,
    i0,
    i0e,
    i1,
    i1e,
    igamma,
    igammac,
    log_ndtr,
    mvlgamma,
    ndtr,
    ndtri,
    xlog1py,
    zeta,
)
from jitgrad.ops.special import digamma, erfinv, lgamma, logit, polygamma

erf, erfc, exp2, expm1, log1p, sinc, xlogy = (
    FUNCTIONS[name] for name in "erf erfc exp2 expm1 log1p sinc xlogy".split()
)
expit = FUNCTIONS["sigmoid"]
gammaln, psi, multigammaln = lgamma, digamma, mvlgamma
gammainc, gammaincc = igamma, igammac
softmax, log_softmax = reductions.softmax, reductions.log_softmax

__all__ = [
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammainc",
    "gammaincc",
    "gammaln",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "log1p",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "round",
    "sinc",
    "softmax",
    "xlog1py",
    "xlogy",
    "zeta",
]
