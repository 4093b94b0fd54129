"""L-BFGS: a quasi-Newton method that remembers its last steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.autograd.grad_mode import enable_grad, no_grad
from jitgrad.ops.joining import cat
from jitgrad.optim.line_search import Point, strong_wolfe
from jitgrad.optim.optimizer import Optimizer
from jitgrad.optim.ruled import check_lr
from jitgrad.tensor import Tensor


class LBFGS(Optimizer):
    """L-BFGS, optionally with a line search; each step evaluates the closure several times.

    Parameters
    ----------
    params : iterable
        Tensors; one group only.
    lr : float
        The step length, or the first one that the line search tries.
    max_iter, max_eval : int
        Iterations and evaluations a step (default: 1.25 evaluations an iteration).
    tolerance_grad, tolerance_change : float
        A step ends where the gradient, or the change of parameters or loss, is smaller.
    history_size : int
        Steps remembered.
    line_search_fn : str, optional
        ``"strong_wolfe"`` or None.

    Raises
    ------
    ValueError
        If there are several groups or the learning rate is negative.

    Examples
    --------
    >>> import jitgrad
    >>> w = jitgrad.tensor([5.0, -3.0], requires_grad=True)
    >>> optimizer = jitgrad.optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((w - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> loss = optimizer.step(closure)
    >>> w.round().tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    def _gradient(self) -> Tensor:
        """All gradients as one vector."""
        parts = []
        for p in self.param_groups[0]["params"]:
            parts.append(p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1))
        return cat(parts, 0)

    def _move(self, t: float, d: Tensor) -> None:
        """Add ``t * d`` to the parameters."""
        first = 0
        for p in self.param_groups[0]["params"]:
            p.add_(d[first : first + p.numel()].reshape(tuple(p.shape)), alpha=t)
            first += p.numel()

    def _search(
        self,
        closure: Callable[[], Any],
        t: float,
        d: Tensor,
        loss: float,
        gradient: Tensor,
        slope: float,
        most: int,
    ) -> tuple[Point, int]:
        params = self.param_groups[0]["params"]
        origin = [p.clone() for p in params]

        def evaluate(t: float) -> Point:
            self._move(t, d)
            value = float(closure())
            found = self._gradient()
            for p, start in zip(params, origin, strict=True):
                p.copy_(start)
            return Point(t, value, found, float(found.dot(d)))

        start = Point(0.0, loss, gradient.clone(), slope)
        return strong_wolfe(evaluate, start, t, float(d.abs().max()), most)

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the parameters towards a minimum, up to ``max_iter`` iterations.

        Parameters
        ----------
        closure : callable
            Sets the gradients to None, computes the loss and its gradients, and returns the loss.

        Returns
        -------
        The first value of ``closure``.
        """
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        closure = enable_grad()(closure)
        group = self.param_groups[0]
        search = group["line_search_fn"]
        lr = float(group["lr"])
        # The state belongs to all parameters; it is kept with the first, so that loading casts it.
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = closure()
        loss = float(first_loss)
        calls = 1
        state["func_evals"] += 1
        gradient = self._gradient()
        if float(gradient.abs().max()) <= group["tolerance_grad"]:
            return first_loss
        d, t = state.get("d"), state.get("t")
        before, loss_before = state.get("prev_flat_grad"), state.get("prev_loss")
        for n in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d = -gradient
                state |= {"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1}
            else:
                _remember(state, gradient - before, d * t, group["history_size"])
                d = _direction(state, gradient, group["history_size"])
            before, loss_before = gradient.clone(), loss
            t = lr
            if state["n_iter"] == 1:
                t = min(1.0, 1.0 / float(gradient.abs().sum())) * lr
            slope = float(gradient.dot(d))
            if slope > -group["tolerance_change"]:
                break
            new_calls = 0
            flat = False
            if search is not None:
                if search != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                most = group["max_eval"] - calls
                point, new_calls = self._search(closure, t, d, loss, gradient, slope, most)
                t, loss, gradient = point.t, point.loss, point.gradient
                self._move(t, d)
                flat = float(gradient.abs().max()) <= group["tolerance_grad"]
            else:
                self._move(t, d)
                if n != group["max_iter"]:
                    loss = float(closure())
                    gradient = self._gradient()
                    flat = float(gradient.abs().max()) <= group["tolerance_grad"]
                    new_calls = 1
            calls += new_calls
            state["func_evals"] += new_calls
            if (
                flat
                or n == group["max_iter"]
                or calls >= group["max_eval"]
                or float((d * t).abs().max()) <= group["tolerance_change"]
                or abs(loss - loss_before) < group["tolerance_change"]
            ):
                break
        state |= {"d": d, "t": t, "prev_flat_grad": before, "prev_loss": loss_before}
        return first_loss


def _remember(state: dict[str, Any], y: Tensor, s: Tensor, most: int) -> None:
    """Add a change of the gradient and the step that made it, if the curvature between is positive."""
    ys = y.dot(s)
    if not float(ys) > 1e-10:
        return
    if len(state["old_dirs"]) == most:
        for key in ("old_dirs", "old_stps", "ro"):
            state[key].pop(0)
    state["old_dirs"].append(y)
    state["old_stps"].append(s)
    state["ro"].append(1.0 / ys)
    state["H_diag"] = ys / y.dot(y)


def _direction(state: dict[str, Any], gradient: Tensor, most: int) -> Tensor:
    """The inverse Hessian that the memory stands for, times minus the gradient: two loops over it."""
    memory = list(zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True))
    weights = state.setdefault("al", [None] * most)
    q = -gradient
    for i in range(len(memory) - 1, -1, -1):
        y, s, ro = memory[i]
        weights[i] = s.dot(q) * ro
        q.add_(y * -weights[i])
    d = q * state["H_diag"]
    for i, (y, s, ro) in enumerate(memory):
        d.add_(s * (weights[i] - y.dot(d) * ro))
    return d
