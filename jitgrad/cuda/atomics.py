"""What threads do to one word together, in whatever order: only where the order makes no difference."""

from __future__ import annotations

import threading
from typing import Any

from jitgrad.cuda import target

keep_largest: Any

if target.INSTALLED and not target.SIMULATED:
    from numba import types
    from numba.cuda.extending import intrinsic

    @intrinsic
    def _intrinsic(typing: Any, pointer: Any, i: Any, value: Any) -> Any:
        """``pointer[i] = max(pointer[i], value)`` for int64, as one step."""

        def code(context: Any, builder: Any, signature: Any, args: Any) -> None:
            place = builder.gep(args[0], [args[1]])
            builder.atomic_rmw("max", place, args[2], "monotonic")

        return types.void(pointer, i, value), code

    keep_largest = _intrinsic

else:
    _one = threading.Lock()

    def _alone(pointer: Any, i: Any, value: Any) -> None:
        """``pointer[i] = max(pointer[i], value)`` for int64, as one step."""
        with _one:
            pointer[i] = max(pointer[i], value)

    keep_largest = _alone
