"""A module's state: a dict of its parameters and persistent buffers, out of it and into it."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jitgrad.autograd.grad_mode import no_grad
from jitgrad.autograd.hooks import RemovableHandle
from jitgrad.nn.members import Members
from jitgrad.nn.parameter import Parameter
from jitgrad.tensor import Tensor

_EXTRA = "_extra_state"


class _IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` returns."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        keys = f"missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys}"
        return f"_IncompatibleKeys({keys})"


class State(Members):
    """The part of `Module` that saves and loads."""

    #: Of what the module saves; ``_load_from_state_dict`` finds it in ``local_metadata["version"]``.
    _version: int = 1
    _state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _state_dict_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_post_hooks: OrderedDict[int, Callable[..., Any]]

    def __init__(self) -> None:
        super().__init__()
        own = self.__dict__
        own["_state_dict_pre_hooks"], own["_state_dict_hooks"] = OrderedDict(), OrderedDict()
        own["_load_state_dict_pre_hooks"] = OrderedDict()
        own["_load_state_dict_post_hooks"] = OrderedDict()

    # ------------------------------------------------------------ out
    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """Every parameter and persistent buffer of this module and those below, by dotted name.

        Parameters
        ----------
        destination : dict, optional
            Where to put them; otherwise an OrderedDict is made.
        prefix : str
            Goes before every name.
        keep_vars : bool
            The tensors themselves instead of detached ones, which share their memory.

        Examples
        --------
        >>> import jitgrad
        >>> list(jitgrad.nn.Linear(2, 3).state_dict(prefix="head."))
        ['head.weight', 'head.bias']
        """
        if args:
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead. Refer to"
                " https://pytorch.org/docs/main/generated/torch.nn.Module.html"
                "#torch.nn.Module.state_dict for details.",
                FutureWarning,
                stacklevel=2,
            )
            named = (destination, prefix, keep_vars)
            destination, prefix, keep_vars = args + named[len(args) :]
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            changed = hook(self, destination, prefix, metadata)
            destination = destination if changed is None else changed
        return destination

    def _own_state(self) -> dict[str, Tensor]:
        """The module's own parameters and persistent buffers."""
        found: dict[str, Tensor] = {}
        for name, param in self._parameters.items():
            if param is not None:
                found[name] = param
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                found[name] = buffer
        return found

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put this module's own part into a dict; a subclass may add to it."""
        for name, x in self._own_state().items():
            destination[prefix + name] = x if keep_vars else x.detach()
        if type(self).get_extra_state is not State.get_extra_state:
            destination[prefix + _EXTRA] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """What else belongs to the state; a subclass writes this and `set_extra_state`."""
        raise RuntimeError("get_extra_state() has to be written by the subclass")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave."""
        raise RuntimeError("set_extra_state() has to be written by the subclass")

    # ------------------------------------------------------------ in
    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy the tensors of a state dict into this module and those below.

        Parameters
        ----------
        state_dict : mapping
            Tensors by dotted name, as `state_dict` gives them.
        strict : bool
            Whether the names must be the same.
        assign : bool
            Take the tensors themselves instead of copying: their dtype and memory become the module's.

        Returns
        -------
        NamedTuple
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        RuntimeError
            If names (with ``strict``) or shapes differ; all that is wrong is listed.
        TypeError
            If ``state_dict`` is no mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        copied = OrderedDict(state_dict)
        if metadata is not None:
            copied._metadata = metadata  # type: ignore[attr-defined]
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        _load(self, copied, "", metadata or {}, assign, (missing, unexpected, errors))
        if strict:
            for words, keys in (("Unexpected", unexpected), ("Missing", missing)):
                if keys:
                    listed = ", ".join(f'"{key}"' for key in keys)
                    errors.insert(0, f"{words} key(s) in state_dict: {listed}. ")
        if errors:
            listed = "\n\t".join(errors)
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}"
            )
        return _IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take this module's own part out of a dict, adding what is wrong to the lists."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(
                self,
                state_dict,
                prefix,
                local_metadata,
                strict,
                missing_keys,
                unexpected_keys,
                error_msgs,
            )
        own = self._own_state()
        for name, x in own.items():
            key = prefix + name
            if key in state_dict:
                assign = local_metadata.get("assign_to_params_buffers", False)
                error = self._take(name, x, key, state_dict[key], assign)
                error_msgs += [error] if error else []
            elif strict:
                missing_keys.append(key)
        has_extra = type(self).set_extra_state is not State.set_extra_state
        if has_extra and prefix + _EXTRA in state_dict:
            self.set_extra_state(state_dict[prefix + _EXTRA])
        elif has_extra and strict:
            missing_keys.append(prefix + _EXTRA)
        if strict:
            for key in state_dict:
                first, dot, _ = key[len(prefix) :].partition(".")
                known = self._modules if dot else own
                ours = key.startswith(prefix) and not (has_extra and key == prefix + _EXTRA)
                if ours and first not in known:
                    unexpected_keys.append(key)

    def _take(self, name: str, x: Tensor, key: str, value: Any, assign: bool) -> str | None:
        """Load one tensor; returns what is wrong."""
        if not isinstance(value, Tensor):
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like'
                f" object from checkpoint but received {type(value)}"
            )
        if x.ndim == 0 and value.shape == (1,):
            value = value[0]
        if value.shape != x.shape:
            return (
                f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint,"
                f" the shape in current model is {x.shape}."
            )
        try:
            with no_grad():
                if not assign:
                    x.copy_(value)
                elif isinstance(x, Parameter) and not isinstance(value, Parameter):
                    setattr(self, name, Parameter(value, x.requires_grad))
                else:
                    setattr(self, name, value.requires_grad_(x.requires_grad))
        except Exception as error:
            return (
                f'While copying the parameter named "{key}", whose dimensions in the model are'
                f" {x.size()} and whose dimensions in the checkpoint are {value.size()}, an exception"
                f" occurred : {error.args}."
            )
        return None

    # ------------------------------------------------------------ hooks
    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(module, prefix, keep_vars)`` called before `state_dict`."""
        return RemovableHandle(self, "_state_dict_pre_hooks", hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(module, state_dict, prefix, local_metadata)`` called after `state_dict`."""
        return RemovableHandle(self, "_state_dict_hooks", _ReturningNothing(hook))

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """As `register_state_dict_post_hook`, of old: the hook may return another dict."""
        return RemovableHandle(self, "_state_dict_hooks", hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have a hook called before this module's part of a state dict is loaded.

        Its arguments: the module, the dict (which it may change), the prefix, the metadata, ``strict``,
        and the lists of missing keys, unexpected keys and errors.
        """
        return RemovableHandle(self, "_load_state_dict_pre_hooks", hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        """As `register_load_state_dict_pre_hook`, of old: the hook is not given the module, unless asked."""
        if with_module:
            return self.register_load_state_dict_pre_hook(hook)
        return self.register_load_state_dict_pre_hook(_WithoutModule(hook))

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(module, incompatible_keys)`` called after loading; it may change the keys' lists."""
        return RemovableHandle(self, "_load_state_dict_post_hooks", hook)


# Classes, not closures, so that modules that have such hooks can be pickled.
class _ReturningNothing:
    """A hook that may not return anything."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self.hook = hook

    def __call__(self, *args: Any) -> None:
        if self.hook(*args) is not None:
            raise RuntimeError("state_dict post-hook must return None")


class _WithoutModule:
    """A hook that is called without the module."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self.hook = hook

    def __call__(self, module: Any, *args: Any) -> Any:
        return self.hook(*args)


def _load(
    module: Any,
    state_dict: Any,
    prefix: str,
    metadata: Mapping[str, dict[str, Any]],
    assign: bool,
    wrong: tuple[list[str], list[str], list[str]],
) -> None:
    """Load a module and those below it; the children see their own part of the dict only."""
    local = dict(metadata.get(prefix[:-1], {}))
    if assign:
        local["assign_to_params_buffers"] = True
    module._load_from_state_dict(state_dict, prefix, local, True, *wrong)
    for name, child in module._modules.items():
        if child is not None:
            below = f"{prefix}{name}."
            part = {key: x for key, x in state_dict.items() if key.startswith(below)}
            _load(child, part, below, metadata, assign, wrong)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, _IncompatibleKeys(*wrong[:2])) is not None:
            raise AssertionError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to"
                " return new values, if incompatible_keys need to be modified, it should be done"
                " inplace."
            )
