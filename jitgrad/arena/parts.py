"""The parts of the core: what is compiled and kept together, and what Python can call of it.

A part is one object file.  The first is loaded when jitgrad is imported, another when it is used first: a
perceptron needs no views, hooks or optimiser, and to compile what nobody had asked for took a third of a
first start.  Parts share no code but helpers, which each compiles for itself; where one calls
another it does so through a *routine*, a C function whose address stands in the header.
"""

from __future__ import annotations

from dataclasses import dataclass

from jitgrad.arena import columns as col


@dataclass(frozen=True)
class Routine:
    """A C function that other jitted code calls by address: its module and name, arguments, header slot."""

    source: str
    arguments: int
    slot: int


@dataclass(frozen=True)
class Part:
    """Modules of `jitgrad.arena` with the names of their entries, and routines."""

    entries: dict[str, str]
    routines: tuple[Routine, ...] = ()

    def modules(self) -> dict[str, str]:
        """The module of each entry."""
        return {name: module for module, names in self.entries.items() for name in names.split()}


RECORDING, BACKWARD, VIEWS, STOPS, UPDATES = range(5)
PARTS = (
    Part(
        {
            "entries": "pointwise lanes alike explicit",
            "making": "new filled literal",
            "reading": "shape word row address item flag grad mode take_modes",
            "sharing": "memory",
        },
        (
            Routine("driver:chunk", 4, col.H_CHUNK),
            Routine("driver:drive_c", 1, col.H_DRIVE),
            Routine("lanes:lanes_chunk", 4, col.H_LANES_CHUNK),
            Routine("reading:release_c", 1, col.H_DESTRUCTOR),
        ),
    ),
    Part(
        {"passes": "backward resume abort"},
        (
            Routine("passes:finish_c", 2, col.H_FINISH),
            Routine("additions:add_float32", 2, col.H_ADD32),
            Routine("additions:add_float64", 2, col.H_ADD64),
            Routine("additions:add_float16", 2, col.H_ADD_FLOAT16),
            Routine("additions:add_bfloat16", 2, col.H_ADD_BFLOAT16),
        ),
    ),
    Part(
        {
            "entries": "pointwise_ view convert on_device commands empty_gpu",
            "making": "borrow restride",
            "reading": "stride version bump array set_grad empty_cache",
            "sharing": "room base base_flags refresh alias data set_data take_data adopt forget"
            " view_ pieces",
        },
        (
            Routine("histories:regenerated_c", 2, col.H_REGENERATED),
            Routine("view_vjps:view_vjp", 3, col.H_VIEW_VJP),
        ),
    ),
    Part(
        {
            "stops": "stopped replace settle_leaf settle_row send",
            "noderefs": "node node_word node_row node_input node_below node_tensor node_saved node_free"
            " held hold function output function_call begin versions",
        },
        (
            Routine("noderefs:release_node", 1, col.H_NODE_DESTRUCTOR),
            Routine("stops:called_c", 2, col.H_CALLED),
        ),
    ),
    Part(
        {"updates": "update clear_grads"},
        (Routine("updates:update_chunk", 4, col.H_UPDATE + col.U_CHUNK),),
    ),
)
#: Which part holds each entry.
PART_OF = {name: i for i, part in enumerate(PARTS) for name in part.modules()}
