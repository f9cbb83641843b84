"""Tracebacks of machines as text: made there, and completed here with the driver's source lines.

A class of a script or a notebook is sent by value, so its source may be nowhere but here.
"""

from __future__ import annotations

import itertools
import linecache
import os
import re
import traceback
from types import TracebackType

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep

# A frame, in a group perhaps behind bars; its source line follows with two spaces more.
_FRAME = re.compile(r'^(?P<margin>[ |+\-]*)  File "(?P<file>.+)", line (?P<line>\d+), in ')


def format_traceback(exc: BaseException) -> str:
    """Return the traceback of an exception that a user's method raised; never fails."""
    try:
        return "".join(traceback.format_exception(type(exc), exc, _users_part(exc.__traceback__)))
    except Exception:
        return ""


def with_source_lines(text: str) -> str:
    """Add source lines that the machine could not read, where this process can."""
    lines = text.splitlines(keepends=True)
    completed = []
    for line, following in itertools.pairwise([*lines, ""]):
        completed.append(line)
        frame = _FRAME.match(line)
        if frame is not None and not following.startswith(frame["margin"] + "    "):
            source = linecache.getline(frame["file"], int(frame["line"])).strip()
            if source:
                completed.append(f"{frame['margin']}    {source}\n")
    return "".join(completed)


def _users_part(tb: TracebackType | None) -> TracebackType | None:
    """Return a traceback without our frames above the user's."""
    first = tb
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        tb = tb.tb_next
    return tb or first
