"""A lane to a thread, which reads each call, runs its method and replies, past the trio loop."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from time import perf_counter

import trio

from ....errors import ProtocolError, UsageError
from ..._exceptions import CallError, dump_exception
from ..._frames import Kind
from ...memory._socket import MemorySocket
from ...transport._lane_channel import BROKEN, LaneChannel
from ...transport._tls import TlsChannel
from .._registry import Services
from ..calls._lane_call import LaneCall
from ..calls._traced_call import TracedLaneCall
from ..pools._pools import Pools
from ._served_lane import ServedLane

logger = logging.getLogger("bigmachine.rpc")


class ThreadLane(ServedLane):
    """A lane for ``def`` methods; others are called elsewhere. ``removed`` is called when it ends.

    `start` comes first, before the client is promised a lane.
    """

    def __init__(
        self,
        *,
        services: Services,
        pools: Pools,
        limit_bytes: int,
        removed: Callable[[], object],
    ) -> None:
        self.call: LaneCall | None = None
        """The call that runs now."""
        self.begun = 0
        self._is_replying = False  # to a call that has ended
        self.native_id = 0
        """Of the lane's thread, once it runs."""
        self.memory: MemorySocket | None = None
        """See `CallingLane`."""
        self._services = services
        self._pools = pools
        self._limit_bytes = limit_bytes
        self._removed = removed
        self._lock = threading.Lock()
        self._channel: LaneChannel | None = None
        self._channels: SimpleQueue[LaneChannel | None] = SimpleQueue()  # for its thread
        self._thread_ended = trio.Event()
        self._has_ended = False

    def start(self) -> None:
        """Start its thread; RuntimeError if there can be none."""
        # A daemon: a method that never ends must not keep the machine's process alive.
        threading.Thread(target=self._run, name="bigmachine-lane", daemon=True).start()

    async def serve(self, channel: TlsChannel) -> None:
        try:
            if not self._has_ended:
                self._channel = LaneChannel(channel, limit_bytes=self._limit_bytes)
                self.memory = self._channel.memory
                self._channels.put(self._channel)
                await self._thread_ended.wait()
        finally:
            self.end()

    def end(self) -> None:
        with self._lock:  # a call that is just beginning counts
            is_first, self._has_ended = not self._has_ended, True
        if is_first:
            self._removed()
            self._pools.ledger.add_lane(self.begun)
        self.cancel_calls()
        if self._channel is not None:
            self._channel.abort()
        else:
            self._channels.put(None)

    @property
    def calls(self) -> Iterator[LaneCall]:
        if (call := self.call) is not None:
            yield call

    async def flushed(self) -> None:
        while self._is_replying:
            await trio.sleep(_REPLYING_POLL_SECONDS)

    def cancel_calls(self) -> None:
        with self._lock:
            call, self.call = self.call, None
        if call is not None:
            call.method.calls.count_cancelled()
            call.cancel()

    # -- in its thread --------------------------------------------------------

    def _run(self) -> None:
        if (channel := self._channels.get()) is None:
            return
        self.native_id = threading.get_native_id()
        self._pools.threads.adopt_thread()
        try:
            while self._serve_next(channel):
                pass
        except ProtocolError as exc:
            logger.warning("a lane is closed: its peer broke the protocol: %s", exc)
        except BROKEN as exc:
            logger.debug("a lane broke: %s", exc)
        except BaseException:
            logger.exception("a lane failed")
        finally:
            self._is_replying = False
            channel.close()
            self._pools.threads.post(self._thread_ended.set)

    def _serve_next(self, channel: LaneChannel) -> bool:
        """Serve one call, if another comes; keep nothing of it, as all of it may be large."""
        if (frame := channel.receive()) is None:
            return False
        began, pools = perf_counter(), self._pools
        if frame.kind != Kind.CALL or frame.aux:
            raise ProtocolError(f"a frame of kind {frame.kind} over a lane")
        try:
            method = self._services.find(frame.name)
        except UsageError as exc:
            if pools.ledger.is_closed:  # there are no more services; see `Server.end_calls`
                return True
            channel.send_message(Kind.ERROR, frame.stream, dump_exception(CallError(exc)))
            return True
        if method.is_async:
            channel.send_control(Kind.ELSEWHERE, frame.stream)
            return True
        new_call: Callable[..., LaneCall] = LaneCall
        if frame.headers and pools.trace is not None:
            new_call = functools.partial(TracedLaneCall, trace=pools.trace)
        call = new_call(method, frame, lane=self, pools=pools, began=began)
        stream = frame.stream
        del frame  # it may be large, and the call may be long
        with self._lock:
            begins = not (self._has_ended or pools.ledger.is_closed)  # as in `Call.start`
            if begins:  # the supervisor's methods are async, so it is one of a service
                self.begun += 1
                self.call = call
        if not begins:
            call.cancel()  # its span has begun
            return not self._has_ended
        reply = call.run()
        with self._lock:
            if self.call is not call or reply is None:  # it was given up
                return True
            self.call = None
            self._is_replying = True
        kind, payload = reply
        if kind == Kind.STREAM:
            method.calls.count_cancelled()
            channel.send_control(kind, stream)
        else:
            method.calls.finished(began, raised=kind == Kind.ERROR)
            channel.send_message(kind, stream, payload)
        self._is_replying = False
        return True


_REPLYING_POLL_SECONDS = 0.002
