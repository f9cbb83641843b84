"""The log of a local machine."""

from __future__ import annotations

import os

import trio
import trio.testing

from bigmachine_local._descriptors import pipe
from bigmachine_local._log import Log


async def lines_of(log: Log, lines: list[bytes]) -> None:
    async for line in log:
        lines.append(line)


async def finish_as_line_arrives() -> list[bytes]:
    """Close a log after a line arrived; half the time its reader has not read that yet."""
    reading, writing = pipe()
    log = Log(reading)
    lines: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines_of, log, lines)
        await trio.testing.wait_all_tasks_blocked()
        os.write(writing.number, b"last line\nunfinished")
        await trio.lowlevel.checkpoint()  # trio runs what is ready in either order
        log.finish()
    writing.close()
    return lines


def test_log_closed_while_line_arrives_yields_that_line():
    for _ in range(30):
        assert trio.run(finish_as_line_arrives) == [b"last line", b"unfinished"]
