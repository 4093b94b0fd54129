"""Which functions of the namespace are Tensor methods as well."""

from __future__ import annotations

from typing import Any

from jitgrad import attributes, creation, random, storage, tapers
from jitgrad.calling import OUT, widened
from jitgrad.ops import (
    accumulating,
    activations,
    arithmetic,
    arranging,
    assigning,
    comparison,
    contractions,
    convolution,
    counting,
    diagonals,
    einsum,
    elementwise,
    gathering,
    indexing,
    inplace,
    joining,
    max_pooling,
    normalization,
    operators,
    picking,
    products,
    quantiles,
    reductions,
    resampling,
    sampled,
    scattering,
    scipy_special,
    sorting,
    special,
    views,
)
from jitgrad.tensor import Tensor

_METHODS = {
    elementwise: [name for name in elementwise.FUNCTIONS if name != "special_expit"],
    arithmetic: (
        "add sub div true_divide floor_divide pow round clamp clamp_min clamp_max masked_fill lerp addcmul"
        " addcdiv square bitwise_not subtract divide clip"
    ).split(),
    reductions: (
        "sum mean prod amax amin max min argmax argmin all any var std norm logsumexp softmax log_softmax"
        " cumsum"
    ).split(),
    sorting: "sort argsort msort topk kthvalue median nanmedian mode cummax cummin".split(),
    quantiles: "aminmax quantile nanquantile".split(),
    counting: "unique unique_consecutive bincount histc histogram isin".split(),
    special: (
        "logit logit_ nan_to_num nan_to_num_ heaviside signbit positive float_power ldexp ldexp_ isposinf"
        " isneginf isreal gcd gcd_ lcm lcm_ erfinv erfinv_ lgamma lgamma_ digamma digamma_"
    ).split(),
    scipy_special: "i0 i0_ nextafter igamma igammac mvlgamma angle frexp".split(),
    sampled: "cov corrcoef".split(),
    accumulating: (
        "cumprod cumprod_ logcumsumexp diff nansum nanmean count_nonzero renorm renorm_"
    ).split(),
    arranging: "ravel hsplit vsplit dsplit fliplr flipud rot90 sum_to_size".split(),
    comparison: "allclose isclose equal".split(),
    contractions: (
        "addmv addmv_ addr addr_ baddbmm baddbmm_ addbmm addbmm_ ger vdot inner kron cross matrix_power"
        " dist"
    ).split(),
    diagonals: (
        "trace diag diagflat diag_embed diagonal_scatter select_scatter slice_scatter masked_scatter"
        " masked_scatter_"
    ).split(),
    scattering: "scatter_reduce scatter_reduce_ index_reduce index_reduce_".split(),
    products: "mm bmm mv dot addmm outer matmul".split(),
    views: (
        "reshape flatten unflatten transpose swapaxes t permute movedim moveaxis squeeze unsqueeze expand"
        " broadcast_to select narrow diagonal unfold as_strided as_strided_ unbind split chunk tensor_split"
        " transpose_ swapaxes_ swapdims_"
        " t_ unsqueeze_ squeeze_"
    ).split(),
    joining: "flip repeat tile tril triu roll".split(),
    gathering: "gather take_along_dim scatter scatter_add scatter_ scatter_add_".split(),
    picking: (
        "index_select index_add index_copy index_fill index_add_ index_copy_ index_fill_ take"
        " masked_select nonzero argwhere repeat_interleave"
    ).split(),
    indexing: "index_put index_put_ put put_".split(),
    inplace: "addmm_ cumsum_ tril_ triu_ heaviside_ float_power_ fill_diagonal_".split(),
    creation: "new_empty new_zeros new_ones new_full new_tensor".split(),
    random: (
        "bernoulli multinomial poisson uniform_ normal_ bernoulli_ exponential_ random_ geometric_"
        " cauchy_ log_normal_"
    ).split(),
    activations: "hardshrink prelu".split(),
}


def _matmul(self: Tensor, other: Any) -> Any:
    if not isinstance(other, Tensor):
        other = elementwise.as_operand(other)
        if not isinstance(other, Tensor):
            return NotImplemented
    return products.matmul(self, other)


