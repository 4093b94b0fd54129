"""Random tensors: a generator with a seed, uniform, normal, integers, permutations.

The streams are NumPy's PCG64, not PyTorch's: the same seed gives the same numbers in every process, but
other numbers than PyTorch's.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import creation, dtypes
from jitgrad.devices import CPU
from jitgrad.devices import device as Device  # noqa: N812
from jitgrad.dtypes import dtype as DType  # noqa: N812

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_DEFAULT_SEED = 67280421310721


class Generator:
    """A source of random numbers with a seed and a state of its own.

    Examples
    --------
    >>> import jitgrad
    >>> g = jitgrad.Generator().manual_seed(1)
    >>> a = jitgrad.rand(2, generator=g)
    >>> g = g.manual_seed(1)
    >>> bool((jitgrad.rand(2, generator=g) == a).all())
    True
    """

    def __init__(self, device: Any = "cpu") -> None:
        self._seed = _DEFAULT_SEED
        self.numpy = np.random.Generator(np.random.PCG64(self._seed))

    @property
    def device(self) -> Device:
        """Where the numbers are drawn: the CPU."""
        return CPU

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        made = Generator().manual_seed(self._seed)
        made.set_state(self.get_state())
        return made

    def manual_seed(self, seed: int) -> Generator:
        """Start over from a seed; returns the generator."""
        self._seed = int(seed)
        self.numpy = np.random.Generator(np.random.PCG64(self._seed & ((1 << 64) - 1)))
        return self

    def seed(self) -> int:
        """Start over from a seed that nobody can guess; returns it."""
        return self.manual_seed(secrets.randbits(63)).initial_seed()

    def initial_seed(self) -> int:
        """The seed it started from."""
        return self._seed

    def get_state(self) -> Tensor:
        """The state, as a tensor of bytes."""
        import json

        text = json.dumps(self.numpy.bit_generator.state).encode()
        return creation.tensor(np.frombuffer(text, np.uint8), device=CPU)

    def set_state(self, new_state: Tensor) -> None:
        """Go back to a state."""
        import json

        self.numpy.bit_generator.state = json.loads(bytes(new_state.cpu().numpy()))


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator; returns it."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator with a number nobody can guess; returns it."""
    return default_generator.seed()


def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Put the default generator back into a state."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **options: Any) -> Iterator[None]:
    """Have the default generator go on afterwards as if the block had drawn nothing."""
    state = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)


class _Mapping(threading.local):
    """How the vmap that this thread is in treats random numbers; None outside."""

    randomness: str | None = None


#: Set by `jitgrad.func.vmap`.
mapping = _Mapping()


def _source(generator: Generator | None) -> np.random.Generator:
    if mapping.randomness == "error":
        raise RuntimeError(
            "vmap: called random operation while in randomness error mode. Please either use the 'same' or"
            " 'different' randomness flags on vmap or perform the randomness operation out of vmap"
        )
    return (generator or default_generator).numpy


def _float(dtype: DType | None, name: str) -> DType:
    dtype = dtypes.of(dtype or creation.get_default_dtype())
    if not dtype.is_floating_point:
        raise NotImplementedError(f"\"{name}\" not implemented for '{dtype.letter}'")
    return dtype


def _drawn(dtype: DType) -> DType:
    """The dtype in which numbers of a floating-point dtype are drawn."""
    return dtypes.float64 if dtype is dtypes.float64 else dtypes.float32


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1)."""
    wanted = _float(dtype, "check_uniform_bounds")
    made = creation.empty(*size, dtype=_drawn(wanted), device=CPU)
    memory = made._array()
    _source(generator).random(dtype=memory.dtype, out=memory)
    made = made.to(wanted)
    made = creation.placed(made, device)
    return made.requires_grad_() if requires_grad else made


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers."""
    wanted = _float(dtype, "normal_kernel_cpu")
    made = creation.empty(*size, dtype=_drawn(wanted), device=CPU)
    memory = made._array()
    _source(generator).standard_normal(dtype=memory.dtype, out=memory)
    made = made.to(wanted)
    made = creation.placed(made, device)
    return made.requires_grad_() if requires_grad else made


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers from ``low`` (0) up to, without, ``high``: ``randint(high, size)`` or ``(low, high, size)``.

    Raises
    ------
    RuntimeError
        If there is no integer between.
    """
    if size is None:
        low, high, size = 0, low, high
    if high <= low:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    made = creation.empty(tuple(size), dtype=dtype or dtypes.int64)
    _fill(made, _source(generator).integers(low, high, tuple(made.shape)))
    made = creation.placed(made, device)
    return made.requires_grad_() if requires_grad else made


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers below ``n`` in random order."""
    made = creation.empty(n, dtype=dtype or dtypes.int64)
    _fill(made, _source(generator).permutation(n))
    made = creation.placed(made, device)
    return made.requires_grad_() if requires_grad else made


