"""The machine's end of a connection: calls come in, methods run, replies go out."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import trio

from ...errors import BigmachineError, ProtocolError, UsageError
from .._channel import Channel
from .._exceptions import dump_exception
from .._frames import (
    DEFAULT_LIMIT_BYTES,
    Frame,
    FrameDecoder,
    Kind,
    Payload,
    control_frame,
    message_frame,
)
from .._outbox import Outbox
from .._payload import Refused, dump_value, load_arguments, loads
from .._receive import receive_frames
from .._streams import FILE_CHUNK_BYTES, IncomingStream, OutgoingStream, StreamArgument, close_items
from .._tasks import TaskPool, ThreadPool
from ._generators import GeneratorRun
from ._processes import ProcessCall
from ._registry import Method, Services
from ._stream_arguments import AsyncFile, ThreadFile, ThreadStream


class ServingConnection:
    """Serves the calls of one authenticated peer.

    A method's exception is the caller's affair and never ends the connection; the
    connection's end cancels the methods it started.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        services: Services,
        tasks: TaskPool,
        threads: ThreadPool,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        leading: bytes = b"",
    ) -> None:
        self._channel = channel
        self._services = services
        self._tasks = tasks
        self._threads = threads
        self._outbox = Outbox(channel)
        # How to cancel each call that runs, and the streams that belong to it.
        self._calls: dict[int, Callable[[], object]] = {}
        self._uploads: dict[int, IncomingStream] = {}
        self._decoder = FrameDecoder(
            limit_bytes=limit_bytes, leading=leading, is_wanted=self._uploads.__contains__
        )
        self._uploads_of: dict[int, range] = {}
        self._outgoing: dict[int, OutgoingStream] = {}

    async def run(self) -> None:
        """Serve until the peer closes, or breaks the protocol."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._outbox.run)
                with contextlib.suppress(ProtocolError):
                    await receive_frames(self._channel, self._decoder, self._outbox, self._handle)
                nursery.cancel_scope.cancel()
        finally:
            self._channel.close()
            for stream in tuple(self._calls):
                self._cancel(stream)

    async def flushed(self) -> None:
        """Wait until all replies that are due so far are sent."""
        await self._outbox.flushed()

    def _handle(self, frame: Frame) -> None:
        kind, stream = frame.kind, frame.stream
        if kind == Kind.CALL:
            self._begin(frame)
        elif kind == Kind.CANCEL:
            self._cancel(stream)
        elif kind == Kind.ACK:
            outgoing = self._outgoing.get(stream)
            if outgoing is not None:
                outgoing.acked(frame.aux)
        elif kind in _UPLOAD_KINDS:
            upload = self._uploads.get(stream)
            if upload is not None:
                upload.deliver(frame)
        else:
            raise ProtocolError(f"a frame of kind {kind} from a client")

    def _begin(self, frame: Frame) -> None:
        stream = frame.stream
        if stream in self._calls or stream in self._uploads:
            raise ProtocolError("a call began on the stream of one that still runs")
        self._calls[stream] = _nothing
        try:
            method = self._services.find(frame.name)
        except UsageError as exc:
            self._fail(stream, Refused(exc))
            return
        if frame.aux:
            numbers = range(stream + 1, stream + 1 + frame.aux)
            if not self._uploads.keys().isdisjoint(numbers):
                raise ProtocolError("a call's uploads have the streams of another's")
            self._uploads_of[stream] = numbers
            for number in numbers:
                self._uploads[number] = IncomingStream(self._outbox, number, _upload_error)
        if method.is_async:
            run = functools.partial(self._run_async, method, frame)
            self._calls[stream] = self._tasks.start(run).cancel
        elif method.processes is None:
            run_in_thread = functools.partial(self._run_in_thread, method, frame)
            self._calls[stream] = self._threads.start(run_in_thread).cancel
        else:
            arguments = Payload((frame.pickle,), frame.buffers, len(frame.pickle), frame.size)
            call = method.processes.call(method.name, arguments)
            self._calls[stream] = call.cancel
            self._threads.start(functools.partial(self._run_in_process, call, frame))

    async def _run_async(self, method: Method, frame: Frame) -> None:
        stream = frame.stream
        try:
            args, kwargs = self._arguments(frame, _for_async)
            result = method.function(*args, **kwargs)
            if not isinstance(result, AsyncIterator):
                result = await result
            if isinstance(result, AsyncIterator):
                await self._send_items(method, stream, result)
            elif isinstance(result, Iterator):
                GeneratorRun(self, self._threads, method.name, stream, result).begin()
            else:
                self._reply(stream, dump_value(method.name, "returned", result))
        except trio.Cancelled:
            self._end(stream)
            raise
        except BaseException as exc:
            self._fail(stream, exc)

    def _run_in_thread(self, method: Method, frame: Frame) -> Callable[[], None]:
        stream = frame.stream
        try:
            args, kwargs = self._arguments(frame, self._for_thread)
            result = method.function(*args, **kwargs)
            if isinstance(result, Iterator):
                return GeneratorRun(self, self._threads, method.name, stream, result).begin
            if isinstance(result, AsyncIterator):
                job = functools.partial(self._run_items, method, stream, result)
                return lambda: self._replace(stream, lambda: self._tasks.start(job).cancel)
            return functools.partial(
                self._reply, stream, dump_value(method.name, "returned", result)
            )
        except BaseException as exc:
            return functools.partial(self._finish, stream, Kind.ERROR, dump_exception(exc))

    def _run_in_process(self, call: ProcessCall, frame: Frame) -> Callable[[], None]:
        try:
            if frame.aux:
                raise Refused(
                    UsageError(
                        f"{frame.name} is parallel, and iterators and files can't be streamed "
                        "into its process: pass a list, or bytes"
                    )
                )
            kind, payload = call.run()
        except BaseException as exc:
            kind, payload = Kind.ERROR, dump_exception(exc)
        return functools.partial(self._finish, frame.stream, kind, payload)

    async def _run_items(self, method: Method, stream: int, items: AsyncIterator[Any]) -> None:
        try:
            await self._send_items(method, stream, items)
        except trio.Cancelled:
            self._end(stream)
            raise
        except BaseException as exc:
            self._fail(stream, exc)

    async def _send_items(self, method: Method, stream: int, items: AsyncIterator[Any]) -> None:
        outgoing = self.open_stream(stream)
        try:
            async for item in items:
                await outgoing.send(dump_value(method.name, "yielded", item))
        finally:
            await close_items(items)
            await outgoing.body_sent()
        self.end_stream(stream, None)

    def _arguments(
        self, frame: Frame, adapt: Callable[[IncomingStream, bool], Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        args, kwargs = load_arguments(frame)
        if not frame.aux:
            return args, kwargs

        def replace(value: Any) -> Any:
            if not isinstance(value, StreamArgument):
                return value
            return adapt(self._uploads[frame.stream + value.stream], value.is_file)

        return [replace(v) for v in args], {name: replace(v) for name, v in kwargs.items()}

    # -- how a call ends; in the trio loop ------------------------------------

    def open_stream(self, stream: int) -> OutgoingStream:
        """Tell the caller that items follow."""
        outgoing = self._outgoing[stream] = OutgoingStream(self._outbox, stream)
        self._outbox.post(control_frame(Kind.STREAM, stream))
        return outgoing

    def _for_thread(self, incoming: IncomingStream, is_file: bool) -> Any:
        items = ThreadStream(incoming, self._threads.run)
        return io.BufferedReader(ThreadFile(items), FILE_CHUNK_BYTES) if is_file else items

    def is_wanted(self, stream: int) -> bool:
        """Whether the caller still waits for this call."""
        return stream in self._calls

    def _replace(self, stream: int, start: Callable[[], Callable[[], object]]) -> None:
        if self.is_wanted(stream):
            self._calls[stream] = start()

    def on_cancel(self, stream: int, cancel: Callable[[], object]) -> None:
        """Have ``cancel`` called when the caller gives up."""
        self._calls[stream] = cancel

    def _reply(self, stream: int, payload: Payload) -> None:
        self._finish(stream, Kind.REPLY, payload)

    def _fail(self, stream: int, exc: BaseException) -> None:
        self._finish(stream, Kind.ERROR, dump_exception(exc))

    def end_stream(self, stream: int, error: Payload | None) -> None:
        """Tell the caller that the items are complete, or cut off by an ``error``."""
        if error is not None:
            self._finish(stream, Kind.ERROR, error)
        elif self._end(stream):
            self._outbox.post(control_frame(Kind.END, stream))

    def _finish(self, stream: int, kind: Kind, payload: Payload) -> None:
        if self._end(stream):
            frame, body = message_frame(kind, stream, payload)
            # With more calls running, more replies may be due in this very round.
            self._outbox.post(frame, is_urgent=not self._calls)
            if body:
                self._outbox.post_body(stream, body)

    def _end(self, stream: int) -> bool:
        """Forget a call; False if its caller had cancelled it."""
        self._outgoing.pop(stream, None)
        for number in self._uploads_of.pop(stream, ()):
            upload = self._uploads.pop(number)
            upload.close()
            self._decoder.forget(number)
        return self._calls.pop(stream, None) is not None

    def _cancel(self, stream: int) -> None:
        self._decoder.forget(stream)
        self._outbox.cancel_body(stream)
        cancel = self._calls.get(stream)
        if cancel is not None:
            self._end(stream)
            cancel()


_UPLOAD_KINDS = frozenset({Kind.ITEM, Kind.END, Kind.ERROR})


def _for_async(incoming: IncomingStream, is_file: bool) -> Any:
    return AsyncFile(incoming) if is_file else incoming


def _upload_error(frame: Frame) -> Exception:
    try:
        _, message, *_ = loads(frame)
    except Exception:
        message = "unknown"
    return BigmachineError(f"the caller's iterator failed: {message}")


def _nothing() -> None:
    pass
