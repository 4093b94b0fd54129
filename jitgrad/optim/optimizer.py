"""The base of all optimisers: parameter groups, state, hooks, state dicts."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, cast

from jitgrad.arena.engine import entry
from jitgrad.arena.header import Fault
from jitgrad.autograd.grad_mode import no_grad
from jitgrad.autograd.hooks import RemovableHandle
from jitgrad.optim.rules import not_a_tensor, type_name
from jitgrad.tensor import Tensor

Group = dict[str, Any]
Hook = Callable[..., Any]


class _Required:
    """Marks a default that every group has to give itself."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class _Everywhere:
    """The hooks of all optimisers."""

    def __init__(self) -> None:
        self.before: dict[int, Hook] = {}
        self.after: dict[int, Hook] = {}


_everywhere = _Everywhere()


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """Have ``hook(optimizer, args, kwargs)`` called before each step of every optimiser."""
    return RemovableHandle(cast(Any, _everywhere), "before", hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """Have ``hook(optimizer, args, kwargs)`` called after each step of every optimiser."""
    return RemovableHandle(cast(Any, _everywhere), "after", hook)


def _hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """A ``step`` that calls the hooks before and after."""

    @functools.wraps(step)
    def with_hooks(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        for hook in [*_everywhere.before.values(), *self._optimizer_step_pre_hooks.values()]:
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got"
                        f" {changed}."
                    )
                args, kwargs = changed
        self._opt_called = True
        result = step(self, *args, **kwargs)
        for hook in [*self._optimizer_step_post_hooks.values(), *_everywhere.after.values()]:
            hook(self, args, kwargs)
        return result

    return with_hooks


_OWN = object()
#: Options that older checkpoints lack, and what they mean without.  Others have to be there.
_ADDED_LATER = {
    "amsgrad": False,
    "capturable": False,
    "centered": False,
    "decoupled_weight_decay": _OWN,
    "differentiable": False,
    "foreach": None,
    "fused": None,
    "maximize": False,
    "nesterov": False,
}


class Optimizer:
    """Changes parameters by their gradients; the base class of all optimisers.

    Parameters
    ----------
    params : iterable
        Tensors, (name, Tensor) pairs, or dicts: groups with a key ``"params"`` and options of their own.
    defaults : dict
        The options of groups that do not give them.

    Raises
    ------
    TypeError
        If the parameters are a single Tensor, a set, or no Tensors.
    ValueError
        If there are none, one is no leaf, is in two groups, or names are given for some only.
    """

    _optimizer_step_pre_hooks: OrderedDict[int, Hook]
    _optimizer_step_post_hooks: OrderedDict[int, Hook]
    _optimizer_state_dict_pre_hooks: OrderedDict[int, Hook]
    _optimizer_state_dict_post_hooks: OrderedDict[int, Hook]
    _optimizer_load_state_dict_pre_hooks: OrderedDict[int, Hook]
    _optimizer_load_state_dict_post_hooks: OrderedDict[int, Hook]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._make_hooks()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but"
                f" got {type_name(params)}"
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[Group] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def _make_hooks(self) -> None:
        for kind in Optimizer.__annotations__:
            if kind not in self.__dict__:
                setattr(self, kind, OrderedDict())

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_hooks()
        for group in self.param_groups:
            for name, value in _ADDED_LATER.items():
                if name in self.defaults:
                    group.setdefault(name, self.defaults[name] if value is _OWN else value)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            options = [f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params"]
            text += f"\nParameter Group {i}\n" + "".join(options)
        return text + ")"

    # ------------------------------------------------------------ for schedulers
    _opt_called = False

    def _watch_steps(self) -> None:
        """Note that a scheduler has begun: from now on it counts whether `step` was called."""
        if "_step_before" not in self.__dict__:
            self._step_before = self.__dict__.get("step")
            self._opt_called = False

    def _replaced_step(self) -> bool:
        """Whether somebody has put another ``step`` into this object since then."""
        return self.__dict__.get("step") is not self.__dict__.get("_step_before")

    # ------------------------------------------------------------ hooks
    def _hook(self, kind: str, hook: Hook, first: bool = False) -> RemovableHandle:
        handle = RemovableHandle(cast(Any, self), kind, hook)
        if first:
            getattr(self, kind).move_to_end(handle.id, last=False)
        return handle

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Have ``hook(optimizer, args, kwargs)`` called before each step; it may return new ones."""
        return self._hook("_optimizer_step_pre_hooks", hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Have ``hook(optimizer, args, kwargs)`` called after each step."""
        return self._hook("_optimizer_step_post_hooks", hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer)`` called before `state_dict`."""
        return self._hook("_optimizer_state_dict_pre_hooks", hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer, state_dict)`` called after `state_dict`; it may return another."""
        return self._hook("_optimizer_state_dict_post_hooks", hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Have ``hook(optimizer, state_dict)`` called before `load_state_dict`; it may return another."""
        return self._hook("_optimizer_load_state_dict_pre_hooks", hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Have ``hook(optimizer)`` called after `load_state_dict`."""
        return self._hook("_optimizer_load_state_dict_post_hooks", hook, prepend)

    # ------------------------------------------------------------ state dicts
    def state_dict(self) -> dict[str, Any]:
        """The state and the groups, with parameters replaced by their numbers.

        Returns
        -------
        dict
            ``"state"``: number to state; ``"param_groups"``: the groups.  Tensors are not copied.

        Examples
        --------
        >>> import jitgrad
        >>> jitgrad.optim.SGD([jitgrad.ones(1)], lr=0.1).state_dict()["param_groups"][0]["params"]
        [0]
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        start = 0
        for group in self.param_groups:
            for i, p in enumerate(group["params"], start):
                numbers.setdefault(id(p), i)
            start += len(group["params"])
            packed = {key: value for key, value in group.items() if key != "params"}
            groups.append({**packed, "params": [numbers[id(p)] for p in group["params"]]})
        state = {
            numbers[id(key)] if isinstance(key, Tensor) else key: value
            for key, value in self.state.items()
        }
        made: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            made = _else(hook(self, made), made)
        return made

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state and options that `state_dict` gave, PyTorch's too.

        State tensors get the dtype and the device of their parameter, except ``step``.

        Raises
        ------
        ValueError
            If the number of groups, or of parameters in one, differs.  Nothing is changed then.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = _else(hook(self, state_dict), state_dict)
        saved = copy.deepcopy(state_dict["param_groups"])
        if len(self.param_groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(
            len(mine["params"]) != len(theirs["params"])
            for mine, theirs in zip(self.param_groups, saved, strict=True)
        ):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of"
                " optimizer's group"
            )
        params: dict[Any, tuple[Tensor, Group]] = {}
        for mine, theirs in zip(self.param_groups, saved, strict=True):
            for number, p in zip(theirs["params"], mine["params"], strict=True):
                params[number] = p, theirs
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in params:
                p, group = params[key]
                state[p] = _fitted(value, p, group)
            else:
                state[key] = value
        for mine, theirs in zip(self.param_groups, saved, strict=True):
            theirs["params"] = mine["params"]
            if "param_names" in mine:
                theirs.setdefault("param_names", mine["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    # ------------------------------------------------------------ parameters
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or (``set_to_none=False``) set them to zero."""
        for group in self.param_groups:
            params = group["params"]
            if set_to_none:
                params = params if type(params) is list else list(params)
                try:
                    entry.clear_grads(params)
                except Fault as fault:
                    raise not_a_tensor(params[fault.args[1]]) from None
                continue
            for p in params:
                if p.grad is not None:
                    if p.grad.grad_fn is not None:
                        p.grad.detach_()
                    else:
                        p.grad.requires_grad_(False)
                    with no_grad():
                        p.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters once; a subclass says how."""
        raise NotImplementedError

    def add_param_group(self, param_group: Group) -> None:
        """Add a group: a dict with ``"params"`` and the options that differ from the defaults.

        Raises
        ------
        TypeError, ValueError
            As the constructor does.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of"
                " tensors in sets will change between runs. Please use a list instead."
            )
        params = list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        param_group["params"] = params
        if names:
            if len(names) != len(params):
                raise ValueError(
                    "all optimizer params should be with/without names. Some param names are missing"
                )
            param_group["param_names"] = names
        for p in params:
            if not isinstance(p, Tensor):
                raise not_a_tensor(p)
            if not (self.defaults.get("differentiable") or p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    f"parameter group didn't specify a value of required optimization parameter {name}"
                )
            param_group.setdefault(name, default)
        if len(params) != len({id(p) for p in params}):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will"
                " cause an error; see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in param_group) != ("param_names" in group):
                which = "with" if names else "without"
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group"
                    f" {which} names to the optimizer"
                )
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if not known.isdisjoint(id(p) for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)


def _else(value: Any, default: Any) -> Any:
    return default if value is None else value


def _fitted(value: Any, p: Tensor, group: Group, key: Any = None) -> Any:
    """A piece of loaded state, its tensors in the dtype that it has for a parameter."""
    from jitgrad import dtypes

    if isinstance(value, Tensor):
        if key == "step":
            kept = group.get("capturable") or group.get("fused")
            return value.to(p.device, dtypes.float32) if kept else value
        return value.to(p.device, p.dtype) if p.is_floating_point() else value.to(p.device)
    if isinstance(value, dict):
        return {k: _fitted(v, p, group, k) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return type(value)(_fitted(v, p, group) for v in value)  # type: ignore[call-arg]
    return value
