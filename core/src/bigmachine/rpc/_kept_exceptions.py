"""The exceptions that methods raised here, kept with their frames for ``post_mortem``.

Frames hold all that their functions had in memory. So none are kept, unless `VARIABLE` says how
many.
"""

from __future__ import annotations

import os
import secrets
from collections import OrderedDict

from ..errors import UsageError
from ..services._tracebacks import has_user_frames

VARIABLE = "BIGMACHINE_POST_MORTEM"
"""Of how many failed calls each machine keeps the frames: the latest ones; 0 by default."""

_is_off = False
_kept: OrderedDict[str, BaseException] = OrderedDict()


def limit() -> int:
    """Return how many are kept."""
    if _is_off:
        return 0
    text = os.environ.get(VARIABLE, "")
    return int(text) if text.isdecimal() else 0


def keep_none() -> None:
    """Keep none in this process, which no debugger reaches."""
    global _is_off
    _is_off = True


def environ() -> dict[str, str]:
    """Return the variable for new machines, if this process has it; `UsageError` if it is bad."""
    if not (text := os.environ.get(VARIABLE)):
        return {}
    if not text.isdecimal():
        raise UsageError(
            f"{VARIABLE} is how many failed calls each machine keeps for post_mortem, such as 1; "
            f"not {text!r}"
        )
    return {VARIABLE: text}


def keep(exc: BaseException) -> str:
    """Keep what a method raised, if any are kept; return its key, or an empty one.

    Without frames of the user's there is nothing to see: bigmachine has refused the call.
    """
    if not (count := limit()) or not has_user_frames(exc):
        return ""
    key = secrets.token_hex(8)
    _kept[key] = exc
    while len(_kept) > count:
        _kept.popitem(last=False)
    return key


def find(key: str) -> BaseException | None:
    """Return an exception that is still kept."""
    return _kept.get(key)
