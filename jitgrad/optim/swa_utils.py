"""Averages of a model's parameters over training: stochastic weight averaging, moving means."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from jitgrad import creation, dtypes
from jitgrad.autograd.grad_mode import no_grad
from jitgrad.nn.module import Module
from jitgrad.optim.lr_scheduler.scheduler import LRScheduler, for_groups
from jitgrad.optim.optimizer import Optimizer
from jitgrad.tensor import Tensor

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

One = Callable[[Tensor, Tensor, Any], Tensor]
Many = Callable[[Any, Any, Any], None]


def get_ema_avg_fn(decay: float = 0.999) -> One:
    """A function of (mean, value, count): the mean fading by ``decay``.

    Raises
    ------
    ValueError
        If ``decay`` is not in [0, 1].
    """
    if decay < 0.0 or decay > 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return ema_param * decay + current_param * (1 - decay)

    return ema_update


def get_swa_avg_fn() -> One:
    """A function of (mean, value, count): the mean of one value more."""

    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def _of_lists(one: One) -> Many:
    @no_grad()
    def update(averaged: Any, current: Any, num_averaged: Any) -> None:
        for mean, value in zip(averaged, current, strict=True):
            mean.copy_(one(mean, value, num_averaged))

    return update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Many:
    """`get_ema_avg_fn` on lists, in place."""
    return _of_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Many:
    """`get_swa_avg_fn` on lists, in place."""
    return _of_lists(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of those that the model had.

    Parameters
    ----------
    model : Module
        Copied at once; its present parameters count only when `update_parameters` is called.
    device
        The CPU.
    avg_fn : callable, optional
        The new average from (average, parameter, count); the mean by default.
    multi_avg_fn : callable, optional
        Changes a list of averages in place instead.
    use_buffers : bool
        Average the buffers too; otherwise they are copied.

    Examples
    --------
    >>> import jitgrad
    >>> model = jitgrad.nn.Linear(1, 1, bias=False)
    >>> averaged = jitgrad.optim.swa_utils.AveragedModel(model)
    >>> with jitgrad.no_grad():
    ...     for value in (1.0, 2.0, 6.0):
    ...         _ = model.weight.fill_(value)
    ...         averaged.update_parameters(model)
    >>> averaged.module.weight.item()
    3.0
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: One | None = None,
        multi_avg_fn: Many | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", creation.tensor(0, dtype=dtypes.int64, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the copy computes."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Count the model's present parameters in."""
        pairs = [
            (mean.detach(), value.detach())
            for mean, value in zip(self._averaged(self.module), self._averaged(model), strict=True)
        ]
        if int(self.n_averaged) == 0:
            for mean, value in pairs:
                mean.copy_(value)
        elif self.multi_avg_fn is not None:
            # As in PyTorch, all tensors of a list have one dtype.
            for dtype in {mean.dtype: None for mean, _ in pairs}:
                same = [pair for pair in pairs if pair[0].dtype is dtype]
                means, values = (list(side) for side in zip(*same, strict=True))
                self.multi_avg_fn(means, values, self.n_averaged)
        else:
            average = self.avg_fn or get_swa_avg_fn()
            for mean, value in pairs:
                mean.copy_(average(mean, value, self.n_averaged))
        if not self.use_buffers:
            for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                mine.detach().copy_(theirs.detach())
        self.n_averaged += 1

    def _averaged(self, model: Module) -> Iterable[Tensor]:
        parameters = model.parameters()
        return chain(parameters, model.buffers()) if self.use_buffers else parameters


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of a model's normalisation layers anew, over all of a loader.

    Parameters
    ----------
    loader : iterable
        Batches, or lists whose first item is one.
    model : Module
        Run in training mode; the mode and the layers' momentum are as before afterwards.
    device
        The CPU.
    """
    layers = [
        layer
        for layer in model.modules()
        if hasattr(layer, "reset_running_stats") and hasattr(layer, "momentum")
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    was_training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    for batch in loader:
        model(batch[0] if isinstance(batch, (list, tuple)) else batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From each group's rate to ``swa_lr``, where it stays.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rates are set.
    swa_lr : float, or list of float
        The last rate, for all groups or for each.
    anneal_epochs : int
        Steps until then.
    anneal_strategy : str
        ``"cos"`` or ``"linear"``.
    last_epoch : int
        Steps that were made before, -1 for none.

    Raises
    ------
    ValueError
        For an unknown strategy or a negative number of steps.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        for lr, group in zip(
            for_groups("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True
        ):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of ``swa_lr`` is in the rate of a step."""
        part = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return part if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * part)) / 2

    def get_lr(self) -> list[Any]:
        """The rate of each group for ``last_epoch``."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            last = group["swa_lr"]
            # The first rate, found from the present one, which others may have changed.
            first = last if before == 1 else (group["lr"] - before * last) / (1 - before)
            rates.append(last * now + first * (1 - now))
        return rates
