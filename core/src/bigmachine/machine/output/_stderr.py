"""What machines print and log, given to the driver's user: whatever is done with it there.

Standard error may be closed, full, a pipe that nobody reads, a terminal that is stopped, or be
replaced at any time by an object of somebody else's; and handlers of log records are the user's
own. So a thread writes, and calls them, and nobody waits for that thread.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import trio

from ...logs._record_lines import begin_of_record
from ._pace import LINES_PER_SECOND, LineLimit, Pace
from ._screen import screen
from ._stderr_entries import Gap, Line, Record, Step
from ._text_streams import has_colors, is_watched, write_text

QUEUE_BYTES = 4 << 20
"""How much of machines' output waits in memory for a standard error that is slow.

A machine of which less than `_OWN_BYTES` wait may add to that, up to twice as much in all: so
one that prints much does not hide what others print.
"""

FLUSH_SECONDS = 2.0
"""How long the end of a session waits for a standard error that is slow."""

_OWN_BYTES = 64 << 10
_ENTRY_BYTES = 200  # of memory for each line, beside the line itself
_ROUNDS = 8
_GATHERING_SECONDS = 0.001  # of a burst, many lines are then written at once
_TAKEN_BYTES = 4096  # from the queue, at once
_STEP_SECONDS = 0.1  # how long an unfinished line waits before it is shown


class StderrWriter:
    """Writes lines of machines to standard error, each after its machine's name.

    Lines that are records, with the session's ``mark``, are given to the driver's own `logging`.
    One for a session, in which it is started and closed. `line` and `step` never wait. If
    standard error takes the lines too slowly, at most `QUEUE_BYTES` wait; further ones are
    dropped, and their number is written when there is room again. Where a person reads them, a
    machine's lines are limited in number, too.
    """

    def __init__(self, mark: str = "") -> None:
        self._begin_of_record = begin_of_record(mark)
        self._changed = threading.Condition()
        self._queue: deque[Line | Gap] = deque()
        self._size = 0  # of the queue, in bytes
        self._sizes: Counter[str] = Counter()  # the same for each machine
        self._line_count = 0  # of all that came
        self._steps: dict[str, Step] = {}
        self._paces: dict[str, Pace] = {}
        self._limits: dict[str, LineLimit] = {}  # only the thread uses them
        self._is_writing = False
        self._unwritten = Gap()  # what could not be written; only the thread uses it
        self._thread: threading.Thread | None = None
        self._on_end: Callable[[], object] | None = None  # once it is closed

    def start(self) -> None:
        """Start the thread, if it is not started: at the end of the process that is too late."""
        if self._thread is None:
            # A daemon: standard error may block for ever. A context of its own: in a notebook,
            # what it writes then belongs to the present cell, not to the one that opened us.
            run = contextvars.Context().run
            self._thread = threading.Thread(
                target=run, args=(self._run,), name="bigmachine stderr", daemon=True
            )
            self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether half of the queue is full: it is better to give it time."""
        return self._size > QUEUE_BYTES // 2

    def line(self, machine: str, line: bytes) -> None:
        """Write a line, without its newline, soon."""
        with self._changed:
            self._line_count += 1
            step = self._steps.pop(machine, None)
            if step is not None and step.is_shown and step.line == line.rstrip(b"\r"):
                return  # it is on the screen already: nothing but its newline has come
            is_small = self._sizes[machine] < _OWN_BYTES and self._size < 2 * QUEUE_BYTES
            if self._size >= QUEUE_BYTES and not is_small:
                if not isinstance(self._queue[-1], Gap):
                    self._queue.append(Gap(reason="stderr takes them too slowly"))
                gap = self._queue[-1]
                assert isinstance(gap, Gap)
                gap.lines[machine] += 1
                return
            is_record = line.startswith(self._begin_of_record)
            self._queue.append(Record(machine, line) if is_record else Line(machine, line))
            self._count(machine, len(line) + _ENTRY_BYTES)
            self._changed.notify()

    def step(self, machine: str, line: bytes) -> None:
        """Show how far an unfinished line is, if it stays unfinished; another step replaces it.

        Some steps are left out: a machine may print many in a second.
        """
        line = line.rstrip(b"\r")
        with self._changed:
            step = self._steps.get(machine)
            if step is None:
                self._steps[machine] = Step(line, time.monotonic())
            elif line != step.line:
                step.line, step.is_shown = line, False
            self._changed.notify()

    async def catch_up(self, within: float) -> None:
        """Wait, for so long at most, until all that was read from machines by now is written."""
        with trio.move_on_after(within):
            before = -1
            while before != self._line_count or self._queue or self._is_writing:
                before = self._line_count
                for _ in range(_ROUNDS):  # of the loop: it reads pipes in these, line by line
                    await trio.lowlevel.checkpoint()
                if self._queue or self._is_writing:
                    await trio.sleep(_GATHERING_SECONDS)

    async def close(self) -> None:
        """Write what is left, if standard error takes it in `FLUSH_SECONDS`; end the thread."""
        if self._thread is None:
            return
        token, has_ended = trio.lowlevel.current_trio_token(), trio.Event()
        with self._changed:
            self._on_end = functools.partial(token.run_sync_soon, has_ended.set)
            self._changed.notify()
        with trio.move_on_after(FLUSH_SECONDS, shield=True):
            await has_ended.wait()

    def _count(self, machine: str, size: int) -> None:
        self._size += size
        self._sizes[machine] += size

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # With the default action, a pipe that is closed would end the whole driver.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        while entries := self._take():
            self._write(entries)
            self._is_writing = False
            if not self._queue:
                time.sleep(_GATHERING_SECONDS)
        # If it works again by now, tell what was not written.
        self._print([*self._told(time.monotonic(), self._limits, at_end=True)])
        assert self._on_end is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._on_end()

    def _write(self, entries: Sequence[Line | Gap]) -> None:
        """Write entries, in order; records that the user's handlers take go there."""
        printed: list[Line | Gap] = []
        for entry in entries:
            if isinstance(entry, Record) and entry.has_handlers:
                self._print(printed)
                printed = []
                entry.handle()
            else:
                printed.append(entry)
        self._print(printed)

    def _print(self, entries: Sequence[Line | Gap]) -> None:
        stream: Any = sys.stderr  # Any: users put all kinds of objects there
        if stream is None:  # as in programs without a console: nobody wants it
            return
        if is_watched(stream):
            entries = [*self._limited(entries)]
        entries = [*([self._unwritten] if self._unwritten.lines else []), *entries]
        self._unwritten = Gap()
        try:
            colors = has_colors(stream)
            if text := "".join(entry.text(colors=colors) for entry in entries):
                with screen.cleared():
                    write_text(stream, text)
        except BaseException as exc:  # also `SystemExit`, from a `write` of the user's
            for entry in entries:
                self._unwritten.lines.update(entry.lines)
            self._unwritten.reason = type(exc).__name__
            with contextlib.suppress(Exception):
                self._unwritten.reason += f": {exc}"

    def _limited(self, entries: Iterable[Line | Gap]) -> Iterator[Line | Gap]:
        """Leave out lines of machines that print too many for a person to read."""
        now = time.monotonic()
        for entry in entries:
            if isinstance(entry, Line) and entry.is_whole:
                limit = self._limits.setdefault(entry.machine, LineLimit())
                yield from self._told(now, [entry.machine])
                if not limit.admits(now):
                    continue
            yield entry

    def _told(self, now: float, machines: Iterable[str], *, at_end: bool = False) -> Iterator[Gap]:
        """Yield how many lines of these machines were left out, if it is time to tell."""
        for machine in machines:
            limit = self._limits[machine]
            if limit.hidden and (at_end or not limit.seconds_until_told(now)):
                reason = f"more than {LINES_PER_SECOND} in a second"
                yield Gap(Counter({machine: limit.tell()}), reason)

    def _take(self) -> Sequence[Line | Gap]:
        """Wait for what is to be written next; return nothing when the thread is to end."""
        with self._changed:
            while True:
                if queued := self._take_queued():
                    return queued
                now = time.monotonic()
                steps, seconds = self._take_steps(now)
                due = [*self._told(now, self._limits)]
                if steps or due or self._on_end:
                    return [*due, *steps]
                hidden = (limit for limit in self._limits.values() if limit.hidden)
                seconds = min([seconds, *(limit.seconds_until_told(now) for limit in hidden)])
                self._changed.wait(None if seconds == math.inf else seconds)

    def _take_queued(self) -> Sequence[Line | Gap]:
        entries: list[Line | Gap] = []
        size = 0
        while self._queue and size < _TAKEN_BYTES:
            self._is_writing = True
            entry = self._queue.popleft()
            entries.append(entry)
            if isinstance(entry, Line):
                size += len(entry.line)
                self._count(entry.machine, -len(entry.line) - _ENTRY_BYTES)
        return entries

    def _take_steps(self, now: float) -> tuple[Sequence[Line], float]:
        """Return the unfinished lines to be shown now, and in how many seconds there are more."""
        taken: list[Line] = []
        seconds = math.inf
        for machine, step in self._steps.items():
            if step.is_shown or not step.line.strip():
                continue
            pace = self._paces.setdefault(machine, Pace())
            due = max(step.began + _STEP_SECONDS, pace.due(now, share=len(self._steps)))
            if due <= now or self._on_end:
                step.is_shown = True
                pace.spend(now)
                taken.append(Line(machine, step.line, is_whole=False))
            else:
                seconds = min(seconds, due - now)
        return taken, seconds
