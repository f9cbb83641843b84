"""A result in pickled form: the thread that asks for it unpickles it, not the loop of all calls."""

from __future__ import annotations

import threading
from typing import Any

from ...errors import BigmachineError
from .._frames import Frame
from .._marshal import load_result
from .._signal_handlers import is_of_signal_handler


class PickledResult:
    """What ``method`` returned, still pickled: to unpickle it may take long, and run any code."""

    __slots__ = ("_error", "_frame", "_lock", "_method", "_value", "size_bytes")

    def __init__(self, method: str, frame: Frame) -> None:
        self._method = method
        self._frame: Frame | None = frame  # until it is unpickled
        self._lock: Any = None  # while it is: 100,000 results may wait for that
        self._value: Any = None
        self._error: BaseException | None = None
        self.size_bytes = frame.size

    def load(self) -> Any:
        """Return the result, always the same object; raise `UsageError` if it can't be unpickled.

        SystemExit, too, is raised if that is what unpickling raises.
        """
        if self._frame is not None:
            with _making_lock:
                lock = self._lock = self._lock or threading.RLock()
            with lock:
                if self._frame is not None:
                    self._unpickle(self._frame)
        if self._error is not None:
            raise self._error
        return self._value

    def load_once(self) -> Any:
        """Return the result as `load` does, to the only one who ever asks for it."""
        assert self._frame is not None
        return load_result(self._method, self._frame)

    def _unpickle(self, frame: Frame) -> None:
        try:
            self._value = load_result(self._method, frame)
        except BaseException as exc:
            if isinstance(exc, KeyboardInterrupt) or is_of_signal_handler(exc):
                raise  # the next one may try again
            if isinstance(exc, BigmachineError):
                exc = exc.with_traceback(None)  # its cause has the frames that matter
            self._error = exc
        self._frame = self._lock = None


_making_lock = threading.RLock()  # both are reentrant, for signal handlers


def loaded_once(value: object) -> Any:
    """Return what `loaded` does, to the only one who ever asks for it, in a quarter of the time."""
    return value.load_once() if type(value) is PickledResult else value


def loaded(value: object) -> Any:
    """Return what a call's outcome holds, unpickled if it is still pickled."""
    return value.load() if type(value) is PickledResult else value
