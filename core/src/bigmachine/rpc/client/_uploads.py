"""The stream arguments of one call: taken out of its arguments, and sent to the machine."""

from __future__ import annotations

import codecs
import contextvars
import io
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import trio

from ...errors import UsageError
from ...services._tracebacks import shorten_traceback
from .._frames import MAX_UPLOADS, Kind, Payload, control_frame
from .._marshal import unpicklable_result
from .._payload import dumps, is_plain
from .._streams import (
    FILE_CHUNK_BYTES,
    LARGE_ITEM_BYTES,
    OutgoingStream,
    StreamArgument,
    closing,
    item_cost,
)
from ..transport._outbox import Outbox

# What a thread reads at most before other threads and tasks have their turn.
_READ_BYTES = 128 << 10


class Uploads:
    """The iterators and files among a call's arguments: `take` collects them, `run` sends them.

    They are read in the context, as of `contextvars`, in which this object is made.
    """

    def __init__(self) -> None:
        self._sources: list[_Source] = []
        self._scope = trio.CancelScope()
        self._failure: BaseException | None = None

    def take(
        self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with a `StreamArgument` in the place of each stream."""
        plain = [self._replace(f"{method}: argument {i}", value) for i, value in enumerate(args)]
        named = {name: self._replace(f"{method}: {name}", value) for name, value in kwargs.items()}
        if self.count > MAX_UPLOADS:
            raise UsageError(f"{method}: at most {MAX_UPLOADS} stream arguments in one call")
        return plain, named

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

        async def send(source: _Source, stream: int) -> None:
            outgoing[stream] = OutgoingStream(outbox, stream)
            try:
                await _send_items(source, outgoing[stream])
                outbox.post(control_frame(Kind.END, stream))
            except trio.Cancelled:
                raise
            except BaseException as exc:
                if self._failure is None:
                    shorten_traceback(exc)
                    self._failure = exc
                self._scope.cancel()
            finally:
                if outbox.cancel_body(stream):
                    outbox.post(control_frame(Kind.CANCEL, stream))  # or it waits for the rest
                del outgoing[stream]

        with self._scope:
            if body is not None:
                await body.wait()
            async with trio.open_nursery() as nursery:
                for place, source in enumerate(self._sources, 1):
                    # The task gets a copy of the context, for an async iterator.
                    source.context.run(nursery.start_soon, send, source, call + place)
        if self._failure is not None:
            on_failure(call, self._failure)

    def cancel(self) -> None:
        """Stop sending."""
        self._scope.cancel()

    def _replace(self, label: str, value: Any) -> Any:
        if not is_stream(value):
            return value
        if isinstance(value, _TEXT_FILES):
            raise UsageError(f"{label}: {_NO_TEXT}")
        for place, source in enumerate(self._sources, 1):
            if source.value is value:  # two streams would each get some of its items
                return StreamArgument(place, is_file=is_file(value))
        self._sources.append(_Source(value, label, contextvars.copy_context()))
        return StreamArgument(len(self._sources), is_file=is_file(value))


class _Source(NamedTuple):
    """A stream argument; ``label`` names it in errors: ``PI.add: argument 0``."""

    value: Any
    label: str
    context: contextvars.Context  # of its own, since two threads can't be in the same one


def is_file(value: object) -> bool:
    """Whether an argument is uploaded as a file."""
    # Not everything with a ``read`` is a file: configparser, an instrument's driver, … And not
    # what has any attribute: a mock, a proxy, a dict whose items are attributes.
    try:
        return (
            hasattr(value, "read")
            and (hasattr(value, "readline") or hasattr(value, "readinto"))
            and not isinstance(value, type)
            and not hasattr(value, "_no_file_has_this")
        )
    except Exception:  # an attribute that is missing is its KeyError, for instance
        return False


def is_stream(value: object) -> bool:
    """Whether an argument is uploaded as a stream: it can be read only once."""
    if is_plain(value):  # a shortcut: the checks below take longer
        return False
    return isinstance(value, (Iterator, AsyncIterator)) or is_file(value)


async def _send_items(source: _Source, outgoing: OutgoingStream) -> None:
    """Send all of an iterator, async iterator or file; raise what it raises.

    `UsageError` for an item that can't be pickled.
    """
    if isinstance(source.value, AsyncIterator):
        by_line = is_file(source.value)  # trio's files
        async with nullcontext() if by_line else closing(source.value):
            async for item in source.value:
                await outgoing.send(_dump_item(source, _checked(source, item) if by_line else item))
    else:
        await _send_from_thread(source, outgoing)
    await outgoing.body_sent()


async def _send_from_thread(source: _Source, outgoing: OutgoingStream) -> None:
    """Send all of a plain iterator or file. It may block, so a thread reads it.

    The thread reads on while the loop sends, so that many small items take one hop.
    """
    read = _read_chunk if is_file(source.value) else _next
    token = trio.lowlevel.current_trio_token()
    ready: deque[Payload] = deque()
    is_over = False

    def post_ready() -> None:
        while ready and not is_over:
            outgoing.post(ready.popleft())

    def read_some(room: int) -> bool:
        """Read until there is no more room; return whether there is more to read."""
        while room > 0 and not is_over:
            item = read(source)
            if item is _END:
                return False
            payload = _dump_item(source, item)
            room -= item_cost(payload.size)
            ready.append(payload)
            if payload.size > LARGE_ITEM_BYTES:
                break
            if len(ready) == 1:  # otherwise the loop knows already that there are some
                token.run_sync_soon(post_ready)
        return True

    try:
        is_more = True
        while is_more:
            await outgoing.room()
            room = min(outgoing.room_bytes, _READ_BYTES)
            is_more = await trio.to_thread.run_sync(
                source.context.run, read_some, room, abandon_on_cancel=True
            )
            post_ready()
    finally:
        is_over = True


def _dump_item(source: _Source, item: object) -> Payload:
    try:
        return dumps(item)
    except Exception as exc:
        raise UsageError(f"{source.label}: {unpicklable_result(item, verb='yielded')}") from exc


def _next(source: _Source) -> Any:
    return next(source.value, _END)


def _read_chunk(source: _Source) -> Any:
    return _checked(source, source.value.read(FILE_CHUNK_BYTES)) or _END


def _checked(source: _Source, chunk: Any) -> Any:
    """Return what a file has yielded; `UsageError` if it is text: some files don't tell before."""
    if isinstance(chunk, str):
        raise UsageError(f"{source.label}: {_NO_TEXT}")
    return chunk


_TEXT_FILES = (io.TextIOBase, codecs.StreamReader, codecs.StreamReaderWriter)
_NO_TEXT = (
    'files are sent as bytes, and this one is open as text: open it with "rb", or pass its buffer, '
    "such as sys.stdin.buffer; to send lines of text, pass (line for line in file)"
)


_END: Any = object()
