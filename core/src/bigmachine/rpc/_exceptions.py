"""Exceptions on the wire: the original where it can be pickled, its story in any case."""

from __future__ import annotations

import os
import pickle
import traceback
from types import TracebackType

from ..errors import ProtocolError, RemoteError
from ._frames import Frame, Payload
from ._payload import Refused, dumps, dumps_whole, loads

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


def dump_exception(exc: BaseException) -> Payload:
    """Pickle what `load_exception` raises from; never fails."""
    is_refusal = isinstance(exc, Refused)
    if isinstance(exc, Refused):
        exc = exc.error
    kind = type(exc)
    type_name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    message = _text(exc)
    story = "" if is_refusal else _traceback(exc)
    original: bytes | None = None
    # A SystemExit or KeyboardInterrupt over there must not end this process.
    if isinstance(exc, Exception):
        try:
            original = dumps_whole(exc)
            pickle.loads(original)
        except Exception:
            original = None
    return dumps((type_name, message, story, original, is_refusal))


def load_exception(frame: Frame, *, addr: str, method: str, machine: str) -> Exception:
    """Return the exception to raise at the caller."""
    try:
        type_name, message, story, pickled, is_refusal = loads(frame)
    except Exception as exc:
        return ProtocolError(f"an error reply could not be read: {exc}", addr=addr, method=method)
    remote = RemoteError(
        f"{method} raised {type_name} on {machine}: {message}",
        addr=addr,
        method=method,
        type_name=type_name,
        traceback=story,
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
    if is_refusal:
        return original
    # Past the class's own __setattr__: a frozen dataclass may be an exception too.
    BaseException.__setattr__(original, "__cause__", remote)
    return original


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:
        return "(its message could not be had)"


def _traceback(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, _own(exc.__traceback__)))
    except Exception:
        return ""


def _own(tb: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that is the user's: what our frames called."""
    first = tb
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        tb = tb.tb_next
    return tb or first
