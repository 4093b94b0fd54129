"""What the asv files share: a case, set up in jitgrad, compiled and run once."""

from __future__ import annotations

import jitgrad
from jitgrad.bench.case import Case


class Prepared:
    """A benchmark of cases; a subclass has the parameters and what is measured."""

    timeout = 300

    def prepare(self, case: Case) -> None:
        """Set the work up, compile it and fault its memory in."""
        jitgrad.set_num_threads(1)
        self.run = case.setup(jitgrad).run
        self.run()
