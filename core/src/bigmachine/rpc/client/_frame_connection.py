"""The caller's end of a connection: calls go out, replies and streams come back."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import outcome
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from ...errors import ProtocolError, UsageError
from .._channel import Channel
from .._decoder import FrameDecoder
from .._exceptions import load_exception
from .._frames import DEFAULT_LIMIT_BYTES, Frame, Kind, control_frame
from .._marshal import dump_arguments, load_result
from .._outbox import Outbox
from .._receive import receive_frames
from .._streams import IncomingStream, OutgoingStream
from .._turns import without_turn
from ._connection import Connection, ConnectionLost
from ._uploads import Uploads, is_stream

# Stream numbers are u32: at 50,000 calls a second they last for a day.
_LAST_STREAM = 2**32 - 1


class FrameConnection(Connection):
    """One multiplexed connection to a machine.

    When `run` returns, the connection has ended and every call on it has raised
    `ConnectionLost`. ``limit_bytes`` is the largest message the machine accepts.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        addr: str,
        machine: str,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        leading: bytes = b"",
    ) -> None:
        self.addr = addr
        self.machine = machine
        self._channel = channel
        self._limit_bytes = limit_bytes
        self._outbox = Outbox(channel)
        self._decoder = FrameDecoder(leading=leading, is_wanted=self._is_wanted)
        self._next_stream = 1
        self._has_wrapped = False
        self._is_running = trio.Event()
        self._calls: dict[int, Task] = {}
        self._incoming: dict[int, IncomingStream] = {}
        self._outgoing: dict[int, OutgoingStream] = {}
        self._error: Exception | None = None
        self.is_open = True

    async def run(self) -> None:
        """Send and receive until the connection ends, then end all that was in flight."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._is_running.set()
            nursery.start_soon(self._outbox.run)
            try:
                await receive_frames(self._channel, self._decoder, self._outbox, self._handle)
            except ProtocolError as exc:
                self._error = exc
            finally:
                self._end()  # before the uploads' sources are closed, which may take a while
            nursery.cancel_scope.cancel()

    def _end(self) -> None:
        self.is_open = False
        self._channel.close()
        for task in self._calls.values():
            reschedule(task, outcome.Error(_Lost()))
        self._calls.clear()
        for incoming in tuple(self._incoming.values()):
            incoming.finish(self._lost(""))
        for outgoing in self._outgoing.values():
            outgoing.acked(0)

    async def call(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if any(map(is_stream, args)) or any(map(is_stream, kwargs.values())):
            return await self._call_with_uploads(method, args, kwargs)
        stream, _ = self._begin(method, args, kwargs)
        return self._result(method, await self._reply(method, stream))

    async def stream(
        self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> IncomingStream:
        uploads = Uploads(method, args, kwargs)
        if uploads.count:
            await self._is_running.wait()
        stream, body = self._begin(method, uploads.args, uploads.kwargs, uploads.count)
        incoming = IncomingStream(
            self._outbox, stream, functools.partial(self._load_error, method=method)
        )
        self._incoming[stream] = incoming

        def close() -> None:
            self._forget(stream)
            uploads.cancel()

        incoming.on_close = close
        if uploads.count:
            self._nursery.start_soon(self._upload, uploads, stream, body)
        try:
            first = await self._reply(method, stream)
            if first.kind != Kind.STREAM:
                self._result(method, first)  # raises what the method raised
                raise UsageError(f"{method} is not a generator; call it with call()")
        except BaseException:
            close()
            raise
        return incoming

    def _begin(
        self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any], uploads: int = 0
    ) -> tuple[int, trio.Event | None]:
        """Send the call; return its stream, and the event that says when its body is sent."""
        if not self.is_open:
            raise self._lost(method)
        payload = dump_arguments(method, args, kwargs, limit_bytes=self._limit_bytes)
        stream = self._next_stream
        if stream + uploads > _LAST_STREAM or self._has_wrapped:
            stream = self._free_stream(1 + uploads)
        self._next_stream = stream + 1 + uploads
        body = self._outbox.post_message(
            Kind.CALL,
            stream,
            payload,
            name=method.encode(),
            uploads=uploads,
            # With calls in flight, more are likely to follow at once: they share a write.
            is_urgent=not self._calls,
        )
        return stream, body

    def _free_stream(self, count: int) -> int:
        """Return the first of ``count`` free stream numbers, once all have been used."""
        stream, self._has_wrapped = self._next_stream, True
        while True:
            if stream + count - 1 > _LAST_STREAM:
                stream = 1
            used = [n for n in range(stream, stream + count) if self._is_in_use(n)]
            if not used:
                return stream
            stream = used[-1] + 1

    def _is_in_use(self, stream: int) -> bool:
        return self._is_wanted(stream) or stream in self._outgoing

    async def _reply(self, method: str, stream: int) -> Frame:
        """Wait for the first frame of a call's reply; when cancelled, cancel the method."""
        self._calls[stream] = current_task()

        def cancel(_raise_cancel: object) -> Abort:
            del self._calls[stream]
            self._cancel(stream)
            return Abort.SUCCEEDED

        try:
            frame: Frame = await without_turn(wait_task_rescheduled, cancel)
        except _Lost:
            raise self._lost(method) from None
        return frame

    def _result(self, method: str, frame: Frame) -> Any:
        if frame.kind == Kind.REPLY:
            return load_result(method, frame)
        if frame.kind == Kind.STREAM:
            self._outbox.post(control_frame(Kind.CANCEL, frame.stream))
            raise UsageError(f"{method} is a generator; call it with stream()")
        raise self._load_error(frame, method=method)

    async def _call_with_uploads(
        self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        uploads = Uploads(method, args, kwargs)
        stream, body = self._begin(method, uploads.args, uploads.kwargs, uploads.count)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upload, uploads, stream, body)
            # An error is raised after the nursery, so that it isn't in a group.
            reply = await outcome.acapture(self._reply, method, stream)
            nursery.cancel_scope.cancel()
        return self._result(method, reply.unwrap())

    async def _upload(self, uploads: Uploads, stream: int, body: trio.Event | None) -> None:
        await uploads.run(self._outbox, self._outgoing, stream, body, self._fail)

    def _fail(self, stream: int, exc: BaseException) -> None:
        """End a call, because the caller's own iterator raised ``exc``."""
        task = self._calls.pop(stream, None)
        incoming = self._incoming.get(stream)
        if task is not None:  # the method has not replied, and its stream has not begun
            self._cancel(stream)
            reschedule(task, outcome.Error(exc))
        elif incoming is not None:
            incoming.abort(exc)

    def _handle(self, frame: Frame) -> None:
        stream, kind = frame.stream, frame.kind
        task = self._calls.pop(stream, None)
        if task is not None:
            reschedule(task, outcome.Value(frame))
        elif (incoming := self._incoming.get(stream)) is not None:
            incoming.deliver(frame)
            if kind != Kind.ITEM:
                incoming.on_close()  # no more items come, and no more are uploaded
        elif kind == Kind.ACK and stream in self._outgoing:
            self._outgoing[stream].acked(frame.aux)
        # Else the stream was cancelled here while the frame was on its way; or the method
        # wants no more of an upload, which its reply is about to end anyway.

    def _is_wanted(self, stream: int) -> bool:
        return stream in self._calls or stream in self._incoming

    def _cancel(self, stream: int) -> None:
        """Tell the machine that nobody waits for a call any more."""
        self._forget(stream)
        self._outbox.cancel_body(stream)
        self._outbox.post(control_frame(Kind.CANCEL, stream))

    def _forget(self, stream: int) -> None:
        self._incoming.pop(stream, None)
        self._decoder.forget(stream)

    def _load_error(self, frame: Frame, *, method: str) -> Exception:
        return load_exception(frame, addr=self.addr, method=method, machine=self.machine)

    def _lost(self, method: str) -> Exception:
        what = f"{method}: " if method else ""
        if self._error is not None:
            return ConnectionLost(f"{what}{self._error}", addr=self.addr, method=method)
        return ConnectionLost(
            f"{what}the connection to {self.machine} ended; the call may or may not have run",
            addr=self.addr,
            method=method,
        )


class _Lost(Exception):
    """Wakes a caller because the connection ended."""
