"""Normalizations on the GPU: of lines in one kernel; of channels their statistics, then the elements.

Gradients are the recipes of `jitgrad.ops.normalization`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jitgrad import dtypes
from jitgrad.cuda.copies import dense
from jitgrad.cuda.each import Each, only_floats
from jitgrad.cuda.geometry import Geometry
from jitgrad.cuda.kernel import Kernel
from jitgrad.cuda.lanes import Fold, Lanes
from jitgrad.cuda.pointwise import number
from jitgrad.cuda.target import FLOAT64

_WEIGHT, _BIAS = 1, 2


def _affine(which: int) -> str:
    return (" * w" if which & _WEIGHT else "") + (" + b" if which & _BIAS else "")


@functools.cache
def line(dtype: int, centred: bool, which: int) -> Lanes:
    """A line normalized, in one of the two ways, with weight (1) and bias (2) or without."""
    mean = Fold("t", dtype, "0", "x", "a + b")
    spread = Fold("s", dtype, "0", "d = x - t / n; d * d" if centred else "x * x", "a + b")
    far = "(x - t / n)" if centred else "x"
    affine = [("w", dtype)] if which & _WEIGHT else []
    affine += [("b", dtype)] if which & _BIAS else []
    kind = "layer_norm" if centred else "rms_norm"
    return Lanes(
        f"{kind}{which}_{dtypes.ALL[dtype].name}",
        dtype,
        [("x", dtype)],
        [mean, spread] if centred else [spread],
        f"{far} / sqrt(s / n + p){_affine(which)}",
        dtype,
        values=["n", "p"],
        whole=True,
        alongs=affine,
    )


@dataclass
class LineNorm:
    """layer_norm or rms_norm for a dtype."""

    dtype: int
    centred: bool

    def launch(self, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
        """Launch it for rows of the arena."""
        if out.numel == 0:
            return
        which, n = attributes[1], attributes[4]
        eps = float(number(attributes[2], FLOAT64))
        operands = [dense(inputs[0]), *(dense(g, 1 + k) for k, g in enumerate(inputs[2:]))]
        kernel = line(self.dtype, self.centred, which)
        kernel.launch((out.numel // n, n, 1), [out.address, *operands], [float(n), eps])

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        for which in range(4 if self.centred else 2):
            yield line(self.dtype, self.centred, which).form(True)


# ---------------------------------------------------------------- channels
# A set of runs of S neighbours is normalized together: the runs are `next` apart, the sets begin `first`
# apart (`jitgrad.kernels.channel_norm`).
_PLACE = ["_run = _r // S", "x = _p_x[(_lane * first + _run * next) * S + _r - _run * S]"]


@functools.cache
def statistics(dtype: int) -> Lanes:
    """Mean, 1 / deviation and variance of each set."""
    folds = [
        Fold("t", dtype, "0", "x", "a + b"),
        Fold("s", dtype, "0", "d = x - t / n; d * d", "a + b"),
    ]
    return Lanes(
        f"channel_statistics_{dtypes.ALL[dtype].name}",
        dtype,
        [("x", dtype)],
        folds,
        "t / n",
        dtype,
        values=["n", "p"],
        numbers=["S", "first", "next"],
        load=_PLACE,
        more=["1 / sqrt(s / n + p)", "s / n"],
    )


@functools.cache
def normalized(dtype: int) -> Each:
    """Each element by the statistics of its set, and the weight and bias of its channel."""
    text = """
run = i // S
image = run // C
c = run - image * C
k = c if sets == 0 else image * sets + c // (C // sets)
value = (x[i] - stats[k]) * stats[count + k]
if has & 1 != 0:
    value *= w[c]
if has & 2 != 0:
    value += b[c]
out[i] = value
"""
    parameters = "T* out, T* x, T* stats, T* w, T* b, int S, int C, int sets, int count, int has"
    return Each("channel_norm", dtype, parameters, text)


@dataclass
class ChannelNorm:
    """batch_norm and group_norm for a dtype."""

    dtype: int

    def launch(self, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
        """Launch it for rows of the arena; writes the statistics unless they are given."""
        if out.numel == 0:
            return
        which, sets, given = attributes[1], attributes[3], attributes[4]
        eps = float(number(attributes[2], FLOAT64))
        images, channels = out.shape[:2]
        s = out.numel // (images * channels)
        x, stats = dense(inputs[0]), inputs[1].address
        if sets == 0:
            count, runs, first, after = channels, images, 1, channels
        else:
            count, runs = images * sets, channels // sets
            first, after = runs, 1
        if not given:
            n = runs * s
            values, numbers = [float(n), eps], [s, first, after]
            statistics(self.dtype).launch((count, n, 1), [stats, x], values, None, numbers)
        affine = [dense(g, 1 + k) for k, g in enumerate(inputs[2:])]
        w = affine[0] if which & _WEIGHT else x
        b = affine[-1] if which & _BIAS else x
        arguments = (out.address, x, stats, w, b, s, channels, sets, count, which)
        normalized(self.dtype).launch(out.numel, *arguments)

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        yield statistics(self.dtype).form(True)
        yield normalized(self.dtype).kernel


LAUNCHERS = {
    "native_layer_norm": only_floats(lambda dtype: LineNorm(dtype, True)),
    "fused_rms_norm": only_floats(lambda dtype: LineNorm(dtype, False)),
    "native_batch_norm": only_floats(ChannelNorm),
    "native_group_norm": only_floats(ChannelNorm),
}
