"""Data parallelism over GPUs, of which a model on the CPU uses none: the module is called as it is."""

from __future__ import annotations

from typing import Any

from jitgrad.nn.module import Module


class DataParallel(Module):
    """A module under the name ``module``, called as it is: there are no GPUs to share the batch.

    Programs that wrap their models so run, and the states have the names that others save.

    Examples
    --------
    >>> import jitgrad
    >>> list(jitgrad.nn.DataParallel(jitgrad.nn.Linear(1, 1)).state_dict())
    ['module.weight', 'module.bias']
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module
        self.dim, self.device_ids = dim, [] if device_ids is None else list(device_ids)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return self.module(*inputs, **kwargs)


__all__ = ["DataParallel"]
