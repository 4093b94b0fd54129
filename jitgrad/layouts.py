"""layout: the kind of a tensor's memory; tensors here have strides and nothing else."""

from __future__ import annotations


class layout:  # noqa: N801 - PyTorch's name
    """The kind of a tensor's memory."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"jitgrad.{self._name}"

    def __reduce__(self) -> str:
        return self._name


strided = layout("strided")
