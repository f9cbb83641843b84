"""Cells of a notebook and tests of pytest: what machines print is shown in the one that called."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

_functions: list[Callable[[], object]] = []  # one of each open session


def at_end_of_cells(function: Callable[[], object]) -> Callable[[], object]:
    """Call ``function`` at the end of each cell, if this is IPython; return what ends that.

    What is printed after it belongs to the next cell. `end_test` calls it, too.
    """
    _functions.append(function)
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None

    def call(*_: object) -> None:
        function()

    def end() -> None:
        with contextlib.suppress(ValueError):  # it has ended before
            _functions.remove(function)
            if shell is not None:
                shell.events.unregister("post_run_cell", call)

    if shell is not None:
        shell.events.register("post_run_cell", call)
    return end


def end_test() -> None:
    """Have what machines have printed shown now: what comes later belongs to the next test."""
    for function in [*_functions]:
        with contextlib.suppress(Exception):  # of a session that a test has broken
            function()
