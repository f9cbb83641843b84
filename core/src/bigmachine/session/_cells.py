"""The cells of a notebook: what machines print is shown in the cell that called them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable


def at_end_of_cells(function: Callable[[], object]) -> Callable[[], object]:
    """Call ``function`` at the end of each cell, if this is IPython; return what ends that.

    What is printed after it belongs to the next cell.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return lambda: None

    def call(*_: object) -> None:
        function()

    def end() -> None:
        with contextlib.suppress(ValueError):  # it has ended before
            shell.events.unregister("post_run_cell", call)

    shell.events.register("post_run_cell", call)
    return end
