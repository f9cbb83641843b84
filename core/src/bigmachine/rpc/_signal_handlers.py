"""Whose exception it is: of the user's code that we have called, or of a signal handler."""

from __future__ import annotations

from types import FrameType


def is_of_signal_handler(exc: BaseException) -> bool:
    """Whether a signal handler has raised this, and nothing that it interrupted.

    A time limit may be such a handler, or one that ends the program by `sys.exit`.
    """
    interrupted: FrameType | None = None
    traceback = exc.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        # Its second argument is the frame that it has interrupted; no other function has that.
        if interrupted is not None and any(each is interrupted for each in _arguments(frame)):
            return True
        interrupted, traceback = frame, traceback.tb_next
    return False


def _arguments(frame: FrameType) -> list[object]:
    """Return the arguments of the function that runs in a frame, those of ``*args``, too."""
    found: list[object] = []
    code = frame.f_code
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 1]:
        value = frame.f_locals.get(name)
        found.extend(value if type(value) is tuple else (value,))
    return found
