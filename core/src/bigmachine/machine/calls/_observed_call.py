"""A call that observers are told of: what they learn, from its start to its end."""

from __future__ import annotations

import contextvars
import dataclasses
import itertools
from collections.abc import Awaitable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio
from outcome import Error, Outcome, Value

from ..._events import CallEnded, CallOutcome, CallStarted
from ...errors import CallTimeout, MachineStopped, RemoteError
from ...rpc import IncomingStream, PickledCall, PickledResult, dump_headers

if TYPE_CHECKING:
    from .._controller import Controller

_numbers = itertools.count(1)
_STARTED = tuple(field.name for field in dataclasses.fields(CallStarted))


class ObservedCall(PickledCall):
    """A pickled call that tells the observers of a machine's calls when it starts and ends.

    Any thread may `start` it, but it ends in the session's loop: as soon as one of the methods
    for that is called. Further calls of these have no effect.
    """

    def prepare(self, controller: Controller, *, is_stream: bool) -> None:
        """Say whose call it is. A stream may start in another thread than its caller's."""
        self._controller = controller
        self._is_stream = is_stream
        self._context = contextvars.copy_context() if is_stream else None
        self._started: CallStarted | None = None
        self._headers = b""
        self.attempts = 1

    @property
    def headers(self) -> bytes:
        """What the observers send along."""
        return self._headers

    def start(self) -> None:
        """Tell the observers that it starts."""
        self._began = perf_counter()
        self._started = CallStarted(
            number=next(_numbers),
            machine=self._controller.name,
            addr=self._controller.addr,
            method=self.method,
            is_stream=self._is_stream,
            sent_bytes=self.payload.size,
        )
        tell = self._controller.plugins.call_started
        started = self._started
        headers = self._context.run(tell, started) if self._context else tell(started)
        self._headers = dump_headers(headers)

    async def outcome_of(self, call: Awaitable[Outcome[Any]]) -> Outcome[Any]:
        """Await the outcome of the ``call`` itself."""
        try:
            outcome = await call
        except BaseException as exc:
            self.raised(exc)
            raise
        self.ended(outcome)
        return outcome

    def ended(self, outcome: Outcome[Any]) -> None:
        """Tell the observers what came of a call."""
        if isinstance(outcome, Error):
            self.raised(outcome.error)
        elif isinstance(outcome, Value):
            result = outcome.value
            received = result.size_bytes if isinstance(result, PickledResult) else 0
            self._tell("returned", received_bytes=received)

    def raised(self, error: BaseException) -> None:
        """Tell the observers that a call did not return: what its caller gets instead."""
        self._tell(_kind_of(error), error)

    def cancelled(self) -> None:
        """Tell the observers that the caller has given it up."""
        self._tell("cancelled")

    def stream_ended(self, incoming: IncomingStream | None, end: BaseException) -> None:
        """Tell the observers how a stream has ended: by `StopAsyncIteration`, or an error."""
        is_complete = isinstance(end, StopAsyncIteration)
        self._tell(
            "returned" if is_complete else _kind_of(end),
            None if is_complete else end,
            received_bytes=incoming.items_bytes if incoming is not None else 0,
            items=incoming.items if incoming is not None else 0,
        )

    def _tell(
        self,
        outcome: CallOutcome,
        error: BaseException | None = None,
        *,
        received_bytes: int = 0,
        items: int | None = None,
    ) -> None:
        started, self._started = self._started, None
        if started is None:  # it has ended, or a stream was never read
            return
        self._controller.plugins.call_ended(
            CallEnded(
                **{name: getattr(started, name) for name in _STARTED},
                outcome=outcome,
                error=None if outcome == "cancelled" else error,
                seconds=perf_counter() - self._began,
                received_bytes=received_bytes,
                items=items,
                attempts=self.attempts,
            )
        )


_CANCELLATIONS = (trio.Cancelled, trio.ClosedResourceError, KeyboardInterrupt, GeneratorExit)


def _kind_of(error: BaseException) -> CallOutcome:
    # What the method itself raised comes first: it may have called another machine in vain.
    if isinstance(error, RemoteError) or isinstance(error.__cause__, RemoteError):
        return "raised"
    if isinstance(error, CallTimeout):
        return "timeout"
    if isinstance(error, MachineStopped):
        return "stopped"
    return "cancelled" if isinstance(error, _CANCELLATIONS) else "failed"
