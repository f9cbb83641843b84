"""Whose exception it is: of the user's code that we have called, or of a signal handler."""

from __future__ import annotations

import inspect
import signal
from types import CodeType, FrameType


def is_of_signal_handler(exc: BaseException) -> bool:
    """Whether a signal handler has raised this, and nothing that it interrupted.

    A time limit may be such a handler, or one that ends the program by `sys.exit`.
    """
    interrupted: FrameType | None = None
    traceback, handlers = exc.__traceback__, _handlers()
    while traceback is not None:
        frame = traceback.tb_frame
        # Its second argument is the frame that it has interrupted; no other function has that.
        if interrupted is not None and any(each is interrupted for each in _arguments(frame)):
            return True
        if interrupted is not None and frame.f_code in handlers:
            return True
        interrupted, traceback = frame, traceback.tb_next
    return False


def _handlers() -> set[CodeType]:
    """Return the code of what handles signals now, where it names its second argument.

    So it may have dropped that: some begin with ``del signum, frame``.
    """
    handlers = map(signal.getsignal, signal.valid_signals())
    codes = {getattr(handler, "__code__", None) for handler in handlers}
    # Others may be wrappers, of functions that handle no signals, too.
    return {code for code in codes if code is not None and not code.co_flags & inspect.CO_VARARGS}


def _arguments(frame: FrameType) -> list[object]:
    """Return the arguments of the function that runs in a frame, those of ``*args``, too."""
    found: list[object] = []
    code = frame.f_code
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 1]:
        value = frame.f_locals.get(name)
        found.extend(value if type(value) is tuple else (value,))
    return found
