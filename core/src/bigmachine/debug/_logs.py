"""What a session's machines print and log, over HTTP, as plain text."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from .._values import LogLine
from ..errors import UsageError
from ._http import Request, Response, answered

if TYPE_CHECKING:
    from ..logs._kept import AsyncLogReader
    from ._inspected import Inspected


class LogPage:
    """Answers what is asked at ``/debug/bigmachine/logs``.

    ``?machine=m0`` reads that machine; without it, all are read, and each line begins with its
    machine's name. With ``follow=1``, it goes on with what comes, until the machine has ended. Of
    what is kept, ``lines=20`` are shown, the last ones; with ``times=1``, each with its time.
    """

    def __init__(self, session: Inspected) -> None:
        self._session = session

    async def logs(self, request: Request) -> Response:
        """Return the lines that are kept, or those and what comes."""
        return await answered(self._logs, request)

    async def _logs(self, request: Request) -> Response:
        machine = request.query.get("machine")
        follow, times = (request.query.get(name, "0") != "0" for name in ("follow", "times"))
        reader = self._session.logs(machine, follow=follow)
        count = _count(request.query.get("lines"))
        parts = _parts(reader, count, is_named=machine is None, has_times=times)
        if follow:
            return Response(200, parts=parts)
        return Response(200, b"".join([part async for part in parts]))


async def _parts(
    reader: AsyncLogReader, count: int | None, *, is_named: bool, has_times: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the last ``count`` of the lines that there are, or all; then what comes."""

    def shown(lines: list[LogLine]) -> bytes:
        texts = [_text(line, is_named=is_named, has_time=has_times) for line in lines]
        return "".join(f"{text}\n" for text in texts).encode(errors="backslashreplace")

    kept = reader.take()
    if kept := kept if count is None else kept[max(0, len(kept) - count) :]:
        yield shown(kept)
    while True:
        try:
            lines = await reader.receive()
        except StopAsyncIteration:
            return
        yield shown(lines)


def _text(line: LogLine, *, is_named: bool, has_time: bool) -> str:
    text = str(line) if is_named else line.full_text
    return with_time(line, text) if has_time else text


def with_time(line: LogLine, text: str) -> str:
    """Return a ``text`` of ``line``, which may have several lines, each with its time."""
    seconds = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.time))
    moment = f"{seconds}.{int(line.time % 1 * 1000):03}"
    return "\n".join(f"{moment}  {part}" for part in text.split("\n"))


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise UsageError(f"lines is a whole number, such as lines=20, not {text!r}")
    return int(text)
