"""The stream arguments of one call, on their way to the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trio

from ..errors import UsageError
from ._frames import MAX_UPLOADS, Kind, control_frame
from ._outbox import Outbox
from ._streams import OutgoingStream, StreamArgument, is_file, is_stream, pump


class Uploads:
    """Takes the iterators and files out of a call's arguments, and sends them.

    ``args`` and ``kwargs`` are what goes into the call instead: each stream is
    replaced by its place among them, and ``failure`` is what the first source raised
    that did.
    """

    def __init__(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._sources: list[Any] = []
        self._scope = trio.CancelScope()
        self.failure: BaseException | None = None
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
    ) -> None:
        """Send all, once the ``body`` of the ``call`` is out.

        Raises what a source raised, by itself; `cancel` makes it return.
        """

        async def send(source: Any, stream: int) -> None:
            outgoing[stream] = OutgoingStream(outbox, stream)
            try:
                await pump(source, outgoing[stream])
                outbox.post(control_frame(Kind.END, stream))
            except trio.Cancelled:
                raise
            except BaseException as exc:
                if self.failure is None:
                    self.failure = exc
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
        if self.failure is not None:
            raise self.failure

    def cancel(self) -> None:
        """Send no more."""
        self._scope.cancel()

    def _replace(self, value: Any) -> Any:
        if not is_stream(value):
            return value
        self._sources.append(value)
        return StreamArgument(len(self._sources), is_file=is_file(value))
