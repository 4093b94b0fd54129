"""Custom functions: a forward and a backward in Python that take part in the graph."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jitgrad import errors
from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry, grad_mode, set_grad_mode
from jitgrad.arena.header import Fault
from jitgrad.autograd import watching
from jitgrad.autograd.hooks import Held
from jitgrad.dtypes import ALL
from jitgrad.ops import record, views
from jitgrad.ops.operands import is_tensor
from jitgrad.ops.recipe import shape_of, zeros
from jitgrad.ops.table import FUNCTION, OUTPUT

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


class Output(Held):
    """What the row of one of several outputs holds: backward stops there to set its gradient aside."""

    def __init__(self, number: int, count: int) -> None:
        self.number, self.count = number, count


class FunctionContext(Held):
    """The ``ctx`` of a custom function: what forward keeps for backward; any attribute may be set.

    Attributes
    ----------
    needs_input_grad : tuple of bool
        For each argument of forward whether its gradient is wanted.
    """

    _function: type[Function]
    needs_input_grad: tuple[bool, ...] = ()
    _saved: tuple[Any, ...] = ()
    #: What `save_for_forward` kept, and whether jvp runs, which sees that.
    _saved_forward: tuple[Any, ...] = ()
    _pushing = False
    #: Of a function with a jvp: shape and dtype of each argument that may have a tangent.
    _given: tuple[Any, ...] = ()
    _versions: Sequence[int] = ()
    _freed = False
    _materialize = True
    _dirty: tuple[Any, ...] = ()
    _plain: frozenset[int] = frozenset()
    _models: tuple[Any, ...] = ()
    #: Which arguments are Tensors; None: all.
    _places: tuple[int, ...] | None = None
    #: Of what was saved, the outputs: position -> which output it is.
    _outputs_saved: dict[int, int] = {}
    _node: Any = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `saved_tensors`; changing one in place afterwards is noticed.

        Raises
        ------
        TypeError
            If one is neither a Tensor nor None.
        """
        for x in tensors:
            if x is not None and not is_tensor(x):
                raise TypeError(
                    "save_for_backward can only save variables, but argument is of type"
                    f" {type(x).__name__}"
                )
        self._saved = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors that `saved_tensors` has when ``jvp`` reads it."""
        self._saved_forward = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept.

        Raises
        ------
        RuntimeError
            If a backward pass has freed them, or one was changed in place since.
        """
        if self._pushing and self._saved_forward:
            return self._saved_forward
        if self._freed:
            raise errors.from_fault(col.X_FREED, 0, 0, 0, ())
        if self.packed is not None:
            return tuple(None if x is None else self.packed[i] for i, x in enumerate(self._saved))
        for x, version in zip(self._saved, self._versions, strict=False):
            if x is not None and entry.version(x) != version:
                row = entry.row(x)
                raise errors.from_fault(col.X_VERSION, row, entry.version(x), version, ())
        if self._node is not None and self._outputs_saved and grad_mode():
            return tuple(
                _reattached(x, self._node, self._outputs_saved[i], len(self._models))
                if i in self._outputs_saved
                else x
                for i, x in enumerate(self._saved)
            )
        return self._saved

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs forward has changed in place; they must be returned."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say through which outputs no gradient flows."""
        self._plain = frozenset(id(x) for x in tensors)
        self._plain_outputs = tensors  # keeps the ids from being given out again

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (True, the default) or None for outputs that nothing depends on."""
        self._materialize = bool(value)

    def direct(self, gradient: Tensor, retain: bool) -> tuple[Any, ...]:
        """`run` of a function with one output and no hook, called by the pass itself."""
        found = self._function.backward(self, gradient)
        if not isinstance(found, tuple):
            found = (found,)
        if len(found) != len(self.needs_input_grad):
            found = self._counted(found)
        if not retain:
            self._saved_forward = ()
            if self._saved:
                self._saved, self._freed = (), True
        return found

    def fitted(self, node: Any, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        """What `direct` has returned, in the shapes and dtypes of the inputs."""
        from jitgrad.autograd import stops

        return tuple(stops.fitted(node, gradients))

    def _counted(self, found: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gradients without those of nothing at the end; RuntimeError if they are not as many as inputs."""
        n = len(self.needs_input_grad)
        if len(found) > n and all(g is None for g in found[n:]):
            found = found[:n]
        if len(found) != n:
            raise RuntimeError(
                f"function {type(self).__name__} returned an incorrect number of gradients (expected"
                f" {n}, got {len(found)})"
            )
        return found

    def run(self, gradients: Sequence[Any], retain: bool, node: Any) -> Sequence[Any]:
        """Call the user's backward: the gradients of the outputs in, those of the Tensor inputs out.

        ``node`` is the function's own.

        Raises
        ------
        RuntimeError
            If backward returns the wrong number of gradients.
        """
        if self._materialize and None in gradients:
            models = self._models or (_shape_and_dtype(node),)
            gradients = [
                zeros(model[0], model[1]) if g is None and model is not None else g
                for g, model in zip(gradients, models, strict=True)
            ]
        self._node = node
        try:
            if self._function._pushes:
                from jitgrad.autograd import pushing

                found = pushing.pulled(self, gradients)
                if found is not None:
                    return found if self._places is None else [found[i] for i in self._places]
            found = self._function.backward(self, *gradients)
        finally:
            # It holds the row, and the row this context.
            self._node = None
        found = self._counted(found if isinstance(found, tuple) else (found,))
        if self.after:
            for hook in list(self.after.values()):
                changed = hook(found, tuple(gradients))
                if changed is not None:
                    found = changed if isinstance(changed, tuple) else (changed,)
        if not retain:
            if self.packed is not None:
                self.packed.free()
            self._saved, self._freed = (), bool(self._saved) or self._freed
            self._saved_forward = ()
        if self._places is None:
            return found
        for i, g in enumerate(found):
            if g is not None and i not in self._places:
                raise RuntimeError(
                    f"function {type(self).__name__} returned a gradient different than None at position"
                    f" {i + 1}, but the corresponding forward input was not a Variable"
                )
        return [found[i] for i in self._places]

    def push(self, tangents: Sequence[Any]) -> tuple[Any, ...]:
        """Call the user's jvp: the tangents of all arguments in, those of the outputs out."""
        self._pushing = True
        try:
            found = self._function.jvp(self, *tangents)
        finally:
            self._pushing = False
        return found if isinstance(found, tuple) else (found,)


