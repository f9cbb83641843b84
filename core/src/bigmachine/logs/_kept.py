"""What machines have printed and logged, as far as it is kept: for errors, and for readers."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections import deque
from typing import NamedTuple

from .._repeated_event import RepeatedEvent
from .._values import LogLine
from ..errors import UsageError, sanitize
from ._record_lines import RecordLine, begin_of_record, record_line

KEPT_BYTES = 64 << 10
"""How much of the output of each machine is kept, also after its end: the last of it."""
KEPT_LINES = 4096
"""No more lines than these are kept of a machine, however short they are."""
KEPT_LINE_BYTES = 16 << 10
"""Longer lines are cut."""
ENDED_BYTES = 16 << 20
"""How much is kept of all machines that have ended: of those that ended last."""

_LOG_BYTES = 1024  # of memory, roughly, for what is kept of a machine that has printed nothing


class _Entry(NamedTuple):
    number: int  # in the session
    time: float
    line: bytes  # as it came


class KeptLog:
    """The last lines of one machine. It belongs to the session's loop."""

    def __init__(self, machine: str, logs: SessionLogs) -> None:
        self.machine = machine
        self.gone = 0
        """How many of the lines that were added are no longer kept; may be read in any thread."""
        self.size = 0  # of those that are kept, in bytes
        self.has_ended = False
        self.begin_of_record = logs.begin_of_record
        self._entries: deque[_Entry] = deque()
        self._logs = logs

    def add(self, line: bytes) -> None:
        """Add a whole line, or the line of a record."""
        entries = self._entries
        if len(line) > KEPT_LINE_BYTES:
            line = line[: end_of_character(line, KEPT_LINE_BYTES)] + "…".encode()
        entries.append(_Entry(self._logs.next_number(), time.time(), line))
        self.size += len(line) + 1
        while len(entries) > 1 and (self.size > KEPT_BYTES or len(entries) > KEPT_LINES):
            self.size -= len(entries.popleft().line) + 1
            self.gone += 1
        self._logs.changed.set()

    def end(self, why: str = "") -> None:
        """Say that nothing will be added. Its last line is ``why`` it ended, if that is given."""
        if not self.has_ended:
            if why:
                fields = {"name": "bigmachine.machine", "levelno": logging.WARNING, "msg": why}
                self.add(record_line(logging.makeLogRecord(fields), self._logs.mark))
            self.has_ended = True
            self._logs.ended(self)

    @property
    def count(self) -> int:
        """How many lines were added."""
        return self.gone + len(self._entries)

    def lines(self) -> list[LogLine]:
        """Return what is kept."""
        return [line for *_, line in self.after(self.gone)]

    def after(self, count: int) -> list[tuple[float, int, LogLine]]:
        """Return what came after the first ``count`` lines, each after its place and its number.

        Lines of several machines are sorted by these. The place is a line's time, but a record's
        is not after it came, as by a clock that is fast, nor before that of the line before it.
        """
        entries = self._entries
        new = min(self.count - count, len(entries))
        found = [*itertools.islice(reversed(entries), new)]
        lost = self.count - count - new
        lines: list[tuple[float, int, LogLine]] = []
        place = 0.0
        for entry in reversed(found):
            line = self._shown(entry)
            place = max(place, min(line.time, entry.time))
            lines.append((place, entry.number, line))
        if lost:
            at = found[-1] if found else _Entry(0, time.time(), b"")
            text = f"… {lost:,} line{'s' * (lost != 1)} of {self.machine} are no longer kept"
            place = lines[0][0] if lines else at.time
            lines.insert(0, (place, at.number, LogLine(at.time, self.machine, text, lost=lost)))
        return lines

    def clear(self) -> None:
        """Keep nothing of it any more."""
        self.gone = self.count
        self._entries.clear()
        self.size = 0

    def _shown(self, entry: _Entry) -> LogLine:
        if entry.line.startswith(self.begin_of_record):
            record = RecordLine.parse(entry.line, self.machine)
            if record is not None:
                return record.to_log_line()
        text = sanitize(entry.line.decode(errors="backslashreplace"))
        return LogLine(entry.time, self.machine, text)


