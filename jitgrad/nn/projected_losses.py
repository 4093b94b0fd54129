"""Losses on classes that hold the linear layers which give the scores."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from jitgrad import creation
from jitgrad.nn import functional as F
from jitgrad.nn.containers import ModuleList, Sequential
from jitgrad.nn.functional.losses import need_no_options
from jitgrad.nn.linear import Linear
from jitgrad.nn.module import Module
from jitgrad.ops.joining import cat
from jitgrad.tensor import Tensor

__all__ = ["AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss"]


class LinearCrossEntropyLoss(Module):
    """`jitgrad.nn.functional.linear_cross_entropy` with a layer of its own.

    Parameters
    ----------
    in_features, num_classes : int
        Size of a sample; number of classes.
    out_features : tuple of int
        Dims of further targets for each sample.
    bias : bool
        Whether the layer has a bias.
    weight : Tensor, optional
        (num_classes): of each class.
    reduction : {"mean", "sum", "none"}
    ignore_index : int, optional
        A class that does not count (None: -100).
    label_smoothing : float
        Part of each target that is spread over all classes.
    options : None
        PyTorch's ways to save memory are not there.

    Raises
    ------
    NotImplementedError
        If ``options`` is not None.

    Examples
    --------
    >>> import jitgrad
    >>> loss = jitgrad.nn.LinearCrossEntropyLoss(3, 4)
    >>> loss(jitgrad.zeros(2, 3), jitgrad.tensor([0, 3])).item()
    1.3862943649291992
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.num_classes = in_features, num_classes
        self.out_features, self.reduction = tuple(out_features), reduction
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        need_no_options(options)
        self.register_buffer("weight", weight)
        rows = num_classes * prod(self.out_features)
        self.linear = Linear(in_features, rows, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """(N, in_features) and (N, *out_features) classes, or their probabilities, to the loss."""
        rows = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape([*rows, self.in_features]),
            target,
            linear_bias=None if bias is None else bias.reshape(rows),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"in_features={self.in_features}, num_classes={self.num_classes},"
            f" out_features={self.out_features}, bias={self.linear.bias is not None},"
            f" reduction={self.reduction}, ignore_index={self.ignore_index},"
            f" label_smoothing={self.label_smoothing}, options=None"
        )


class _Found(NamedTuple):
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """A softmax over many classes that spends less on the rarer ones (Grave et al. 2017).

    The classes are sorted, the most frequent first.  The head scores the first of them and each cluster of
    the others; within a cluster a smaller layer of its own scores the classes.

    Parameters
    ----------
    in_features, n_classes : int
        Size of a sample; number of classes.
    cutoffs : sequence of int
        Where the clusters begin, rising, between 1 and ``n_classes - 1``.
    div_value : float
        How much smaller each cluster's layer is than the one before.
    head_bias : bool
        Whether the head has a bias.

    Raises
    ------
    ValueError
        If the cutoffs are no such sequence.

    Examples
    --------
    >>> import jitgrad
    >>> loss = jitgrad.nn.AdaptiveLogSoftmaxWithLoss(4, 10, [3])
    >>> loss(jitgrad.zeros(2, 4), jitgrad.tensor([0, 9])).output
    tensor([-1.3863, -3.3322], grad_fn=<AddBackward0>)
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        given = list(cutoffs)
        if not given:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        whole = all(int(c) == c for c in given)
        rising = all(a < b for a, b in zip(given, given[1:], strict=False))
        if not (whole and rising and given[0] > 0 and given[-1] < n_classes):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order,"
                " where each value is between 1 and n_classes-1"
            )
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [*given, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(given)
        self.head_size = self.shortlist_size + self.n_clusters
        made = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **made)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // div_value ** (i + 1))
            classes = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, **made),
                    Linear(hidden, classes, bias=False, **made),
                )
            )

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        self.head.reset_parameters()
        for first, second in self.tail:
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _Found:
        """(N, in_features) and (N) classes, or one of each, to each target's log-probability and the loss.

        Raises
        ------
        RuntimeError
            If the batches differ, there are more dims, or a target is not a class.
        """
        dims = target_.dim()
        if dims == 1 and input_.shape[0] != target_.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if dims == 1 and input_.dim() != 2:
            raise RuntimeError(
                "1D target tensor expects 2D input tensors, but found inputs with size"
            )
        if dims == 0 and input_.dim() != 1:
            raise RuntimeError(
                "0D target tensor expects 1D input tensors, but found inputs with size"
            )
        if dims > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        x, target = (input_, target_) if dims else (input_.unsqueeze(0), target_.unsqueeze(0))
        if target.numel() and not (target.min() >= 0 and target.max() < self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range"
                f" [{target.min().item()}, {target.max().item()}] were found. "
            )
        # In the head a class of the tail is the entry of its cluster.
        entries, found = target, creation.zeros(target.shape[0], dtype=x.dtype, device=x.device)
        for i, (begin, end) in enumerate(zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            inside = (target >= begin) & (target < end)
            rows = inside.nonzero().squeeze(1)
            if rows.numel():
                scores = F.log_softmax(self.tail[i](x.index_select(0, rows)), dim=1)
                wanted = target.index_select(0, rows) - begin
                found = found.index_copy(0, rows, scores.gather(1, wanted.unsqueeze(1)).squeeze(1))
                entries = entries.masked_fill(inside, self.shortlist_size + i)
        head = F.log_softmax(self.head(x), dim=1)
        output = head.gather(1, entries.unsqueeze(1)).squeeze(1) + found
        loss = (-output).mean()
        return _Found(output if dims else output.squeeze(0), loss)

    def log_prob(self, input: Tensor) -> Tensor:
        """(N, in_features) to the log-probabilities of all classes, (N, n_classes)."""
        head = F.log_softmax(self.head(input), dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, layers in enumerate(self.tail):
            cluster = head[:, self.shortlist_size + i].unsqueeze(1)
            parts.append(F.log_softmax(layers(input), dim=1) + cluster)
        return cat(parts, dim=1)

    def predict(self, input: Tensor) -> Tensor:
        """(N, in_features) to the likeliest class of each sample, (N)."""
        likeliest: Tensor = self.log_prob(input).argmax(dim=1)
        return likeliest
