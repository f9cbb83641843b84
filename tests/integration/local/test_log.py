"""The log of a local machine."""

from __future__ import annotations

import os

import trio
import trio.testing

from bigmachine.system import LinePart
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


async def parts_of(*writes: bytes) -> list[bytes]:
    """Write to a log, each time when its reader has waited long; return what the reader got."""
    reading, writing = pipe()
    log = Log(reading)
    lines: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines_of, log, lines)
        for data in writes:
            os.write(writing.number, data)
            with trio.move_on_after(1):
                await trio.sleep_forever()
        writing.close()
    return lines


def test_line_that_is_not_finished_for_a_moment_comes_in_parts():
    clock = trio.testing.MockClock(autojump_threshold=0.02)
    lines = trio.run(parts_of, b"one\n  0%", b"\r 50%", b"\r100%\ntwo\nend", clock=clock)
    assert lines == [b"one", b"  0%", b"\r 50%", b"\r100%", b"two", b"end"]
    assert [isinstance(line, LinePart) for line in lines] == [False, True, True, False, False, True]


def test_line_that_is_written_in_pieces_at_once_comes_whole():
    async def test() -> list[bytes]:
        reading, writing = pipe()
        log = Log(reading)
        lines: list[bytes] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lines_of, log, lines)
            for piece in (b"a ", b"whole ", b"line\n"):
                os.write(writing.number, piece)
                await trio.testing.wait_all_tasks_blocked()
            writing.close()
        return lines

    clock = trio.testing.MockClock()  # it stands still, so however long this takes is a moment
    assert trio.run(test, clock=clock) == [b"a whole line"]
