"""Imports every module that adds rows to the op table: when this one is loaded, the table is complete.

The order is that of the ops' numbers.
"""

from __future__ import annotations

import jitgrad.ops.casts  # isort: skip
import jitgrad.ops.pointwise  # isort: skip
import jitgrad.ops.views  # isort: skip
import jitgrad.ops.products  # isort: skip
import jitgrad.ops.reductions  # isort: skip
import jitgrad.ops.joining  # isort: skip
import jitgrad.ops.indexing  # isort: skip
import jitgrad.ops.sorting  # isort: skip
import jitgrad.ops.losses  # isort: skip
import jitgrad.ops.convolution  # isort: skip
import jitgrad.ops.normalization  # isort: skip
import jitgrad.ops.max_pooling  # isort: skip
import jitgrad.ops.padding  # isort: skip
import jitgrad.ops.activations  # isort: skip
import jitgrad.ops.cells  # isort: skip
import jitgrad.ops.recurrence  # isort: skip
import jitgrad.ops.ctc  # isort: skip
import jitgrad.ops.attention  # isort: skip
