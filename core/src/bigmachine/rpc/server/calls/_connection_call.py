"""A call that arrived over a connection, as a frame; its outcome leaves as frames, too."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from ....errors import UsageError
from ..._exceptions import CallError
from ..._frames import Frame, Kind, Payload, control_frame
from ..._marshal import dump_result
from ..._streams import IncomingStream, OutgoingStream, StreamArgument, closing
from ...transport._outbox import Outbox
from .._generators import GeneratorRun
from .._registry import Method
from .._stream_arguments import async_argument, thread_argument
from ..pools._pools import Pools
from ._call import PLAIN_TYPES
from ._framed_call import FramedCall


class ConnectionCall(FramedCall):
    """Replies to one CALL frame.

    While it runs it is in ``running``, the calls of its connection by stream number.
    ``uploads`` are its stream arguments.
    """

    __slots__ = ("_outbox", "_running", "_stream", "_uploads", "outgoing")

    def __init__(
        self,
        method: Method,
        frame: Frame,
        uploads: Sequence[IncomingStream],
        *,
        outbox: Outbox,
        running: dict[int, ConnectionCall],
        pools: Pools,
        began: float,
    ) -> None:
        super().__init__(method, pools, began)
        self._frame = frame
        self.outgoing: OutgoingStream | None = None
        self._stream = frame.stream
        self._uploads = uploads
        self._outbox = outbox
        self._running = running
        running[self._stream] = self

    def end(self) -> bool:
        """Forget the call; False if it has ended already, as when its caller cancelled it."""
        if self._running.get(self._stream) is not self:
            return False
        del self._running[self._stream]
        for upload in self._uploads:
            upload.end_with_call(self.method.name)
        return True

    @property
    def has_room(self) -> bool:
        return self._outbox.has_room

    def when_room(self, function: Callable[[], None]) -> None:
        self._outbox.when_room(function)

    # -- its arguments --------------------------------------------------------

    def load_arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        args, kwargs = super().load_arguments()
        if not self._uploads:
            return args, kwargs
        opened: dict[int, Any] = {}
        return (
            [self._with_stream(value, opened) for value in args],
            {name: self._with_stream(value, opened) for name, value in kwargs.items()},
        )

    def pickled_arguments(self) -> Payload:
        if self._uploads:
            raise CallError(
                UsageError(
                    f"{self._frame.name} is parallel, and iterators and files can't be streamed "
                    "into its process: pass a list, or bytes"
                )
            )
        return super().pickled_arguments()

    def _with_stream(self, value: Any, opened: dict[int, Any]) -> Any:
        if not isinstance(value, StreamArgument):
            return value
        if value.stream not in opened:  # else the same one is two arguments
            opened[value.stream] = self._stream_argument(value)
        return opened[value.stream]

    def _stream_argument(self, argument: StreamArgument) -> Any:
        incoming = self._uploads[argument.stream - 1]
        if self.method.takes_async:
            return async_argument(incoming, is_file=argument.is_file)
        return thread_argument(incoming, is_file=argument.is_file, run=self._pools.threads.run)

    # -- its outcome ----------------------------------------------------------

    def returned(self, result: object) -> Callable[[], None]:
        name = self.method.name
        if type(result) not in PLAIN_TYPES and isinstance(result, Iterator):
            return GeneratorRun(self, self._pools, result).begin
        payload = dump_result(name, result, memory=self._outbox.memory)
        return functools.partial(self._finish, Kind.REPLY, payload)

    async def send_items(self, items: AsyncIterator[Any]) -> None:
        outgoing = self.open_stream()
        try:
            within = exclusive.inside if (exclusive := self.method.exclusive) else nullcontext
            async with closing(items, within=within):
                while (payload := await self._next_payload(items)) is not None:
                    await outgoing.send(payload)
        finally:
            await outgoing.body_sent()
        self.end_stream(None)

    async def _next_payload(self, items: AsyncIterator[Any]) -> Payload | None:
        try:
            if self.method.exclusive is None:
                item = await anext(items)
            else:
                async with self.method.exclusive.inside():
                    item = await anext(items)
        except StopAsyncIteration:
            return None
        return self.dump_item(item)

    def dump_item(self, item: object) -> Payload:
        """Pickle what the method has yielded; see `dump_result`."""
        memory = self._outbox.memory
        return dump_result(self.method.name, item, verb="yielded", memory=memory)

    def open_stream(self) -> OutgoingStream:
        """Tell the caller that items follow."""
        self.outgoing = OutgoingStream(self._outbox, self._stream)
        self._outbox.post(control_frame(Kind.STREAM, self._stream))
        return self.outgoing

    def end_stream(self, error: Payload | None) -> None:
        """Tell the caller that the items are complete, or end with an ``error``."""
        if error is not None:
            self._finish(Kind.ERROR, error)
        elif self.end():
            self.method.calls.finished(self._began)
            self._outbox.post(control_frame(Kind.END, self._stream))

    def _finish(self, kind: int, payload: Payload) -> None:
        if self.end():
            self.method.calls.finished(self._began, raised=kind == Kind.ERROR)
            # With more calls running, more replies may be due at once: they share a write.
            # Those of the supervisor wait for days.
            is_urgent = self._outbox.is_corked or all(
                call.method.is_of_supervisor for call in self._running.values()
            )
            self._outbox.post_message(kind, self._stream, payload, is_urgent=is_urgent)
