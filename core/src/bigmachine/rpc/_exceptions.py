"""Exceptions on the wire: the original as far as it can be sent, and always its description."""

from __future__ import annotations

import contextlib

from ..errors import BigmachineError, ProtocolError, RemoteError
from ..services._tracebacks import format_traceback, with_source_lines
from . import _kept_exceptions
from ._exception_graph import Node, message_of, put_together, take_apart, type_name
from ._frames import Frame, Payload
from ._payload import USER_ERRORS, dumps, loads
from ._signal_handlers import is_of_signal_handler


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
    remote_traceback = "" if is_call_error else format_traceback(exc)
    nodes: list[Node] = []
    # A SystemExit or KeyboardInterrupt over there must not end this process.
    if isinstance(exc, Exception):
        with contextlib.suppress(*USER_ERRORS):
            nodes = take_apart(exc)
    described = (type_name(type(exc)), message_of(exc), remote_traceback, nodes, is_call_error)
    failure = "" if is_call_error else _kept_exceptions.keep(exc)
    return dumps((*described, failure) if failure else described)


def load_exception(frame: Frame, *, addr: str, method: str, machine: str) -> Exception:
    """Return the exception to raise at the caller; raise what a signal handler raises meanwhile."""
    # In one piece: a hostile machine may send anything in place of any part.
    try:
        kind, message, remote_traceback, nodes, is_call_error, *failure = loads(frame)
        remote = RemoteError(
            f"{method} raised {kind} on {machine}" + (f": {message}" if message else ""),
            addr=addr,
            method=method,
            type_name=kind,
            traceback=with_source_lines(remote_traceback),
        )
        remote.failure = str(*failure)
        original = put_together(nodes, stand_in=remote) if nodes else remote
    except USER_ERRORS as exc:
        if is_of_signal_handler(exc):
            raise
        return ProtocolError(f"an error reply could not be read: {exc}", addr=addr, method=method)
    # The first two can't be raised from a coroutine, or would end the caller's stream.
    if isinstance(original, (StopIteration, StopAsyncIteration)) or not isinstance(
        original, Exception
    ):
        return remote
    if is_call_error or original is remote:
        return original
    # The traceback shows what it was raised from, so this is not printed again.
    remote.__context__ = original.__cause__ or original.__context__
    remote.__suppress_context__ = True
    # Without the class's own __setattr__: a frozen dataclass may be an exception too.
    BaseException.__setattr__(original, "__cause__", remote)
    return original
