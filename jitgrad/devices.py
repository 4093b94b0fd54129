"""device: where a tensor's memory is."""

from __future__ import annotations

from typing import Any

_TYPES = ("cpu", "cuda")


class device:  # noqa: N801 - PyTorch's name
    """Where a tensor's memory is: ``"cpu"``, or ``"cuda"``, the GPU (`jitgrad.cuda`).

    Raises
    ------
    RuntimeError
        For any other name.
    """

    __slots__ = ("index", "type")

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        name: str = str(type)
        name, _, number = name.partition(":")
        if name not in _TYPES:
            raise RuntimeError(
                f"Expected one of cpu, cuda device type at start of device string: {name}"
            )
        self.type = name
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        more = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{more})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


CPU = device("cpu")
CUDA = device("cuda", 0)


def usable(value: Any) -> device:
    """The device that an argument means, which must be there: a device, its name, or a GPU's number.

    Raises
    ------
    RuntimeError
        If there is no such device.
    AssertionError
        If what compiles for the GPU is not installed.
    """
    found = device("cuda", value) if isinstance(value, int) else device(value)
    if found.type == "cpu":
        return CPU
    from jitgrad.cuda import memory

    memory.device()
    if found.index not in (None, 0):
        raise RuntimeError(
            f"CUDA error: invalid device ordinal {found.index}: jitgrad uses one GPU, cuda:0"
        )
    return CUDA