def _reflected_matmul(self: Tensor, other: Any) -> Any:
    other = elementwise.as_operand(other)
    return products.matmul(other, self) if isinstance(other, Tensor) else NotImplemented


def _split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """`split` under the method's name of its argument."""
    return views.split(self, split_size, dim)


def attach() -> None:
    """Give Tensor its methods and operators."""
    for module, names in _METHODS.items():
        for name in names:
            source = vars(module)
            if module is elementwise:
                source = elementwise.FUNCTIONS | elementwise.METHODS
            if name in source:
                found = source[name]
                setattr(Tensor, name, found if module is elementwise else widened(found))
    extra = {
        "__matmul__": _matmul,
        "__rmatmul__": _reflected_matmul,
        "split": _split,
        "swapdims": views.swapaxes,
        "polygamma": lambda self, n: special.polygamma(n, self),
        "where": lambda self, condition, other: arithmetic.where(condition, self, other),
    }
    extra |= {f.__name__: f for f in (storage.resize_, storage.set_, storage.untyped_storage)}
    own = (operators.OPERATORS, assigning.INPLACE, attributes.METHODS, attributes.PROPERTIES, extra)
    for table in own:
        for name, method in table.items():
            setattr(Tensor, name, method)


attach()


_NAMESPACE_ONLY = {
    arithmetic: "where clone rsub".split(),
    accumulating: "var_mean std_mean".split(),
    arranging: (
        "atleast_1d atleast_2d atleast_3d hstack vstack row_stack dstack column_stack block_diag meshgrid"
        " cartesian_prod combinations"
    ).split(),
    contractions: "chain_matmul cdist".split(),
    diagonals: "tril_indices triu_indices".split(),
    einsum: "einsum tensordot".split(),
    max_pooling: (
        "max_pool1d max_pool2d max_pool3d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d"
        " max_pool1d_with_indices"
    ).split(),
    resampling: "channel_shuffle pixel_shuffle pixel_unshuffle".split(),
    special: ["polygamma"],
    sampled: "trapezoid cumulative_trapezoid gradient".split(),
    tapers: [f"{name}_window" for name in "hann hamming blackman bartlett kaiser".split()],
    counting: "searchsorted bucketize".split(),
    normalization: "group_norm layer_norm rms_norm".split(),
    convolution: [f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)],
    joining: "cat concat concatenate stack".split(),
    picking: ["embedding"],
    activations: "celu rrelu selu threshold".split(),
}


#: Methods that are functions of the namespace too.
_IN_PLACE = (
    "abs_ acos_ acosh_ addmv_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ atan_ atanh_"
    " ceil_ clamp_ clamp_max_ clamp_min_ clip_ cos_ cosh_ deg2rad_ detach detach_ erf_ erfc_ exp2_ exp_"
    " expm1_ fill_ fix_ floor_ frac_ gcd_ i0_ index_put_ lcm_ ldexp_ log10_ log1p_ log2_ log_ logit_"
    " nan_to_num_ neg_ negative_ rad2deg_ reciprocal_ relu_ round_ rsqrt_ sigmoid_ sin_ sinc_ sinh_ sqrt_"
    " square_ tan_ tanh_ trunc_ xlogy_ zero_"
).split()


def public() -> dict[str, Any]:
    """The functions of the namespace: every op under its PyTorch name."""
    found: dict[str, Any] = dict(elementwise.FUNCTIONS)
    for table in (_METHODS, _NAMESPACE_ONLY):
        for module, names in table.items():
            if module in (elementwise, creation, random):
                continue
            found |= {
                n: widened(vars(module)[n], OUT.get(n, ""), checked=True)
                for n in names
                if n in vars(module)
            }
    found |= attributes.NAMESPACE
    found |= {name: getattr(Tensor, name) for name in _IN_PLACE}
    found["trapz"], found["swapdims"] = found["trapezoid"], found["swapaxes"]
    methods_only = {"repeat", "expand", "unfold"} | {
        n for n in found if n.endswith("_") and n not in _IN_PLACE
    }
    return {n: f for n, f in found.items() if n not in methods_only}
