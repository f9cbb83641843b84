"""The stream arguments of one call: taken out of its arguments, and sent to the machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import trio

from ...errors import UsageError
from .._frames import MAX_UPLOADS, Kind, Payload, control_frame
from .._marshal import unpicklable_result
from .._outbox import Outbox
from .._payload import dumps, is_plain
from .._streams import FILE_CHUNK_BYTES, OutgoingStream, StreamArgument, close_items


class Uploads:
    """Takes the iterators and files out of a call's arguments, and sends them.

    ``args`` and ``kwargs`` go into the call instead: a `StreamArgument` stands for each
    stream.
    """

    def __init__(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._sources: list[Any] = []
        self._scope = trio.CancelScope()
        self._failure: BaseException | None = None
        self.args = [self._replace(value) for value in args]
        self.kwargs = {name: self._replace(value) for name, value in kwargs.items()}
        if self.count > MAX_UPLOADS:
            raise UsageError(f"{method}: at most {MAX_UPLOADS} stream arguments in one call")

    @property
    def count(self) -> int:
        """How many streams there are; they take the stream numbers after the call's."""
        return len(self._sources)

    async def run(
        self,
        outbox: Outbox,
        outgoing: dict[int, OutgoingStream],
        call: int,
        body: trio.Event | None,
        on_failure: Callable[[int, BaseException], None],
    ) -> None:
        """Send all streams of the ``call``, once its ``body`` is sent, until `cancel`.

        When a source raises, ``on_failure`` is called with the call and the exception.
        """

        async def send(source: Any, stream: int) -> None:
            outgoing[stream] = OutgoingStream(outbox, stream)
            try:
                await _send_items(source, outgoing[stream])
                outbox.post(control_frame(Kind.END, stream))
            except trio.Cancelled:
                raise
            except BaseException as exc:
                if self._failure is None:
                    self._failure = exc
                self._scope.cancel()
            finally:
                outbox.cancel_body(stream)
                del outgoing[stream]

        with self._scope:
            if body is not None:
                await body.wait()
            async with trio.open_nursery() as nursery:
                for place, source in enumerate(self._sources, 1):
                    nursery.start_soon(send, source, call + place)
        if self._failure is not None:
            on_failure(call, self._failure)

    def cancel(self) -> None:
        """Stop sending."""
        self._scope.cancel()

    def _replace(self, value: Any) -> Any:
        if not is_stream(value):
            return value
        self._sources.append(value)
        return StreamArgument(len(self._sources), is_file=is_file(value))


def is_file(value: object) -> bool:
    """Whether an argument is uploaded as a file."""
    # Not everything with a ``read`` is a file: configparser, an instrument's driver, …
    return (
        hasattr(value, "read")
        and (hasattr(value, "readline") or hasattr(value, "readinto"))
        and not isinstance(value, type)
    )


def is_stream(value: object) -> bool:
    """Whether an argument is uploaded as a stream: it can be read only once."""
    if is_plain(value):  # a shortcut: the checks below take longer
        return False
    return isinstance(value, (Iterator, AsyncIterator)) or is_file(value)


async def _send_items(source: Any, outgoing: OutgoingStream) -> None:
    """Send all of an iterator, async iterator or file; raise what it raises.

    `UsageError` for an item that can't be pickled.
    """
    if isinstance(source, AsyncIterator):
        is_text = is_file(source)  # trio's files: by line, and perhaps as text
        try:
            async for item in source:
                await outgoing.send(_dump_item(_encoded(item) if is_text else item))
        finally:
            if not is_text:
                await close_items(source)
    else:
        # A plain iterator may block (a disk, a generator that computes), so it runs in a thread.
        step = (lambda: _read_chunk(source)) if is_file(source) else (lambda: _next(source))
        while (item := await _in_thread(step)) is not _END:
            await outgoing.send(_dump_item(item))
    await outgoing.body_sent()


def _dump_item(item: object) -> Payload:
    try:
        return dumps(item)
    except Exception as exc:
        raise UsageError(
            f"an iterator argument: {unpicklable_result(item, verb='yielded')}"
        ) from exc


async def _in_thread(step: Callable[[], Any]) -> Any:
    return await trio.to_thread.run_sync(step, abandon_on_cancel=True)


def _next(source: Iterator[Any]) -> Any:
    return next(source, _END)


def _read_chunk(file: Any) -> Any:
    return _encoded(file.read(FILE_CHUNK_BYTES)) or _END


def _encoded(chunk: Any) -> Any:
    return chunk.encode() if isinstance(chunk, str) else chunk


_END: Any = object()
