"""Whether operations are recorded: per thread, as context managers and as decorators."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from jitgrad.arena import engine

_F = TypeVar("_F", bound=Callable[..., Any])


def is_grad_enabled() -> bool:
    """Whether operations of this thread are recorded.

    Examples
    --------
    >>> import jitgrad
    >>> with jitgrad.no_grad():
    ...     jitgrad.is_grad_enabled()
    False
    """
    return engine.grad_mode()


class _Mode:
    """Sets the mode while a block or a function runs, and puts the old one back, also after an error."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(engine.grad_mode())
        engine.set_grad_mode(self.mode)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        engine.set_grad_mode(self.before.pop())

    def __call__(self, function: _F) -> _F:
        return _decorated(function, lambda: _Mode(self.mode))


def _decorated(function: Any, mode: Callable[[], Any]) -> Any:
    if inspect.isclass(function):
        warnings.warn(
            "Decorating classes is deprecated and will be disabled in future versions. You should only"
            " decorate functions or methods. To preserve the current behavior of class decoration, you can"
            " directly decorate the `__init__` method and nothing else.",
            FutureWarning,
            stacklevel=3,
        )
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            # The mode holds while the generator runs, not while its consumer does.
            inner = function(*args, **kwargs)
            send, value = inner.send, None
            try:
                while True:
                    with mode():
                        try:
                            result = send(value)
                        except StopIteration as stop:
                            return stop.value
                    try:
                        value = yield result
                        send = inner.send
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        send, value = inner.throw, error
            finally:
                with mode():
                    inner.close()

        return generator

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with mode():
                return await function(*args, **kwargs)

        return coroutine

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with mode():
            return function(*args, **kwargs)

    return wrapper


class no_grad(_Mode):  # noqa: N801 - PyTorch's name
    """Nothing inside is recorded; a context manager and, with or without ``()``, a decorator.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.ones(2, requires_grad=True)
    >>> with jitgrad.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __new__(cls, function: Any = None) -> Any:
        made = super().__new__(cls)
        if function is None:
            return made
        return _decorated(function, lambda: _Mode(cls._on()))

    def __init__(self, function: Any = None) -> None:
        super().__init__(self._on())

    @classmethod
    def _on(cls) -> bool:
        return False


class enable_grad(no_grad):  # noqa: N801 - PyTorch's name
    """Everything inside is recorded, also within `no_grad`."""

    @classmethod
    def _on(cls) -> bool:
        return True


class set_grad_enabled(_Mode):  # noqa: N801 - PyTorch's name
    """Set the mode at once; as a context manager put the old one back at the end."""

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        self.old = engine.grad_mode()
        engine.set_grad_mode(self.mode)

    def __enter__(self) -> None:
        self.before.append(self.old)

    def __call__(self, function: _F) -> _F:
        # As a decorator it must not have changed the mode of the code around the definition.
        engine.set_grad_mode(self.old)
        return super().__call__(function)


def is_inference_mode_enabled() -> bool:
    """Whether `inference_mode` is on in this thread."""
    return engine.inference_mode()


class inference_mode(_Mode):  # noqa: N801 - PyTorch's name
    """`no_grad`, and what is made inside can never take part in differentiation.

    Tensors made inside are inference tensors: they count no versions, can't be saved for backward, and are
    changed in place inside only.  ``inference_mode(False)`` turns it off within.

    Examples
    --------
    >>> import jitgrad
    >>> with jitgrad.inference_mode():
    ...     x = jitgrad.ones(2)
    >>> x.is_inference(), x.clone().is_inference()
    (True, False)
    """

    def __new__(cls, mode: Any = True) -> Any:
        made = super().__new__(cls)
        if isinstance(mode, bool):
            return made
        return _decorated(mode, inference_mode)

    def __init__(self, mode: Any = True) -> None:
        self.inference = bool(mode)
        super().__init__(not mode)
        self._inference_before: list[bool] = []

    def __enter__(self) -> None:
        self._inference_before.append(engine.inference_mode())
        self.before.append(engine.grad_mode())
        engine.set_inference_mode(self.inference)
        if self.inference or self._inference_before[-1]:
            engine.set_grad_mode(self.mode)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        engine.set_inference_mode(self._inference_before.pop())
        super().__exit__(kind, value, trace)

    def __call__(self, function: _F) -> _F:
        return _decorated(function, lambda: inference_mode(self.inference))
