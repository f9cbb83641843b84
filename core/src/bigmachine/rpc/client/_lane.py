"""One lane, at its caller's end: who waits for the reply reads it, and nobody else does."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import trio
from outcome import Error, Outcome, Value

from ...errors import ProtocolError, UsageError
from .._exceptions import load_exception
from .._frames import INLINE_BYTES, LAST_STREAM, Frame, Kind, message_frame
from .._marshal import load_result
from ..transport._decoder import FrameDecoder
from ..transport._lane_channel import LaneChannel, is_of_connection, keep_alive
from ..transport._tls import TlsChannel
from ._lost import LaneLost
from ._pickled_call import PickledCall, encoded_name
from ._pickled_result import PickledResult

logger = logging.getLogger("bigmachine.rpc")


class Lane(ABC):
    """Carries one call at a time. Who has taken it may call `outcome` once, which returns it."""

    def __init__(self, *, number: int, owner: LaneOwner, kind: LaneKind[Any]) -> None:
        self.number = number
        self.kind = kind
        self.used_at = 0.0
        self._owner = owner
        self._stream = 0

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """Whether the machine has ended it, or has sent what nobody has asked for."""

    @abstractmethod
    def abort(self) -> None:
        """End it at once, in the trio loop: who waits for a reply sees the end."""

    @abstractmethod
    def close(self) -> None:
        """Close it; who has taken it does."""

    def _next_stream(self) -> int:
        self._stream = stream = self._stream % LAST_STREAM + 1
        return stream

    def _settle(
        self, method: str, frame: Frame | None, error: Exception | None
    ) -> Outcome[Frame] | None:
        """Give the lane back; return the reply of the method, or the error to be raised.

        None if the method is not called over this lane. Without a ``frame``, the lane is lost,
        perhaps by an ``error`` of the machine's.
        """
        owner = self._owner
        if frame is None or frame.stream != self._stream or frame.kind not in _REPLIES:
            # The machine does not look for the end of a lane while its method runs.
            owner.give_up(self)
            return Error(self._lost(method, error, frame))
        kind = frame.kind
        if kind == Kind.STREAM:
            owner.give_up(self)  # items may follow
            return Error(UsageError(f"{method} is a generator; call it with stream()"))
        owner.put_back(self)
        if kind == Kind.REPLY:
            return Value(frame)
        if kind == Kind.ERROR:
            return Error(
                load_exception(frame, addr=owner.addr, method=method, machine=owner.machine)
            )
        owner.runs_in_loop(method)
        return None

    def _lost(self, method: str, error: Exception | None, frame: Frame | None) -> LaneLost:
        addr, machine = self._owner.addr, self._owner.machine
        if error is None and frame is not None:
            error = ProtocolError(f"a frame of kind {frame.kind} instead of a reply", addr=addr)
        why = error or f"a connection to {machine} ended; the call may or may not have run"
        return LaneLost(f"{method}: {why}", addr=addr, method=method)


_REPLIES = frozenset({Kind.REPLY, Kind.ERROR, Kind.STREAM, Kind.ELSEWHERE})


class LaneOwner(Protocol):
    """The lanes of a connection to ``machine``, as one of them needs them."""

    addr: str
    machine: str

    def put_back(self, lane: Lane) -> None:
        """Let others use a lane whose call has ended."""

    def give_up(self, lane: Lane) -> None:
        """Cancel the call of a lane, and close that."""

    def runs_in_loop(self, method: str) -> None:
        """Remember that a method runs in the machine's loop."""


class ThreadLane(Lane):
    """A lane for calls of threads, which wait for the reply past the trio loop."""

    def __init__(self, channel: TlsChannel, **of_lane: Any) -> None:
        super().__init__(**of_lane)
        self.channel = LaneChannel(channel)

    def outcome(
        self, call: PickledCall, time_left: Callable[[], float] | None = None
    ) -> Outcome[Any] | None:
        """See `Lanes.outcome`."""
        method, channel = call.method, self.channel
        channel.time_left = time_left
        error: Exception | None = None
        frame: Frame | None = None
        try:
            channel.send_message(
                Kind.CALL,
                self._next_stream(),
                call.payload,
                name=encoded_name(method),
                headers=call.headers,
            )
            frame = channel.receive()
        except BaseException as exc:
            if not is_of_connection(exc):  # Ctrl-C, for instance, or a time limit
                self._owner.give_up(self)
                raise
            logger.debug("%s: a lane broke: %r", self._owner.machine, exc)
            if isinstance(exc, ProtocolError):
                error = exc
        outcome = self._settle(method, frame, error)
        if type(outcome) is not Value:
            return outcome
        try:
            return Value(load_result(method, outcome.value))
        except UsageError as exc:
            return Error(exc)

    @property
    def has_ended(self) -> bool:
        return self.channel.has_ended

    def abort(self) -> None:
        self.channel.abort()

    def close(self) -> None:
        self.channel.close()


class TaskLane(Lane):
    """A lane for calls of trio tasks, each of which reads the reply to its own.

    So a call takes one step of one task. Over the connection another task reads, and hands over.
    """

    def __init__(self, channel: TlsChannel, **of_lane: Any) -> None:
        super().__init__(**of_lane)
        keep_alive(channel.socket)
        self._channel = channel
        self._decoder = FrameDecoder(memory=channel.memory)

    def __del__(self) -> None:
        self._channel.discard()  # a task may be interrupted where it can't close it

    async def outcome(self, call: PickledCall) -> Outcome[Any] | None:
        """See `Lanes.for_task`."""
        method, channel, decoder = call.method, self._channel, self._decoder
        error: Exception | None = None
        frame: Frame | None = None
        message, _ = message_frame(
            Kind.CALL,
            self._next_stream(),
            call.payload,
            encoded_name(method),
            headers=call.headers,
        )
        try:
            channel.send_nowait(message)
            if channel.has_unsent:
                await channel.flush()
            while count := await channel.receive_into(decoder.buffer()):
                if (frame := decoder.next_frame(count)) is not None:
                    break
                if not channel.is_drained:  # a large reply: others have their turns in between
                    await trio.lowlevel.checkpoint()
        except ProtocolError as exc:
            error = exc
        except BaseException:
            self._owner.give_up(self)
            raise
        outcome = self._settle(method, frame, error)
        return Value(PickledResult(method, outcome.value)) if type(outcome) is Value else outcome

    @property
    def has_ended(self) -> bool:
        return self._channel.has_news

    def abort(self) -> None:
        self._channel.close()

    def close(self) -> None:
        self._channel.close()


AnyLane = TypeVar("AnyLane", bound=Lane)


class LaneKind(Generic[AnyLane]):
    """The ``free`` lanes of a connection for callers of one kind, and to one end at the machine.

    There are as many as ``limit``, with those that carry calls. They end in the machine's loop,
    if it ``is_to_loop``, otherwise in a thread there.
    """

    def __init__(
        self,
        new_lane: Callable[..., AnyLane],
        *,
        is_to_loop: bool = False,
        limit: float = math.inf,
    ) -> None:
        self.new_lane = new_lane
        self.is_to_loop = is_to_loop
        self.limit = limit
        self.free: deque[AnyLane] = deque()  # the one that was used last is at the right
        self.missed = 0.0, 0.0  # when two calls found none that was free, the latest ones
        self.is_wanted = False


def is_large(call: PickledCall) -> bool:
    """Whether a call's arguments don't fit one frame."""
    payload = call.payload
    return bool(payload.buffers) or payload.pickle_bytes > INLINE_BYTES
