"""``breakpoint()`` in a process that no debugger can reach: a warning, in place of a stop.

Its standard input is empty, so pdb would end the method at once, by an error that explains nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from types import FrameType
from typing import Any

logger = logging.getLogger("bigmachine.machine")

_PDB = "pdb.set_trace"  # Python's default
_IN_PARALLEL = (
    "the debugger does not reach the processes of parallel methods; remove @bm.parallel while you "
    "debug"
)


def pass_over_breakpoints() -> None:
    """Have ``breakpoint()`` log a warning, in a process of parallel methods."""
    warned: set[tuple[str, int]] = set()

    def hook(*args: Any, **kwargs: Any) -> Any:
        if has_other_debugger():
            return sys.__breakpointhook__(*args, **kwargs)
        warn_once(sys._getframe(1), _IN_PARALLEL, warned)
        return None

    sys.breakpointhook = hook


def has_other_debugger() -> bool:
    """Whether ``PYTHONBREAKPOINT`` names one, or is 0, which means none."""
    return os.environ.get("PYTHONBREAKPOINT", "") not in ("", _PDB)


def warn_once(frame: FrameType, reason: str, warned: set[tuple[str, int]]) -> None:
    """Say why the breakpoint in this frame is passed over, if its place is not in ``warned``."""
    place = frame.f_code.co_filename, frame.f_lineno
    if place not in warned:
        warned.add(place)
        logger.warning("breakpoint() at %s:%d is passed over: %s", *place, reason)
