"""Exceptions on the wire: the original if it can be pickled, and always its description."""

from __future__ import annotations

import os
import pickle
import traceback
from types import TracebackType

from ..errors import BigmachineError, ProtocolError, RemoteError
from ._frames import Frame, Payload
from ._payload import dumps, dumps_whole, loads

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


class CallError(Exception):
    """Carries an ``error`` of bigmachine's own (no such method, …), which no method raised.

    The caller gets ``error`` itself, without a `RemoteError` as its cause.
    """

    def __init__(self, error: BigmachineError) -> None:
        super().__init__(str(error))
        self.error = error


def dump_exception(exc: BaseException) -> Payload:
    """Pickle what `load_exception` raises from; never fails."""
    is_call_error = isinstance(exc, CallError)
    if isinstance(exc, CallError):
        exc = exc.error
    kind = type(exc)
    type_name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    remote_traceback = "" if is_call_error else _traceback(exc)
    original: bytes | None = None
    # A SystemExit or KeyboardInterrupt over there must not end this process.
    if isinstance(exc, Exception):
        try:
            original = dumps_whole(exc)
            pickle.loads(original)
        except Exception:
            original = None
    return dumps((type_name, message_of(exc), remote_traceback, original, is_call_error))


def load_exception(frame: Frame, *, addr: str, method: str, machine: str) -> Exception:
    """Return the exception to raise at the caller."""
    try:
        type_name, message, remote_traceback, pickled, is_call_error = loads(frame)
    except Exception as exc:
        return ProtocolError(f"an error reply could not be read: {exc}", addr=addr, method=method)
    remote = RemoteError(
        f"{method} raised {type_name} on {machine}: {message}",
        addr=addr,
        method=method,
        type_name=type_name,
        traceback=remote_traceback,
    )
    try:
        original = pickle.loads(pickled) if pickled is not None else None
    except Exception:
        original = None
    # The first two can't be raised from a coroutine, or would end the caller's stream.
    if isinstance(original, (StopIteration, StopAsyncIteration)) or not isinstance(
        original, Exception
    ):
        return remote
    if is_call_error:
        return original
    # Without the class's own __setattr__: a frozen dataclass may be an exception too.
    BaseException.__setattr__(original, "__cause__", remote)
    return original


def message_of(exc: BaseException) -> str:
    """Return ``str(exc)``; never fails."""
    try:
        return str(exc)
    except Exception:
        return "(its message could not be read)"


def _traceback(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, _own(exc.__traceback__)))
    except Exception:
        return ""


def _own(tb: TracebackType | None) -> TracebackType | None:
    """Return the user's part of a traceback, without our frames above it."""
    first = tb
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        tb = tb.tb_next
    return tb or first
