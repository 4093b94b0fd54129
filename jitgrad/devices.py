"""device: where a tensor's memory is."""

from __future__ import annotations

from typing import Any


class device:  # noqa: N801 - PyTorch's name
    """Where a tensor's memory is; this version knows ``"cpu"``."""

    __slots__ = ("index", "type")

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        name: str = str(type)
        name, _, number = name.partition(":")
        if name != "cpu":
            raise RuntimeError(
                f"Expected one of cpu device type at start of device string: {name}; this build of"
                " jitgrad computes on the CPU"
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
