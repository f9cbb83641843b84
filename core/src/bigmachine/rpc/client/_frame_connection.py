"""The caller's end of a connection: calls go out, replies and streams come back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import trio
from outcome import Error, Outcome, Value
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from ...errors import BigmachineError, ProtocolError, UsageError
from .._exceptions import load_exception
from .._frames import (
    DEFAULT_LIMIT_BYTES,
    LAST_STREAM,
    Frame,
    Kind,
    control_frame,
)
from .._marshal import check_size
from .._receive import receive_frames
from .._streams import IncomingStream, OutgoingStream
from ..loop._turns import without_turn
from ..transport._channel import Channel
from ..transport._decoder import FrameDecoder
from ..transport._outbox import Outbox
from ._connection import Connection
from ._lanes import DialLane, Lanes
from ._lost import ConnectionLost
from ._pickled_call import PickledCall, encoded_name, pickle_call
from ._pickled_result import PickledResult, loaded_once
from ._uploads import Uploads

# The first frame of a reply; or the error of a caller's own iterator; None if the connection ended.
_Reply: TypeAlias = Frame | BaseException | None

_FIRST_KINDS = frozenset({Kind.REPLY, Kind.ERROR, Kind.STREAM})  # of a call's frames
_ITEM_KINDS = frozenset({Kind.ITEM, Kind.END, Kind.ERROR, Kind.CANCEL})


class FrameConnection(Connection):
    """One multiplexed connection to a machine.

    When `run` returns, the connection has ended and every call on it has raised
    `ConnectionLost`. ``limit_bytes`` is the largest message the machine accepts. ``dial_lane``
    makes the connections of its lanes.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        addr: str,
        machine: str,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        leading: bytes = b"",
        dial_lane: DialLane | None = None,
    ) -> None:
        self.addr = addr
        self.machine = machine
        self._channel = channel
        self._limit_bytes = limit_bytes
        self._outbox = Outbox(channel, limit_bytes=limit_bytes)
        self._decoder = FrameDecoder(
            leading=leading, is_wanted=self._is_wanted, memory=channel.memory
        )
        self._next_stream = 1
        self._has_wrapped = False
        self._is_running = trio.Event()
        self._calls: dict[int, Callable[[_Reply], object]] = {}
        self._incoming: dict[int, IncomingStream] = {}
        self._outgoing: dict[int, OutgoingStream] = {}
        self._own_calls: set[int] = set()  # streams of calls by `call_supervisor`
        self._error: Exception | None = None
        self.is_open = True
        if dial_lane is not None:
            self.lanes = Lanes(
                dial_lane,
                give_up=self._give_up_lane,
                addr=addr,
                machine=machine,
                limit_bytes=limit_bytes,
            )

    @property
    def is_in_use(self) -> bool:
        return (
            bool(self._incoming)
            or self._has_calls
            or (self.lanes is not None and self.lanes.is_in_use)
        )

    @property
    def _has_calls(self) -> bool:
        """Whether any but our own are in flight, of which some wait for days."""
        return not self._calls.keys() <= self._own_calls

    @property
    def shares_memory(self) -> bool:
        memory = self._channel.memory
        return memory is not None and memory.has_room

    @property
    def is_local(self) -> bool:
        return self._channel.is_local

    @property
    def received_at(self) -> float:
        return self._decoder.received_at

    async def run(self) -> None:
        """Send and receive until the connection ends, then end all that was in flight."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._is_running.set()
            nursery.start_soon(self._outbox.run)
            if self.lanes is not None:
                nursery.start_soon(self.lanes.run)
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
        calls, self._calls = self._calls, {}
        for replied in calls.values():
            replied(None)
        for incoming in tuple(self._incoming.values()):
            incoming.finish(self._lost(""))
        for outgoing in self._outgoing.values():
            outgoing.acked(0)
        if self.lanes is not None:
            self.lanes.end()

    def _give_up_lane(self, number: int) -> None:
        """Cancel the call of a lane."""
        self._outbox.post(control_frame(Kind.CANCEL, 0, number))

    async def outcome(self, call: PickledCall) -> Outcome[Any]:
        # With other calls in flight here, this one shares reads and writes with them.
        if self.lanes is not None and not self._has_calls:
            lane = self.lanes.for_task(call)
            if lane is not None and (outcome := await without_turn(lane.outcome(call))) is not None:
                return outcome
        if call.uploads is not None:
            reply = await self._reply_to_uploads(call, call.uploads)
        else:
            try:
                stream, _ = self._begin(call)
            except BigmachineError as exc:
                return Error(exc)
            reply = await self._reply(stream)
        return self._load(call.method, reply)

    async def call_supervisor(
        self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        pickled = pickle_call(method, args, kwargs)
        if pickled.uploads is not None:
            return loaded_once((await self.outcome(pickled)).unwrap())
        stream, _ = self._begin(pickled)
        self._own_calls.add(stream)
        try:
            reply = await self._reply(stream)
        finally:
            self._own_calls.discard(stream)
        return loaded_once(self._load(method, reply).unwrap())

    async def open_stream(self, call: PickledCall) -> IncomingStream:
        method, uploads = call.method, call.uploads
        if uploads is not None:
            await self._is_running.wait()
        stream, body = self._begin(call)
        incoming = IncomingStream(
            self._outbox, stream, functools.partial(self._load_error, method=method)
        )
        self._incoming[stream] = incoming

        def close() -> None:
            self._forget(stream)
            if uploads is not None:
                uploads.cancel()

        incoming.on_close = close
        if uploads is not None:
            self._nursery.start_soon(self._upload, uploads, stream, body)
        try:
            first = await self._reply(stream)
            if not isinstance(first, Frame) or first.kind != Kind.STREAM:
                loaded_once(self._load(method, first).unwrap())  # raises what the method raised
                raise UsageError(f"{method} is not a generator; call it with call()")
        except BaseException:
            close()
            raise
        return incoming

    def start(self, call: PickledCall, replied: Callable[[_Reply], object]) -> int | None:
        if call.uploads is not None:
            return None
        stream, _ = self._begin(call)
        self._calls[stream] = replied
        return stream

    def load(self, method: str, reply: _Reply) -> Outcome[Any]:
        return self._load(method, reply)

    def cancel(self, number: int) -> None:
        if self._calls.pop(number, None) is not None:
            self._cancel(number)

    def _begin(self, call: PickledCall) -> tuple[int, trio.Event | None]:
        """Send a call; return its stream, and the event that says when its body is sent."""
        method, payload = call.method, call.payload
        if not self.is_open:
            raise self._lost(method)
        check_size(method, payload.size, limit_bytes=self._limit_bytes)
        uploads = call.uploads.count if call.uploads is not None else 0
        stream = self._next_stream
        if stream + uploads > LAST_STREAM or self._has_wrapped:
            stream = self._free_stream(1 + uploads)
        self._next_stream = stream + 1 + uploads
        body = self._outbox.post_message(
            Kind.CALL,
            stream,
            payload,
            name=encoded_name(method),
            uploads=uploads,
            headers=call.headers,
            # With calls in flight, or if some have just ended, more are likely to follow at once:
            # they share a write.
            is_urgent=self._decoder.came_alone and not self._has_calls,
        )
        return stream, body

    def _free_stream(self, count: int) -> int:
        """Return the first of ``count`` free stream numbers, once all have been used."""
        stream, self._has_wrapped = self._next_stream, True
        while True:
            if stream + count - 1 > LAST_STREAM:
                stream = 1
            used = [n for n in range(stream, stream + count) if self._is_in_use(n)]
            if not used:
                return stream
            stream = used[-1] + 1

    def _is_in_use(self, stream: int) -> bool:
        return self._is_wanted(stream) or stream in self._outgoing

    async def _reply(self, stream: int) -> _Reply:
        """Wait for the first frame of a call's reply; when cancelled, cancel the method."""
        task = current_task()
        self._calls[stream] = lambda reply: reschedule(task, Value(reply))

        def cancel(_raise_cancel: object) -> Abort:
            self.cancel(stream)
            return Abort.SUCCEEDED

        reply: _Reply = await without_turn(wait_task_rescheduled(cancel))
        return reply

    async def _reply_to_uploads(self, call: PickledCall, uploads: Uploads) -> _Reply:
        try:
            stream, body = self._begin(call)
        except BigmachineError as exc:
            return exc
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upload, uploads, stream, body)
            reply = await self._reply(stream)
            nursery.cancel_scope.cancel()
        return reply

    def _load(self, method: str, reply: _Reply) -> Outcome[Any]:
        """Return what the method returned, or raised."""
        if isinstance(reply, Frame):
            if reply.kind == Kind.REPLY:
                return Value(PickledResult(method, reply))
            if reply.kind != Kind.STREAM:
                return Error(self._load_error(reply, method=method))
            self._outbox.post(control_frame(Kind.CANCEL, reply.stream))
            return Error(UsageError(f"{method} is a generator; call it with stream()"))
        return Error(self._lost(method) if reply is None else reply)

    async def _upload(self, uploads: Uploads, stream: int, body: trio.Event | None) -> None:
        await uploads.run(self._outbox, self._outgoing, stream, body, self._fail)

    def _fail(self, stream: int, exc: BaseException) -> None:
        """End a call, because the caller's own iterator raised ``exc``."""
        replied = self._calls.pop(stream, None)
        incoming = self._incoming.get(stream)
        if replied is not None:  # the method has not replied, and its stream has not begun
            self._cancel(stream)
            replied(exc)
        elif incoming is not None:
            incoming.abort(exc)

    def _handle(self, frame: Frame) -> None:
        stream, kind = frame.stream, frame.kind
        replied = self._calls.get(stream)
        if replied is not None:
            if kind not in _FIRST_KINDS:
                raise ProtocolError(f"a frame of kind {kind} instead of a reply", addr=self.addr)
            del self._calls[stream]
            replied(frame)
        elif (incoming := self._incoming.get(stream)) is not None:
            if kind not in _ITEM_KINDS:
                raise ProtocolError(f"a frame of kind {kind} in a stream", addr=self.addr)
            incoming.deliver(frame)
            if kind != Kind.ITEM:
                incoming.on_close()  # no more items come, and no more are uploaded
        elif kind == Kind.ACK and stream in self._outgoing:
            self._outgoing[stream].acked(frame.aux)
        elif kind == Kind.CALL:
            raise ProtocolError("a call from a machine", addr=self.addr)
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