class Function:
    """A differentiable operation written in Python: subclass it and call ``apply``.

    ``forward(ctx, *args)`` computes, without recording; ``backward(ctx, *gradients)`` returns a gradient (or
    None) for each argument of forward.  With a method ``setup_context(ctx, inputs, output)``,
    forward does not get ``ctx``.

    Examples
    --------
    >>> import jitgrad
    >>> class Exp(jitgrad.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         y = x.exp()
    ...         ctx.save_for_backward(y)
    ...         return y
    ...
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (y,) = ctx.saved_tensors
    ...         return g * y
    >>> x = jitgrad.zeros(2, requires_grad=True)
    >>> Exp.apply(x).sum().backward()
    >>> x.grad
    tensor([1., 1.])
    """

    _context: type[FunctionContext]
    #: Whether forward takes the context itself: there is no setup_context.
    _own_context = True
    #: Whether a pass for tangents goes other ways than through its backward.
    _pushes = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Named as PyTorch names the node.
        cls._own_context = cls.setup_context is Function.setup_context
        backs = cls.backward is not Function.backward or cls.vjp is not Function.vjp
        cls._pushes = cls.jvp is not Function.jvp or not backs
        name = cls.__dict__.get("_node_name", f"{cls.__name__}Backward")
        cls._context = type(name, (FunctionContext,), {"_function": cls})
        if cls.vjp is not Function.vjp:
            # The two names of one method.
            both = cls.backward not in (Function.backward, cls.vjp)
            cls.backward = staticmethod(_refuse_both if both else cls.vjp)  # type: ignore[method-assign]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static,"
            " so you should invoke them on the class itself. Instantiating an autograd function will raise"
            " an error in a future version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises RuntimeError: an instance is not what is called."""
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style"
            " autograd function with static forward method. (Example:"
            " https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs; to be written by the subclass."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keep what backward needs, when forward takes no ``ctx``."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of forward's arguments; to be written by the subclass."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to"
            " use it with backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The tangents of the outputs from those of forward's arguments; may be written by the subclass.

        An argument that is no Tensor has None.  Without it forward mode goes by `backward`.
        """
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode"
            " AD."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward and record it as one node of the graph.

        Named arguments take their places among the others.

        Raises
        ------
        RuntimeError
            If a leaf that requires grad is marked dirty.
        TypeError
            If forward returns something that is neither Tensors nor plain values.
        """
        if kwargs:
            given = args if cls.setup_context is not Function.setup_context else (None, *args)
            bound = inspect.signature(cls.forward).bind(*given, **kwargs)
            args = bound.args[len(given) - len(args) :]
        ctx = cls._context()
        try:
            recording, needs = entry.begin(*args)
        except Fault:
            recording, needs = call(entry.begin, *args)
        try:
            ctx.needs_input_grad = needs
            if cls._own_context:
                made = cls.forward(ctx, *args)
            else:
                made = cls.forward(*args)
                cls.setup_context(ctx, args, made)
            for x in ctx._dirty:
                # Also if forward has changed it in a way that nobody counted.
                entry.bump(x)
            if cls._pushes:
                ctx._given = tuple(
                    (tuple(a.shape), a.dtype)
                    if is_tensor(a) and a.dtype.is_floating_point
                    else None
                    for a in args
                )
            saved = ctx._saved
            if saved:
                ctx._versions = entry.versions(*saved)
            if not recording or True not in needs:
                return made
            if is_tensor(made) and _plain(ctx, made, args):
                return made
            outputs = made if isinstance(made, tuple) else (made,)
            tensors = [is_tensor(a) for a in args]
            outputs = _recorded(ctx, args, tensors, outputs)
        finally:
            set_grad_mode(recording)
        return outputs if isinstance(made, tuple) else outputs[0]


