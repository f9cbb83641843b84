"""Which service method a frame runs, for dumps and warnings."""

from __future__ import annotations

from types import FrameType

from ._call import Call


def running_method(frame: FrameType | None) -> str | None:
    """Return the name of the ``async def`` method that runs in a frame, or in one around it."""
    while frame is not None and frame.f_code is not Call._run_async.__code__:
        frame = frame.f_back
    return method_of(frame) if frame is not None else None


def method_of(frame: FrameType) -> str | None:
    """Return the name of the service method that a frame of `Call` runs; None for other frames."""
    return frame.f_locals["self"].method.name if frame.f_code in _RUNNING else None


_RUNNING = (
    Call._run_async.__code__,
    Call._run_in_thread.__code__,
    Call._run_in_process.__code__,
)