def rand_like(
    input: Tensor, *, dtype: DType | None = None, memory_format: Any = None, **kwargs: Any
) -> Tensor:
    """`rand` in the shape and dtype of another tensor."""
    kwargs.setdefault("device", input.device)
    return rand(tuple(input.shape), dtype=dtype or input.dtype, **kwargs)


def randn_like(
    input: Tensor, *, dtype: DType | None = None, memory_format: Any = None, **kwargs: Any
) -> Tensor:
    """`randn` in the shape and dtype of another tensor."""
    kwargs.setdefault("device", input.device)
    return randn(tuple(input.shape), dtype=dtype or input.dtype, **kwargs)


def randint_like(input: Tensor, low: int, high: Any = None, **kwargs: Any) -> Tensor:
    """`randint` in the shape and dtype of another tensor."""
    if high is None:
        low, high = 0, low
    kwargs.setdefault("dtype", input.dtype)
    kwargs.setdefault("device", input.device)
    return randint(low, high, tuple(input.shape), **kwargs)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    **kwargs: Any,
) -> Tensor:
    """Normal numbers with a mean and a deviation, each a number or a tensor."""
    if isinstance(std, (int, float)) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if size is None:
        like = mean if hasattr(mean, "shape") else std
        return randn(tuple(like.shape), generator=generator, **kwargs) * std + mean
    return randn(tuple(size), generator=generator, **kwargs) * std + mean