def _refuse_both(ctx: Any, *gradients: Any) -> Any:
    raise RuntimeError(
        "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should only"
        " implement one of them."
    )


def _plain(ctx: FunctionContext, output: Tensor, args: tuple[Any, ...]) -> bool:
    """Record the usual function in one call: one output, of which nothing is special."""
    if ctx._dirty or ctx._plain or watching.watchers():
        return False
    try:
        done = entry.function_call(_FUNCTION, _FLAGS, _OUTPUT, ctx, output, *args)
    except Fault:
        done = call(entry.function_call, _FUNCTION, _FLAGS, _OUTPUT, ctx, output, *args)
    if done:
        for i, x in enumerate(ctx._saved):
            if x is output:
                # Kept as the same memory without history: see `_recorded`.
                ctx._outputs_saved = {**ctx._outputs_saved, i: 0}
                ctx._saved = (*ctx._saved[:i], output.detach(), *ctx._saved[i + 1 :])
        if ctx._saved_forward:
            ctx._saved_forward = tuple(x.detach() if x is output else x for x in ctx._saved_forward)
    return done


_FUNCTION, _OUTPUT = FUNCTION.number, OUTPUT.number
_FLAGS = col.F_PYTHON | col.F_DIRECT


def _shape_and_dtype(node: Any) -> tuple[Any, Any]:
    return shape_of(node), ALL[entry.node_word(node, col.DTYPE)]


