"""FloatTensor, LongTensor and the like: PyTorch's older names of a tensor of a dtype."""

from __future__ import annotations

from typing import Any

from jitgrad import creation, dtypes
from jitgrad.tensor import Tensor


class _Typed(type):
    """The class of the typed tensors' classes: their instances are the Tensors of a dtype on the CPU."""

    dtype: dtypes.dtype

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Tensor) and value.dtype is cls.dtype and not value.is_cuda

    def __call__(cls, *data: Any) -> Tensor:
        if not data:
            return creation.empty(0, dtype=cls.dtype)
        if len(data) == 1 and not isinstance(data[0], int):
            if isinstance(data[0], type(creation.empty(0).shape)):
                return creation.empty(data[0], dtype=cls.dtype)
            return creation.tensor(data[0], dtype=cls.dtype)
        return creation.empty(*data, dtype=cls.dtype)


def _of(dtype: dtypes.dtype) -> Any:
    name = f"{dtype.letter}Tensor"
    about = f"``{name}(2, 3)`` is uninitialised, ``{name}([1])`` holds data; both are {dtype.name}."
    return _Typed(name, (), {"dtype": dtype, "__doc__": about, "__module__": "jitgrad"})


ALL = {f"{dtype.letter}Tensor": _of(dtype) for dtype in dtypes.ALL}


def dtype_of(name: str) -> dtypes.dtype:
    """The dtype that a name such as ``torch.FloatTensor`` means; raises ValueError for another."""
    kind = ALL.get(name.rpartition(".")[2])
    if kind is None:
        raise ValueError(f"invalid type: {name!r}")
    return kind.dtype


def set_default_tensor_type(t: Any) -> None:
    """The dtype that Python floats become, by the name or the class of its tensors."""
    dtype = dtype_of(t) if isinstance(t, str) else t.dtype
    creation.set_default_dtype(dtype)