def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None
) -> Tensor:
    """1 with the probability that ``input`` gives, or ``p``, else 0.

    Raises
    ------
    RuntimeError
        If one is not between 0 and 1.
    """
    _float(input.dtype, "bernoulli_tensor_cpu_p_")
    limit = input.detach() if p is None else input.detach() * 0 + p
    if not bool(((limit >= 0) & (limit <= 1)).all()):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    drawn = rand(tuple(input.shape), generator=generator, dtype=input.dtype, device=input.device)
    return (drawn < limit).to(input.dtype)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Counts of events whose expected numbers ``input`` gives.

    Raises
    ------
    RuntimeError
        If one is negative.
    """
    rates = input.detach().double()._array()
    if (rates < 0).any():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return creation.tensor(_source(generator).poisson(rates), dtype=input.dtype)


def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Draw positions with probabilities in proportion to weights.

    Parameters
    ----------
    input : Tensor
        (n) or (m, n), floating point: weights, which need not add up to 1.
    num_samples : int
        How many are drawn from each row.
    replacement : bool
        Draw every one from all; otherwise none is drawn twice.
    generator : Generator, optional
        Where the random numbers come from.

    Returns
    -------
    Tensor
        (num_samples) or (m, num_samples), int64.

    Raises
    ------
    RuntimeError
        If the weights of a row are negative, infinite, NaN or all 0, or there are too few of them.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.multinomial(jitgrad.tensor([0.0, 2.0]), 3, replacement=True)
    tensor([1, 1, 1])
    """
    kinds = (
        ("input", input, "Tensor", hasattr(input, "dtype")),
        ("num_samples", num_samples, "int", isinstance(num_samples, int)),
    )
    for place, (name, value, kind, fits) in enumerate(kinds, 1):
        if not fits:
            raise TypeError(
                f"multinomial(): argument '{name}' (position {place}) must be {kind},"
                f" not {type(value).__name__}"
            )
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {input.dtype.letter}"
        )
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    weights = input._values().astype(np.float64)
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    if not ((weights >= 0) & (weights < np.inf)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    greatest = weights.max(-1, keepdims=True, initial=0.0)
    if (greatest == 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    weights /= greatest  # sums stay finite
    source = _source(generator)
    if replacement:
        steps = weights.cumsum(-1).reshape(-1, weights.shape[-1])
        # Within the row's total even after rounding: a weight of 0 is never drawn.
        at = source.random((len(steps), num_samples)) * steps[:, -1:]
        rows = zip(steps, at, strict=True)
        drawn = np.array([row.searchsorted(x, "right") for row, x in rows], np.int64)
        drawn = drawn.reshape(*weights.shape[:-1], num_samples)
    else:
        # The first to arrive, at rates that are the weights.
        rates = weights / source.exponential(size=weights.shape)
        drawn = np.argsort(-rates, -1, kind="stable")[..., :num_samples]
    from jitgrad.ops.operands import beside

    return beside(input, drawn)


def _fill(self: Tensor, values: Any) -> Tensor:
    from jitgrad.ops.assigning import copy_

    return copy_(self, creation.from_numpy(np.asarray(values)))


def uniform_(
    self: Tensor,
    from_: float = 0.0,
    to: float = 1.0,
    *,
    generator: Generator | None = None,
    **kwargs: Any,
) -> Tensor:
    """Fill with uniform numbers from ``from`` up to, without, ``to``.

    Raises
    ------
    RuntimeError
        If the range is empty, or the tensor not floating point (NotImplementedError).
    """
    low = kwargs.pop("from", from_)
    _float(self.dtype, "check_uniform_bounds")
    if low > to:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={to:g}"
        )
    made = _source(generator).random(tuple(self.shape), _drawn(self.dtype).numpy)
    return _fill(self, made * (to - low) + low)


def normal_(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with normal numbers.

    Raises
    ------
    RuntimeError
        If the deviation is negative, or the tensor not floating point (NotImplementedError).
    """
    _float(self.dtype, "normal_kernel_cpu")
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    made = _source(generator).standard_normal(tuple(self.shape), _drawn(self.dtype).numpy)
    return _fill(self, made * std + mean)


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability ``p`` (a number, or a Tensor that broadcasts), else 0.

    Raises
    ------
    RuntimeError
        If a number is not between 0 and 1.
    """
    if isinstance(p, (int, float)) and not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    limit = p.numpy(force=True) if hasattr(p, "numpy") else p
    return _fill(self, _source(generator).random(tuple(self.shape)) < limit)


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponentially distributed numbers of rate ``lambd``.

    Raises
    ------
    RuntimeError
        If the rate is not positive.
    """
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _fill(self, _source(generator).exponential(1 / lambd, tuple(self.shape)))


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the number of trials up to the first success, each of probability ``p``.

    Raises
    ------
    RuntimeError
        If ``p`` is not between 0 and 1.
    """
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _fill(self, _source(generator).geometric(p, tuple(self.shape)))


def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with Cauchy-distributed numbers around ``median``, of scale ``sigma``.

    Raises
    ------
    RuntimeError
        If the scale is not positive, or the tensor not floating point.
    """
    _float(self.dtype, "cauchy")
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return _fill(self, _source(generator).standard_cauchy(tuple(self.shape)) * sigma + median)


def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers whose logarithm is normal, of that mean and deviation.

    Raises
    ------
    RuntimeError
        If the deviation is not positive, or the tensor not floating point.
    """
    _float(self.dtype, "log_normal")
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return _fill(self, _source(generator).lognormal(mean, std, tuple(self.shape)))


def random_(
    self: Tensor,
    from_: int = 0,
    to: int | None = None,
    *,
    generator: Generator | None = None,
    **kwargs: Any,
) -> Tensor:
    """Fill with integers: ``random_()``, ``random_(to)`` or ``random_(from, to)``, without ``to``.

    Without bounds as many as the dtype holds exactly.

    Raises
    ------
    RuntimeError
        If there is no integer between.
    """
    low = kwargs.pop("from", from_)
    if to is None:
        low, to = (0, low) if low else (0, _integers_of(self.dtype))
    if low >= to:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={to}"
        )
    return _fill(self, _source(generator).integers(low, to, tuple(self.shape)))


def _integers_of(dtype: DType) -> int:
    """How many integers from 0 up the dtype holds exactly, as PyTorch draws them."""
    if dtype.is_floating_point:
        return int(2 / dtypes.finfo(dtype).eps) + 1
    return 2 if dtype is dtypes.bool else int(np.iinfo(dtype.numpy).max)
