"""Ctrl-C at any moment of a call, one after the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType

import bigmachine as bm

_PACKAGE = os.path.dirname(bm.__file__)


class Interruption:
    """A trace function that raises at an instruction or line of a call, counted in this package.

    At the latest where ``last`` is called, in which the call waits.
    """

    def __init__(self, instruction: int, *, last: Callable[..., object]) -> None:
        self._left = instruction
        self._last = last.__code__  # type: ignore[attr-defined]  # it is a plain function
        self.is_last = False

    def __call__(self, frame: FrameType, event: str, arg: object) -> Interruption | None:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes = True
        self._left -= event in ("line", "opcode")  # Python 3.12 tells of lines alone, at first
        self.is_last = frame.f_code is self._last
        if self._left == 0 or self.is_last:
            sys.settrace(None)
            raise KeyboardInterrupt
        return self
