"""The machine's end of a connection: frames come in and start, cancel or feed calls."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator

import trio

from ...errors import BigmachineError, ProtocolError, UsageError
from .._exceptions import CallError, dump_exception
from .._frames import DEFAULT_LIMIT_BYTES, LAST_STREAM, Frame, Kind
from .._payload import loads
from .._receive import receive_frames
from .._streams import IncomingStream
from ..loop._silence import until_silent
from ..loop._tasks import Job
from ..transport._channel import Channel
from ..transport._decoder import FrameDecoder
from ..transport._outbox import Outbox
from ._registry import Services
from .calls._call import Call
from .calls._connection_call import ConnectionCall
from .calls._traced_call import TracedConnectionCall
from .lanes._loop_lane import LoopLane
from .lanes._served_lane import MAX_SERVED_LANES, ServedLane
from .lanes._thread_lane import ThreadLane
from .pools._pools import Pools

logger = logging.getLogger("bigmachine.rpc")


MAX_CALLS = 1 << 17
"""The most calls of one connection at a time, stream arguments included. Others are refused."""

SILENCE_TIMEOUT = 300.0
"""How long an authenticated peer may send nothing, in seconds, where no keepalives say less."""


class ServingConnection:
    """Serves the calls of one authenticated peer.

    A method's exception goes to its caller and never ends the connection. The end of the
    connection cancels the methods that it started. A peer that sends nothing for
    ``silence_timeout``, not even keepalives, is gone. ``peer`` is its name in the session. Its
    lanes are other connections of the same peer, and end with it.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        services: Services,
        pools: Pools,
        peer: str = "",
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        silence_timeout: float = SILENCE_TIMEOUT,
        leading: bytes = b"",
    ) -> None:
        self.peer = peer
        self._channel = channel
        self._silence_timeout = silence_timeout
        self._services = services
        self._pools = pools
        self._outbox = Outbox(channel)
        self._calls: dict[int, ConnectionCall] = {}
        self._uploads: dict[int, IncomingStream] = {}
        self._lanes: dict[int, ServedLane] = {}
        self._limit_bytes = limit_bytes
        self._has_ended = False
        self._reading: Job | None = None
        self._end = trio.Event()  # of reading
        self._failure: Exception | None = None
        self._decoder = FrameDecoder(
            limit_bytes=limit_bytes,
            leading=leading,
            is_wanted=self._uploads.__contains__,
            memory=channel.memory,
        )

    async def run(self) -> None:
        """Serve until the peer closes, or breaks the protocol."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._outbox.run)
                nursery.start_soon(self._watch_silence, nursery.cancel_scope)
                self._reading = self._pools.tasks.start(self._read)
                await self._end.wait()
                if self._failure is not None:
                    raise self._failure
                nursery.cancel_scope.cancel()
        finally:
            self._has_ended = True
            self._channel.close()
            if self._reading is not None:
                self._reading.cancel()
            for stream in tuple(self._calls):
                self._cancel(stream)
            for lane in tuple(self._lanes.values()):
                lane.end()

    def add_lane(self, number: int, *, is_to_loop: bool) -> ServedLane | None:
        """Return a new lane, for its own connection to serve; None if there can be none."""
        if self._has_ended or number in self._lanes or len(self._lanes) >= MAX_SERVED_LANES:
            return None
        removed = functools.partial(self._lanes.pop, number, None)
        try:
            lane = (self._new_loop_lane if is_to_loop else self._new_thread_lane)(removed)
        except RuntimeError as exc:  # a limit of the system
            logger.debug("a lane is refused: %s", exc)
            return None
        self._lanes[number] = lane
        return lane

    def _new_thread_lane(self, removed: Callable[[], object]) -> ServedLane:
        lane = ThreadLane(
            services=self._services,
            pools=self._pools,
            limit_bytes=self._limit_bytes,
            removed=removed,
        )
        lane.start()
        return lane

    def _new_loop_lane(self, removed: Callable[[], object]) -> ServedLane:
        new_connection = functools.partial(
            ServingConnection,
            services=self._services,
            pools=self._pools,
            peer=self.peer,
            limit_bytes=self._limit_bytes,
            silence_timeout=math.inf,  # our own is watched
        )
        return LoopLane(new_connection, removed=removed)

    @property
    def calls(self) -> Iterator[Call]:
        """Those in flight, the supervisor's, too."""
        yield from self._calls.values()
        for lane in self._lanes.values():
            yield from lane.calls

    @property
    def begun_over_lanes(self) -> int:
        """How many calls have begun over its lanes; see `CallLedger.begun`."""
        return sum(lane.begun for lane in self._lanes.values())

    def cancel_calls(self) -> None:
        """Cancel all calls but the supervisor's."""
        for lane in self._lanes.values():
            lane.cancel_calls()
        for stream, call in tuple(self._calls.items()):
            if not call.method.is_of_supervisor:
                self._cancel(stream)

    @property
    def received_at(self) -> float:
        """When the peer sent something last, on trio's clock; ``-inf`` if it never did."""
        return self._decoder.received_at

    async def flushed(self) -> None:
        """Wait until all replies that are due so far are sent."""
        await self._outbox.flushed()
        for lane in tuple(self._lanes.values()):
            await lane.flushed()

    async def _read(self) -> None:
        """Read until the end, or until a method that began in this task waits.

        Then another task reads on. To hand each call over to a task takes longer than all else in
        a call, so those that do not wait are read, run and answered in one.
        """
        has_lent = False
        try:
            has_lent = await receive_frames(
                self._channel, self._decoder, self._outbox, self._handle, waits=True
            )
        except ProtocolError as exc:
            logger.warning("a connection is closed: its peer broke the protocol: %s", exc)
        except Exception as exc:
            self._failure = exc
        finally:
            if not has_lent:
                self._end.set()
        if has_lent:
            self._reading = self._pools.tasks.start(self._read)

    async def _watch_silence(self, connection: trio.CancelScope) -> None:
        """End the connection once the peer has sent nothing for too long."""
        await until_silent(lambda: self.received_at, self._silence_timeout)
        logger.debug("a connection is closed: its peer was silent")
        connection.cancel()

    def _handle(self, frame: Frame) -> bool:
        """Do what a frame says; return whether this task belongs to the call of the frame now."""
        if self._has_ended:  # after it was received: nobody would cancel what begins now
            return False
        kind, stream = frame.kind, frame.stream
        if kind == Kind.CALL:
            return self._begin(frame)
        if kind == Kind.CANCEL:
            if frame.aux:
                if (lane := self._lanes.get(frame.aux)) is not None:
                    lane.end()
            else:
                self._cancel(stream)
        elif kind == Kind.ACK:
            call = self._calls.get(stream)
            if call is not None and call.outgoing is not None:
                call.outgoing.acked(frame.aux)
        elif kind in _UPLOAD_KINDS:
            upload = self._uploads.get(stream)
            if upload is not None:
                upload.deliver(frame)
        else:
            raise ProtocolError(f"a frame of kind {kind} from a client")
        return False

    def _begin(self, frame: Frame) -> bool:
        stream = frame.stream
        if stream in self._calls or stream in self._uploads:
            raise ProtocolError("a call began on the stream of one that still runs")
        if stream + frame.aux > LAST_STREAM:
            raise ProtocolError("a call's uploads would have streams beyond the last")
        try:
            if len(self._calls) + len(self._uploads) + frame.aux >= MAX_CALLS:
                raise UsageError(f"{frame.name}: {MAX_CALLS} calls run over this connection")
            method = self._services.find(frame.name)
        except UsageError as exc:
            # Once it is closed, there are no more services; see `Server.end_calls`.
            if not self._pools.ledger.is_closed:
                self._outbox.post_message(Kind.ERROR, stream, dump_exception(CallError(exc)))
            return False
        # Those that come together share steps of tasks, and a write for their replies.
        within = self._reading if self._decoder.came_alone and self._channel.is_drained else None
        new_call: Callable[..., ConnectionCall] = ConnectionCall
        if frame.headers and self._pools.trace is not None:
            new_call = functools.partial(TracedConnectionCall, trace=self._pools.trace)
        new_call(
            method,
            frame=frame,
            uploads=self._open_uploads(stream, frame.aux) if frame.aux else (),
            outbox=self._outbox,
            running=self._calls,
            pools=self._pools,
            began=self._decoder.read_at,
        ).start(within=within)
        return within is not None and within.has_ended

    def _open_uploads(self, call: int, count: int) -> list[IncomingStream]:
        numbers = range(call + 1, call + 1 + count)
        if not self._uploads.keys().isdisjoint(numbers):
            raise ProtocolError("a call's uploads have the streams of another's")
        uploads = [IncomingStream(self._outbox, number, _upload_error) for number in numbers]
        for upload in uploads:
            self._uploads[upload.stream] = upload
            upload.on_close = functools.partial(self._forget_upload, upload.stream)
        return uploads

    def _forget_upload(self, stream: int) -> None:
        self._uploads.pop(stream, None)
        self._decoder.forget(stream)

    def _cancel(self, stream: int) -> None:
        self._decoder.forget(stream)
        self._outbox.cancel_body(stream)
        call = self._calls.get(stream)
        if call is not None:
            call.end()
            call.method.calls.count_cancelled()
            call.cancel()


_UPLOAD_KINDS = frozenset({Kind.ITEM, Kind.END, Kind.ERROR})


def _upload_error(frame: Frame) -> Exception:
    try:
        _, message, *_ = loads(frame)
    except Exception:
        message = "unknown"
    return BigmachineError(f"the caller's iterator failed: {message}")
