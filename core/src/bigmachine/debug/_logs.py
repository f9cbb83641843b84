"""What a session's machines print and log, over HTTP, as plain text."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ._http import Request, Response, answered

if TYPE_CHECKING:
    from ..logs._kept import AsyncLogReader
    from ._inspected import Inspected


class LogPage:
    """Answers what is asked at ``/debug/bigmachine/logs``.

    ``?machine=m0`` reads that machine; without it, all are read, and each line begins with its
    machine's name. With ``follow=1``, it goes on with what comes, until the machine has ended.
    """

    def __init__(self, session: Inspected) -> None:
        self._session = session

    async def logs(self, request: Request) -> Response:
        """Return the lines that are kept, or those and what comes."""
        return await answered(self._logs, request)

    async def _logs(self, request: Request) -> Response:
        machine = request.query.get("machine")
        follow = request.query.get("follow", "0") != "0"
        parts = _parts(self._session.logs(machine, follow=follow), is_named=machine is None)
        if follow:
            return Response(200, parts=parts)
        return Response(200, b"".join([part async for part in parts]))


async def _parts(reader: AsyncLogReader, *, is_named: bool) -> AsyncGenerator[bytes, None]:
    """Yield all the lines that there are, each time that there are some."""
    while True:
        try:
            lines = await reader.receive()
        except StopAsyncIteration:
            return
        shown = [str(line) if is_named else line.full_text for line in lines]
        yield "".join(f"{text}\n" for text in shown).encode(errors="backslashreplace")
