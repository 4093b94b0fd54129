"""How many blocks of how many threads a launch has."""

from __future__ import annotations

from jitgrad.cuda import memory

Shape = tuple[tuple[int, ...], tuple[int, ...]]


def blocks(n: int, block: int, most: int) -> int:
    """Blocks for ``n`` elements, a thread each, but at least 1 and not more than ``most``."""
    return max(1, min(-(-n // block), most))


def over(n: int) -> Shape:
    """Grid and block of a kernel whose threads walk over ``n`` elements."""
    device = memory.device()
    return (blocks(n, device.BLOCK, device.GRID),), (device.BLOCK,)


def lanes(n: int) -> Shape:
    """Grid and block of a kernel whose blocks walk over ``n`` lanes, the threads of a block on one lane."""
    device = memory.device()
    return (blocks(n, 1, device.GRID),), (device.LANE_BLOCK,)
