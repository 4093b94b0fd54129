"""The base of all schedulers: counting steps, setting rates, warnings, state."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jitgrad.optim.optimizer import Group, Optimizer
from jitgrad.tensor import Tensor

_EPOCH = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where"
    " possible. Please use `scheduler.step()` to step the scheduler. During the deprecation, if epoch"
    " is different from None, the closed form is used instead of the new chainable form, where"
    " available. Please open an issue if you are unable to replicate your use case:"
    " https://github.com/pytorch/pytorch/issues/new/choose."
)


def warn_epoch() -> None:
    """Warn that a scheduler's step was given an epoch."""
    warnings.warn(_EPOCH, UserWarning, stacklevel=4)


def values(optimizer: Optimizer, key: str) -> list[Any]:
    """An option of every group; Tensors as copies."""
    found = [group[key] for group in optimizer.param_groups]
    return [v.clone() if isinstance(v, Tensor) else v for v in found]


def put(group: Group, key: str, value: Any) -> None:
    """Set an option of a group: a Tensor keeps being that Tensor."""
    if isinstance(group[key], Tensor):
        group[key].fill_(float(value))
    else:
        group[key] = value


def for_groups(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A value for each group from one value or a list of as many.

    Raises
    ------
    ValueError
        If the list has another length.
    """
    n = len(optimizer.param_groups)
    if isinstance(value, (list, tuple)):
        if len(value) != n:
            raise ValueError(
                f"{name} must have the same length as optimizer.param_groups. {name} has"
                f" {len(value)} values, param_groups has {n}."
            )
        return list(value)
    return [value] * n


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError for anything but an optimiser."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def saved_functions(functions: list[Callable[..., Any]]) -> list[dict[str, Any] | None]:
    """What a state dict keeps of functions: nothing, but the attributes of callable objects."""
    return [
        None if type(f).__name__ in ("function", "builtin_function_or_method") else vars(f).copy()
        for f in functions
    ]


class LRScheduler:
    """Sets the learning rate of every group, once a call of `step`.

    A subclass gives ``get_lr()``, which computes the rates for ``last_epoch``, and before it calls this
    constructor sets what ``get_lr`` needs.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rates are set.
    last_epoch : int
        Steps that were made before, -1 for none; then the groups must have ``"initial_lr"``.

    Raises
    ------
    TypeError
        If it is no optimiser.
    KeyError
        If a group has no ``"initial_lr"`` though ``last_epoch`` is not -1.
    """

    _get_lr_called_within_step = False
    _is_initial = False
    #: The rates for `last_epoch` from the first ones, where a scheduler knows them.
    _get_closed_form_lr: Callable[[], list[Any]] | None = None

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                lr = group["lr"]
                group.setdefault("initial_lr", lr.clone() if isinstance(lr, Tensor) else lr)
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler"
                    " with last_epoch >= 0.\nThis typically happens when:\n1. You're trying to resume"
                    " training from a checkpoint but haven't properly loaded the optimizer state\n2."
                    " You're using last_epoch >= 0 for a fresh training run (not recommended)"
                )
        self.base_lrs: list[Any] = values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._last_lr: list[Any] = []
        optimizer._watch_steps()
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The rate of each group that was set last."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rate of each group for ``last_epoch``; for subclasses."""
        raise NotImplementedError

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    @contextmanager
    def _within_step(self) -> Iterator[None]:
        self._get_lr_called_within_step = True
        try:
            yield
        finally:
            self._get_lr_called_within_step = False

    def step(self, epoch: int | None = None) -> None:
        """Set the rates of the next step.  ``epoch`` (deprecated) names another."""
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warn_epoch()
        self._update_lr(epoch)

    def _check_order(self) -> None:
        if self.optimizer._replaced_step():
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler"
                " initialization. Please, make sure to call `optimizer.step()` before"
                " `lr_scheduler.step()`.",
                UserWarning,
                stacklevel=3,
            )
        elif not self.optimizer._opt_called:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and"
                " later, you should call them in the opposite order: `optimizer.step()` before"
                " `lr_scheduler.step()`.  Failure to do this will result in PyTorch skipping the first"
                " value of the learning rate schedule. See more details at"
                " https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate",
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch: int | None = None) -> None:
        with self._within_step():
            self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
            closed = None if epoch is None else self._get_closed_form_lr
            self._set(self.get_lr() if closed is None else closed())

    def _set(self, rates: list[Any]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            put(group, "lr", lr)
        self._last_lr = values(self.optimizer, "lr")


class _LRScheduler(LRScheduler):
    """The base class under its name of old, for subclasses written then."""
