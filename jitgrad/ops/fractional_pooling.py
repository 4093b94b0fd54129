"""Max pooling over windows at random distances, so that sizes shrink by any ratio (Graham 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.ops.convolution import spread_sizes
from jitgrad.ops.gathering import gather
from jitgrad.ops.names import name as naming

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_WORDS = {2: ("height", "width"), 3: ("time", "height", "width")}


def _begins(
    samples: np.ndarray[Any, Any], size: int, out: int, kernel: int
) -> np.ndarray[Any, Any]:
    """Where windows begin along a dim (planes, out), from a random number for each plane (planes)."""
    alpha = np.asarray((size - kernel) / (out - 1) if out > 1 else 0.0, samples.dtype)
    steps = (np.arange(out)[None] + samples[:, None]) * alpha
    begins = steps.astype(np.int64) - (samples * alpha).astype(np.int64)[:, None]
    begins[:, -1:] = size - kernel
    return begins


def _pool(
    input: Tensor, kernel: Sequence[int], out: Sequence[int], samples: Tensor, name: str
) -> tuple[Tensor, Tensor]:
    from jitgrad.creation import from_numpy

    n = len(kernel)
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got: {list(input.shape)}"
        )
    *lead, channels = input.shape[:-n]
    planes, sizes = int(np.prod([*lead, channels])), tuple(input.shape[-n:])
    if tuple(samples.shape) != (*(lead or (1,)), channels, n):
        raise RuntimeError(
            f"Expect _random_samples of shape {[*(lead or (1,)), channels, n]} but got"
            f" {list(samples.shape)}"
        )
    for word, size, o, k in zip(_WORDS[n], sizes, out, kernel, strict=True):
        # In three dims PyTorch asks for one more.
        if o + k - 1 > size - (n - 2):
            raise RuntimeError(
                f"{name}(): pool {word} {k} too large relative to input {word} {size}"
            )
    drawn = samples.detach().numpy().reshape(planes, n)
    # In two dims PyTorch takes the samples from the last dim to the first, in three the other way.
    order = (1, 0) if n == 2 else (0, 1, 2)
    flat = np.zeros((planes, *[1] * 2 * n), np.int64)
    for d in range(n):
        begins = _begins(drawn[:, order[d]], sizes[d], out[d], kernel[d])
        places = begins[:, :, None] + np.arange(kernel[d])
        along = [1] * 2 * n
        along[d], along[n + d] = out[d], kernel[d]
        flat = flat * sizes[d] + places.reshape(planes, *along)
    windows = flat.reshape(planes, int(np.prod(out)), int(np.prod(kernel)))
    x = input.reshape(planes, int(np.prod(sizes)))
    with_places = from_numpy(windows.reshape(planes, -1))
    best = gather(x.detach(), 1, with_places).reshape(windows.shape).max(2).indices.numpy()
    chosen = from_numpy(np.take_along_axis(windows, best[..., None], 2)[..., 0])
    shape = (*lead, channels, *out)
    y = naming(gather(x, 1, chosen).reshape(shape), f"FractionalMaxPool{n}DBackward0")
    return y, chosen.reshape(shape)


def _functions(n: int) -> tuple[Any, Any]:
    name = f"fractional_max_pool{n}d"

    def with_indices(
        input: Tensor,
        kernel_size: int | Sequence[int],
        output_size: int | Sequence[int] | None = None,
        output_ratio: float | Sequence[float] | None = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        from jitgrad.random import rand

        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        if output_size is None:
            ratio = output_ratio if isinstance(output_ratio, Sequence) else [output_ratio] * n
            if len(ratio) > n:
                raise ValueError(
                    f"{name} requires output_ratio to either be a single Int or tuple of Ints."
                )
            output_size = [int(s * r) for s, r in zip(input.shape[-n:], ratio, strict=True)]
        if _random_samples is None:
            batch = 1 if input.ndim == n + 1 else input.shape[0]
            _random_samples = rand(batch, input.shape[-n - 1], n, dtype=input.dtype)
        kernel = spread_sizes(kernel_size, n, "kernel_size", name)
        out = spread_sizes(output_size, n, "output_size", name)
        return _pool(input, kernel, out, _random_samples, name)

    def pool(
        input: Tensor,
        kernel_size: int | Sequence[int],
        output_size: int | Sequence[int] | None = None,
        output_ratio: float | Sequence[float] | None = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        found = with_indices(
            input, kernel_size, output_size, output_ratio, return_indices, _random_samples
        )
        return found if return_indices else found[0]

    pool.__doc__ = f"""The largest element of each window; where the windows lie is random ({n} dims).

    ``input`` (N, C, ...) or (C, ...) becomes ``output_size``, or its size times ``output_ratio``; with
    ``return_indices`` the places of the largest are returned, too.

    Raises
    ------
    ValueError
        If neither size nor ratio is given.
    RuntimeError
        If the windows do not fit into the input.
    """
    with_indices.__doc__ = f"`{name}` and the places of the largest."
    pool.__name__ = pool.__qualname__ = name
    with_indices.__name__ = with_indices.__qualname__ = f"{name}_with_indices"
    return pool, with_indices


fractional_max_pool2d, fractional_max_pool2d_with_indices = _functions(2)
fractional_max_pool3d, fractional_max_pool3d_with_indices = _functions(3)