class SessionLogs:
    """The logs of a session's machines. They belong to the session's loop."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        """What distinguishes records from other output."""
        self.begin_of_record = begin_of_record(self.mark)
        self.changed = RepeatedEvent()
        self.is_closed = False
        self._numbers = itertools.count(1)
        self._logs: dict[str, KeptLog] = {}
        self._ended: deque[KeptLog] = deque()
        self._ended_size = 0

    def new(self, machine: str, *, is_owned: bool = True) -> KeptLog:
        """Begin to keep the output of a machine; one that is not owned sends its owner what it has.

        No two machines that are owned have the same name.
        """
        log = KeptLog(machine, self)
        if is_owned:
            self._logs[machine] = log
            self.changed.set()
        return log

    def next_number(self) -> int:
        """Return the number of the next line in the session."""
        return next(self._numbers)

    def ended(self, log: KeptLog) -> None:
        """Take note that a machine has ended; forget those that ended first, if it is too much."""
        if self._logs.get(log.machine) is not log:
            return
        self._ended.append(log)
        self._ended_size += log.size + _LOG_BYTES
        while self._ended_size > ENDED_BYTES:
            oldest = self._ended.popleft()
            self._ended_size -= oldest.size + _LOG_BYTES
            oldest.clear()
            self._logs.pop(oldest.machine, None)
        self.changed.set()

    def close(self) -> None:
        """Say that there will be no further machines."""
        for log in [*self._logs.values()]:
            log.end()
        self.is_closed = True
        self.changed.set()

    def read(self, machine: str | None = None, *, follow: bool = True) -> AsyncLogReader:
        """Return what reads one machine, or all; `UsageError` if there is no such machine."""
        if machine is not None and machine not in self._logs:
            known = ", ".join(self._logs) or "none"
            raise UsageError(f"nothing is kept of a machine {machine!r}; there is {known}")
        return AsyncLogReader(self, machine, follow=follow)

    def logs(self, machine: str | None) -> list[KeptLog]:
        """Return that of one machine, if it is still kept; without a name, all."""
        if machine is None:
            return [*self._logs.values()]
        return [log] if (log := self._logs.get(machine)) is not None else []


class AsyncLogReader:
    """The lines of one machine, or of all: first what is kept, then what comes.

    An async iterator; it ends when the machine has ended, or all have, or when their session is
    closed. Lines that came and went while nobody read are counted, see `LogLine.lost`. It
    holds nobody up, and need not be closed.
    """

    def __init__(self, logs: SessionLogs, machine: str | None, *, follow: bool) -> None:
        self._logs = logs
        self._machine = machine
        self._follow = follow
        # How many of each machine's lines.
        self._seen = {log.machine: log.gone for log in logs.logs(machine)}
        self._taken: deque[LogLine] = deque()

    def __aiter__(self) -> AsyncLogReader:
        return self

    async def __anext__(self) -> LogLine:
        if not self._taken:
            self._taken.extend(await self.receive())
        return self._taken.popleft()

    async def receive(self) -> list[LogLine]:
        """Wait for a line; return all that are there. `StopAsyncIteration` is the end."""
        while not (lines := self.take()):
            if not self._follow or self._is_over:
                raise StopAsyncIteration
            await self._logs.changed.wait()
        return lines

    def take(self) -> list[LogLine]:
        """Return what is there and was not taken, in the order of its time, without waiting."""
        found: list[tuple[float, int, LogLine]] = []
        for log in self._logs.logs(self._machine):
            if log.count > (seen := self._seen.get(log.machine, 0)):
                found += log.after(seen)
                self._seen[log.machine] = log.count
        found.sort(key=lambda each: each[:2])
        return [line for *_, line in found]

    @property
    def _is_over(self) -> bool:
        logs = self._logs.logs(self._machine)
        if self._logs.is_closed or (self._machine is not None and not logs):
            return True
        return bool(logs) and all(log.has_ended for log in logs)


def end_of_character(text: bytes, end: int) -> int:
    """Return where to cut UTF-8, at ``end`` or up to three bytes before."""
    return next((at for at in range(end, end - 4, -1) if text[at] & 0xC0 != 0x80), end)
