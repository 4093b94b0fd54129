"""From a user's Numba functions to kernels of the arena.  Imports Numba, so only when one is called."""

from __future__ import annotations

from typing import Any

import numba
from numba import carray, types  # type: ignore[attr-defined]

from jitgrad.arena.columns import ATTR, H_DETAIL, SAVED_OUT, SHAPE, X_MEMORY, X_STATUS
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.kernels.lowlevel import POINTERS, from_bits, words
from jitgrad.kernels.reading import dense, done

#: A tensor's dtype code and number of dims.
Layout = tuple[int, int]

_FORWARD = types.int64(types.int64, types.int64)


def _array(name: str, address: str, row: str, layout: Layout) -> str:
    code, ndim = layout
    # Numba has no arrays without dims made from an address: they are passed with one element.
    shape = "".join(f"{row}[SHAPE + {d}], " for d in range(ndim)) or "1,"
    return f"{name} = carray(pointer{code}({address}), ({shape}))"


def kernel(
    function: Any,
    op: int,
    inputs: list[Layout],
    numbers: int,
    output: Layout,
    gradient: int | None,
    needs: int,
) -> tuple[Any, int]:
    """Compile a kernel around a function: forward, or the gradient of an input.

    What ``needs`` does not name has no memory any more in backward, so the function does not get it.
    Returns the object that keeps the kernel alive, and its address.
    """
    backward = gradient is not None
    lines = ["def kernel(H, out):"]
    if backward:
        lines += [" args = words(out)", " row = args[0]"]
    else:
        lines += [" row = out"]
    lines += [" p = row_at(H, row)", " status = 0"]
    names = []
    read = [i for i in range(len(inputs)) if not backward or needs & (1 << i)]
    if gradient is not None and gradient not in read:
        lines.append(f" q{gradient} = row_at(H, input_at(p, {gradient}))")
    for i in read:
        layout = inputs[i]
        lines += [
            f" a{i}, s{i} = dense(H, input_at(p, {i}))",
            f" q{i} = row_at(H, input_at(p, {i}))",
            f" {_array(f'x{i}', f'a{i}', f'q{i}', layout)}",
        ]
        names.append(f"x{i}")
    have = " and ".join(f"a{i} != 0" for i in read) or "True"
    names += [f"from_bits(p[ATTR + {k}])" for k in range(numbers)]
    if not backward or needs & SAVED_OUT:
        lines.append(f" {_array('y', 'data_of(H, row)', 'p', output)}")
        names.append("y")
    if backward:
        assert gradient is not None
        lines.append(f" {_array('g', 'args[3]', 'p', output)}")
        lines.append(f" {_array('dx', 'args[2]', f'q{gradient}', inputs[gradient])}")
        names = ["g", *names, "dx"]
    lines += [
        f" if {have}:",
        "  try:",
        f"   function({', '.join(names)})",
        "  except Exception:",
        "   status = X_STATUS",
        " else:",
        "  status = X_MEMORY",
        *(f" done(H, s{i})" for i in read),
        " if status == X_STATUS:",
        "  words(H)[H_DETAIL] = op",
        " return status",
    ]
    space: dict[str, Any] = {f"pointer{code}": make for code, make in enumerate(POINTERS)}
    space |= {
        "ATTR": ATTR,
        "H_DETAIL": H_DETAIL,
        "op": op,
        "SHAPE": SHAPE,
        "X_MEMORY": X_MEMORY,
        "X_STATUS": X_STATUS,
        "carray": carray,
        "data_of": data_of,
        "dense": dense,
        "done": done,
        "from_bits": from_bits,
        "function": function,
        "input_at": input_at,
        "row_at": row_at,
        "words": words,
    }
    exec(compile("\n".join(lines), f"<kernel of {function.__name__}>", "exec"), space)
    compiled = numba.cfunc(_FORWARD)(space["kernel"])
    return compiled, compiled.address or 0
