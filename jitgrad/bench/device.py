"""Cases on another device: a namespace that puts their tensors there, and work that is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.bench.case import Prepared


class OnDevice:
    """A module like torch whose cases make their tensors, and move their models, to a device."""

    def __init__(self, module: Any, device: str) -> None:
        self._module, self._device = module, device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def tensor(self, data: Any, **options: Any) -> Any:
        """The module's, on the device."""
        return self._module.tensor(data, device=self._device, **options)

    def compiled_case(self, make: Callable[[Any], Any]) -> Any:
        """What is made of this namespace, moved if it is a model (`case.compiled`); nothing is compiled."""
        made = make(self)
        return made.to(self._device) if isinstance(made, self._module.nn.Module) else made

    def launched(self, work: Prepared) -> Prepared:
        """The work, which a sample waits for (`measuring.sample`)."""
        return work._replace(run=Launched(work.run, self._module.cuda.synchronize))


class Launched:
    """Work that launches and returns; ``finish`` waits until it is done."""

    def __init__(self, run: Callable[[], object], finish: Callable[[], object]) -> None:
        self._run, self.finish = run, finish

    def __call__(self) -> object:
        """Launch it."""
        return self._run()