def _recorded(
    ctx: FunctionContext, args: tuple[Any, ...], tensors: list[bool], outputs: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Make the outputs of forward the outputs of one node."""
    from jitgrad.tensor import Tensor

    ctx._places = tuple(i for i, t in enumerate(tensors) if t)
    inputs = [args[i] for i in ctx._places]
    dirty = _checked_dirty(ctx, inputs, outputs)
    first = next((x for x in outputs if _flows(ctx, x)), None)
    if first is None:
        return outputs
    ctx._models = tuple(
        (tuple(x.shape), x.dtype) if isinstance(x, Tensor) else None for x in outputs
    )
    node = call(entry.function, FUNCTION.number, col.F_PYTHON, ctx, first, *inputs)
    own = {id(x) for x in inputs}
    several = len(outputs) > 1
    found: list[Any] = []
    replaced: dict[int, Any] = {}
    for number, x in enumerate(outputs):
        if id(x) in replaced or not _flows(ctx, x):
            returned = id(x) in own and id(x) not in dirty
            found.append(replaced.get(id(x), x.detach() if returned else x))
            continue
        new = _own_row(x, id(x) in dirty, id(x) in own)
        call(entry.output, OUTPUT.number, 0, new, number, node)
        if new._is_view():
            entry.flag(new, col.F_VIEW_MADE, 0)
            entry.flag(new, col.F_VIEW_SEVERAL if several else col.F_VIEW_FUNCTION, 1)
        if several:
            entry.hold(call(entry.node, new), Output(number, len(outputs)), col.F_PYTHON, 1)
        if id(x) in dirty:
            entry.set_grad(x, None)
            new = call(entry.adopt, x, new)
        replaced[id(x)] = new
        found.append(new)
    # What it has changed shows its own node now, and so would keep that alive for ever.
    ctx._dirty = ()
    # A saved output would, too: what is kept is the same memory without it.
    numbers = {id(y): i for i, y in enumerate(found)}
    kept = {id(y) for y in replaced.values()}
    ctx._outputs_saved = {i: numbers[id(x)] for i, x in enumerate(ctx._saved) if id(x) in kept}
    ctx._saved = tuple(x.detach() if id(x) in kept else x for x in ctx._saved)
    ctx._saved_forward = tuple(x.detach() if id(x) in kept else x for x in ctx._saved_forward)
    if watching.watchers():
        from jitgrad.autograd import graph

        graph.pack_saved(ctx)
    return tuple(found)


def _reattached(x: Tensor, node: Any, number: int, count: int) -> Tensor:
    """A saved output that is again the output of its function's node."""
    found = x.detach()
    call(entry.output, OUTPUT.number, 0, found, number, node)
    if count > 1:
        entry.hold(call(entry.node, found), Output(number, count), col.F_PYTHON, 1)
    return found


def _checked_dirty(ctx: FunctionContext, inputs: list[Any], outputs: tuple[Any, ...]) -> set[int]:
    """The ids of what forward has changed in place; raises RuntimeError if that can't be recorded."""
    for x in ctx._dirty:
        if (
            entry.word(x, col.OP) == col.LEAF
            and entry.word(x, col.FLAGS) & col.F_REQUIRES_GRAD
            and not x._is_view()
        ):
            raise RuntimeError(
                "a leaf Variable that requires grad has been used in an in-place operation."
            )
        if all(x is not out for out in outputs):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as output. The"
                " inputs that are modified inplace must all be outputs of the Function."
            )
        if all(x is not given for given in inputs):
            warnings.warn(
                "Only input Tensors should be given to ctx.mark_dirty(). If a Tensor is not an input,"
                " there is no need to pass it to mark_dirty().",
                UserWarning,
                stacklevel=4,
            )
        if x._is_view() and len(outputs) > 1:
            raise RuntimeError(
                "If your Function modifies inplace an input that is a view of another Tensor, your"
                " Function cannot return more than one Tensor. You should either make sure the input is"
                " not a view (using .clone() for example) or make your Function only return one Tensor."
            )
    return {id(x) for x in ctx._dirty}


def _own_row(x: Any, dirty: bool, given: bool) -> Any:
    """An output of forward as a Tensor whose row has no history yet."""
    if given and not dirty:
        # Returned as it came in: a view of the input.
        return record.view(views.ALIAS, x)
    has_history = entry.word(x, col.OP) != col.LEAF
    if dirty or has_history or entry.word(x, col.FLAGS) & col.F_REQUIRES_GRAD:
        return x.detach()
    return x


def _flows(ctx: FunctionContext, x: Any) -> bool:
    """Whether a gradient can come to an output of forward."""
    from jitgrad.tensor import Tensor

    return isinstance(x, Tensor) and x.dtype.is_floating_point and id(x) not in ctx._plain


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a backward whose own operations are not to be differentiated: a second backward raises."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *gradients: Any) -> Any:
        from jitgrad.tensor import Tensor

        recording = set_grad_mode(False)
        try:
            found = backward(ctx, *gradients)
        finally:
            set_grad_mode(recording)
        sources = [g for g in gradients if isinstance(g, Tensor) and g.requires_grad]
        if not recording or not sources:
            return found
        outputs = found if isinstance(found, tuple) else (found,)
        outputs = tuple(_Once.apply(g, *sources) if isinstance(g, Tensor) else g for g in outputs)
        return outputs if isinstance(found, tuple) else outputs[0]

    return wrapper


class _Once(Function):
    """Stands above a gradient that can't be differentiated, and says so when somebody tries."""

    @staticmethod
    def forward(ctx: Any, gradient: Any, *sources: Any) -> Any:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
