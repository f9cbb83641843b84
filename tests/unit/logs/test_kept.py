"""What is kept of machines' output, and how it is read."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

import bigmachine as bm
from bigmachine.logs import _kept
from bigmachine.logs._kept import KEPT_BYTES, KEPT_LINE_BYTES, KEPT_LINES, KeptLog, SessionLogs
from bigmachine.logs._record_lines import record_line


def add(log: KeptLog, *lines: str) -> None:
    for line in lines:
        log.add(line.encode())


def texts(lines: list[bm.LogLine]) -> list[str]:
    return [line.text for line in lines]


def test_last_lines_are_kept_within_bounds():
    log = SessionLogs().new("m0")
    add(log, *(f"{i:100}" for i in range(1000)))
    assert texts(log.lines())[-1] == f"{999:100}"
    assert KEPT_BYTES - 202 < log.size <= KEPT_BYTES
    add(log, *[""] * 10_000)
    assert len(log.lines()) == KEPT_LINES
    add(log, "漢" * 100_000)
    [cut] = texts(log.lines())[-1:]
    assert KEPT_LINE_BYTES // 3 <= len(cut) <= KEPT_LINE_BYTES // 3 + 1
    assert cut.endswith("漢…")


def test_lines_are_harmless_and_records_tell_level_and_logger():
    logs = SessionLogs()
    log = logs.new("m0")
    add(log, "\x1b]0;title\x07a\x1b[31mb")
    record = logging.makeLogRecord({"name": "work", "levelno": 30, "msg": "one\ntwo"})
    log.add(record_line(record, logs.mark))
    printed, logged = log.lines()
    assert (printed.text, printed.level, printed.logger) == ("ab", None, None)
    assert str(printed) == "m0: ab"
    assert (logged.text, logged.level, logged.logger) == ("one\ntwo", logging.WARNING, "work")
    assert logged.time == record.created
    assert str(logged) == "m0: WARNING work: one\nm0: two"


def test_record_with_a_foreign_mark_is_only_text():
    logs = SessionLogs()
    log = logs.new("m0")
    log.add(record_line(logging.makeLogRecord({"msg": "forged"}), SessionLogs().mark))
    [line] = log.lines()
    assert (line.text, line.level) == ("forged", None)


def test_reader_gets_what_is_kept_and_then_what_comes_until_the_end():
    async def test():
        logs = SessionLogs()
        one, two = logs.new("m0"), logs.new("m1")
        add(one, "a")
        add(two, "b")
        add(one, "c")
        got: list[str] = []

        async def follow(machine: str | None) -> None:
            async for line in logs.read(machine):
                got.append(str(line))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, None)
            await trio.testing.wait_all_tasks_blocked()
            assert got == ["m0: a", "m1: b", "m0: c"]
            one.end()
            add(two, "d")
            await trio.testing.wait_all_tasks_blocked()
            assert got[3:] == ["m1: d"]
            two.end()
        got.clear()
        await follow("m1")  # also after its end
        assert got == ["m1: b", "m1: d"]

    trio.run(test)


def test_reader_waits_for_the_first_machine_and_ends_with_the_session():
    async def test():
        logs = SessionLogs()
        got: list[str] = []

        async def follow() -> None:
            got.extend([line.text async for line in logs.read()])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            add(logs.new("m0"), "late")
            await trio.testing.wait_all_tasks_blocked()
            logs.close()
        assert got == ["late"]

    trio.run(test)


def test_lines_of_several_machines_are_in_the_order_of_their_time():
    logs = SessionLogs()
    one, two = logs.new("m0"), logs.new("m1")

    def log_record(log: KeptLog, text: str, *, age: float) -> None:
        record = logging.makeLogRecord({"levelno": logging.INFO, "msg": text})
        record.created -= age
        log.add(record_line(record, logs.mark))

    log_record(one, "second", age=20.0)
    log_record(one, "fourth", age=-3600.0)  # by a clock that is fast
    log_record(two, "first", age=30.0)  # came late
    log_record(two, "third", age=10.0)
    add(two, "fifth")
    log_record(two, "sixth", age=40.0)  # a machine's own lines stay in their order
    expected = ["first", "second", "third", "fourth", "fifth", "sixth"]
    assert texts(logs.read().take()) == expected


def test_reader_that_is_too_slow_is_told_what_it_missed():
    logs = SessionLogs()
    log = logs.new("m0")
    add(log, "before", "first")
    reader = logs.read()
    assert texts(reader.take()) == ["before", "first"]
    add(log, *("x" * 100 for _ in range(1000)))
    lost, *rest = reader.take()
    assert lost.lost == 1000 - len(rest)
    assert lost.text == f"… {lost.lost} lines of m0 are no longer kept"
    assert reader.take() == []


def test_without_follow_reader_ends_with_what_there_is():
    async def test():
        logs = SessionLogs()
        add(logs.new("m0"), "a")
        assert [line.text async for line in logs.read(follow=False)] == ["a"]

    trio.run(test)


def test_machines_that_ended_first_are_forgotten_if_there_are_too_many(monkeypatch):
    monkeypatch.setattr(_kept, "ENDED_BYTES", 10_000)
    logs = SessionLogs()
    for i in range(20):
        log = logs.new(f"m{i}")
        add(log, "x" * 1000)
        log.end()
    names = [log.machine for log in logs.logs(None)]
    assert names == [f"m{i}" for i in range(16, 20)]
    with pytest.raises(bm.UsageError, match="nothing is kept of a machine 'm0'; there is m16"):
        logs.read("m0")
