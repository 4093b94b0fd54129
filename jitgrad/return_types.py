"""What functions with several results return: tuples with a name for each item, printed as PyTorch does."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


class Results(tuple[Any, ...]):
    """A tuple of Tensors with a name for each."""

    __slots__ = ()
    fields: tuple[str, ...] = ()

    def __new__(cls, results: Iterable[Any]) -> Results:
        made = super().__new__(cls, results)
        if len(made) != len(cls.fields):
            raise TypeError(f"{cls.__name__} has {len(cls.fields)} items, not {len(made)}")
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (tuple(self),)

    def __repr__(self) -> str:
        items = ",\n".join(f"{n}={v!r}" for n, v in zip(self.fields, self, strict=True))
        return f"{type(self).__module__}.{type(self).__name__}(\n{items})"


class Extremes(Results):
    """Values, and their positions: of every function that finds elements along a dim."""

    values: Tensor
    indices: Tensor


def _of(name: str, *fields: str, base: type = Results) -> Any:
    space: dict[str, Any] = {"__slots__": (), "fields": fields, "__module__": __name__}
    space |= {field: property(itemgetter(i)) for i, field in enumerate(fields)}
    return type(name, (base,), space)


_PAIRS = ("values", "indices")
max, min = _of("max", *_PAIRS, base=Extremes), _of("min", *_PAIRS, base=Extremes)
sort, topk = _of("sort", *_PAIRS, base=Extremes), _of("topk", *_PAIRS, base=Extremes)
median, nanmedian = (
    _of("median", *_PAIRS, base=Extremes),
    _of("nanmedian", *_PAIRS, base=Extremes),
)
mode, kthvalue = _of("mode", *_PAIRS, base=Extremes), _of("kthvalue", *_PAIRS, base=Extremes)
cummax, cummin = _of("cummax", *_PAIRS, base=Extremes), _of("cummin", *_PAIRS, base=Extremes)
aminmax = _of("aminmax", "min", "max")
frexp = _of("frexp", "mantissa", "exponent")
histogram = _of("histogram", "hist", "bin_edges")
slogdet = _of("slogdet", "sign", "logabsdet")
svd, qr = _of("svd", "U", "S", "V"), _of("qr", "Q", "R")
triangular_solve = _of("triangular_solve", "solution", "cloned_coefficient")
linalg_slogdet = _of("linalg_slogdet", "sign", "logabsdet")
linalg_svd = _of("linalg_svd", "U", "S", "Vh")
linalg_qr = _of("linalg_qr", "Q", "R")
linalg_eigh = _of("linalg_eigh", "eigenvalues", "eigenvectors")
linalg_lstsq = _of("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
linalg_inv_ex = _of("linalg_inv_ex", "inverse", "info")
linalg_cholesky_ex = _of("linalg_cholesky_ex", "L", "info")
linalg_solve_ex = _of("linalg_solve_ex", "result", "info")


def extremes(name: str, values: Tensor, indices: Tensor) -> Extremes:
    """The results of the function ``name`` that finds elements along a dim."""
    return cast(Extremes, globals()[name]((values, indices)))
