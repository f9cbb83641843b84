"""``breakpoint()`` in the processes of machines, where standard input is empty.

Python's own pdb would end the method there at once, by an error that explains nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from ._set_trace import replace_set_trace

logger = logging.getLogger("bigmachine.machine")

_PDB = "pdb.set_trace"  # Python's default
_IN_PARALLEL = (
    "the debugger does not reach the processes of parallel methods; remove @bm.parallel while you "
    "debug"
)


def on_breakpoint(stop: Callable[..., None]) -> None:
    """Have ``breakpoint()`` and `pdb.set_trace` call ``stop`` with their frame and arguments.

    ``PYTHONBREAKPOINT`` has its meaning in Python: 0 is for none, or it names a function.
    """

    def breakpointhook(*args: Any, **kwargs: Any) -> Any:
        if os.environ.get("PYTHONBREAKPOINT", "") not in ("", _PDB):
            return sys.__breakpointhook__(*args, **kwargs)
        stop(sys._getframe(1), *args, **kwargs)
        return None

    def set_trace(*args: Any, **kwargs: Any) -> None:
        stop(sys._getframe(1), *args, **kwargs)

    sys.breakpointhook = breakpointhook
    replace_set_trace(set_trace)


def pass_over_breakpoints() -> None:
    """Have them log a warning, in a process of parallel methods."""
    warned: set[tuple[str, int]] = set()
    on_breakpoint(lambda frame, **_: warn_once(frame, _IN_PARALLEL, warned))


def warn_once(frame: FrameType, reason: str, warned: set[tuple[str, int]]) -> None:
    """Say why the breakpoint in this frame is passed over, if its place is not in ``warned``."""
    place = frame.f_code.co_filename, frame.f_lineno
    if place not in warned:
        warned.add(place)
        logger.warning("breakpoint() at %s:%d is passed over: %s", *place, reason)
