"""Shares of a dataset for several processes that train one model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from jitgrad.random import Generator, randperm
from jitgrad.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """The indices of one process of ``num_replicas``: every so many-th of an order that all agree on.

    Parameters
    ----------
    dataset : Dataset
        Of a size that stays.
    num_replicas, rank : int
        How many processes there are, and which one this is; there are no process groups that could tell.
    shuffle : bool
        Whether the order is random: by ``seed`` and the epoch, see `set_epoch`.
    drop_last : bool
        Leave the rest out instead of repeating indices, so that all shares have one size.

    Raises
    ------
    ValueError
        If a number is missing, or ``rank`` is none of ``num_replicas``.

    Examples
    --------
    >>> from jitgrad.utils.data import DistributedSampler
    >>> list(DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            raise ValueError(
                "Default process group has not been initialized, please make sure to call"
                " init_process_group."
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.epoch, self.shuffle, self.seed, self.drop_last = 0, shuffle, seed, drop_last
        n: int = len(dataset)
        if drop_last and n % num_replicas:
            self.num_samples = math.ceil((n - num_replicas) / num_replicas)
        else:
            self.num_samples = math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        n: int = len(self.dataset)
        order = list(range(n))
        if self.shuffle:
            generator = Generator().manual_seed(self.seed + self.epoch)
            order = randperm(n, generator=generator).tolist()
        if not self.drop_last and order:
            order = (order * math.ceil(self.total_size / n))[: self.total_size]
        return iter(order[: self.total_size][self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Have another order in each epoch; all processes must be told the same."""
        self.epoch = epoch
