"""Machines' output is written to standard error, whatever is done with that."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from bigmachine._values import LinePart
from bigmachine.errors import sanitize
from bigmachine.logs._kept import SessionLogs
from bigmachine.logs._record_lines import record_line
from bigmachine.machine._output import BootOutput, Output
from bigmachine.machine.output import _pace, _stderr
from bigmachine.machine.output._stderr import StderrWriter
from tests.support.waiting import until

Test = Callable[[StderrWriter], Any]

fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")


@contextlib.contextmanager
def opened() -> Iterator[StderrWriter]:
    """A writer that is started; afterwards it is closed, as at the end of a session."""
    writer = StderrWriter()
    writer.start()
    yield writer
    trio.run(writer.close)


def put(writer: StderrWriter, *lines: str, machine: str = "m0") -> None:
    for line in lines:
        writer.line(machine, line.encode())


class Stream(io.StringIO):
    """A stream whose `write` does as a test says; it notes what was written."""

    def __init__(self, write: Callable[[str], object] = lambda text: None) -> None:
        super().__init__()
        self._write = write

    def write(self, text: str) -> int:
        self._write(text)
        return super().write(text)


def raising(error: BaseException) -> Stream:
    def write(text: str) -> None:
        raise error

    return Stream(write)


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


BROKEN = {
    "closed": closed,
    "OSError": lambda: raising(BrokenPipeError(32, "Broken pipe")),
    "SystemExit": lambda: raising(SystemExit(3)),
    "KeyboardInterrupt": lambda: raising(KeyboardInterrupt()),
    "RecursionError": lambda: raising(RecursionError("maximum recursion depth exceeded")),
    "full disk": lambda: open("/dev/full", "w"),  # noqa: SIM115
    "no stream": object,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_lines_that_can_not_be_written_are_counted_until_stream_works(monkeypatch, kind):
    broken, works = BROKEN[kind](), Stream()
    with opened() as writer:
        monkeypatch.setattr(sys, "stderr", broken)
        put(writer, "one", "two")
        put(writer, "three", machine="m1")
        until(lambda: sum(writer._unwritten.lines.values()) == 3)
        monkeypatch.setattr(sys, "stderr", works)
        put(writer, "four")
    said_m0, said_m1, *rest = works.getvalue().splitlines()
    assert said_m0.startswith("… 2 lines of m0 were not shown: ")
    assert said_m1.startswith("… 1 line of m1 was not shown: ")
    assert rest == ["m0: four"]
    with contextlib.suppress(OSError, AttributeError):
        broken.close()


def test_stream_that_works_again_at_end_of_session_is_told_what_is_missing(monkeypatch):
    works = Stream()
    with opened() as writer:
        monkeypatch.setattr(sys, "stderr", closed())
        put(writer, "one")
        until(lambda: writer._unwritten.lines)
        monkeypatch.setattr(sys, "stderr", works)
    assert works.getvalue().startswith("… 1 line of m0 was not shown: ValueError: ")


def test_process_without_stderr_writes_nothing(monkeypatch):
    with opened() as writer:
        monkeypatch.setattr(sys, "stderr", None)
        put(writer, "one")
        until(lambda: not writer._queue and not writer._is_writing)
        monkeypatch.setattr(sys, "stderr", works := Stream())
        put(writer, "two")
    assert works.getvalue() == "m0: two\n"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", r"m0: \xe9\u6f22 \U0001f642"), ("cp1252", r"m0: é\u6f22 \U0001f642")],
)
def test_characters_that_encoding_lacks_are_escaped(monkeypatch, encoding, expected):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    with opened() as writer:
        put(writer, "é漢 🙂", "next")
    assert raw.getvalue().decode(encoding) == expected + "\nm0: next\n"


def test_write_that_causes_output_itself_is_no_deadlock(monkeypatch):
    with opened() as writer:

        def write(text: str) -> None:
            if "first" in text:
                put(writer, "from write")

        monkeypatch.setattr(sys, "stderr", stream := Stream(write))
        put(writer, "first")
        until(lambda: "from write" in stream.getvalue())
    assert stream.getvalue() == "m0: first\nm0: from write\n"


@contextlib.contextmanager
def stderr_pipe() -> Iterator[int]:
    """Standard error is a pipe, of which this is the end to read from."""
    reading, writing = os.pipe()
    with open(writing, "w") as stream, contextlib.redirect_stderr(stream):
        yield reading
    os.close(reading)


def read_until_count(descriptor: int, lines: int) -> list[str]:
    data = b""
    while data.count(b"\n") < lines:
        data += os.read(descriptor, 512)  # so that the pipe stays nearly full
    return data.decode().splitlines()


def read_until(descriptor: int, end: bytes) -> list[str]:
    data = b""
    while not data.endswith(end):
        data += os.read(descriptor, 1 << 16)
    return data.decode().splitlines()


def test_pipe_that_nobody_reads_gets_first_lines_and_number_of_missing_ones(monkeypatch):
    monkeypatch.setattr(_stderr, "QUEUE_BYTES", 1 << 18)
    count, lines = 2_000, []
    with stderr_pipe() as pipe, opened() as writer:
        for i in range(count):
            if i == 600:  # more than the pipe takes, and less than the queue
                until(lambda: select.select([], [sys.stderr], [], 0) == ([], [], []))
            put(writer, f"{i:06}" + "." * 200, machine=f"m{i % 2}")
        put(writer, "is small", machine="m7")
        assert writer._size < (1 << 18) + 1_000
        reader = threading.Thread(target=lambda: lines.extend(read_until(pipe, b"m0: last\n")))
        reader.start()
        until(lambda: not writer.is_busy)
        put(writer, "last")
        reader.join()
    *shown, said, also_said, m7, last = lines
    assert shown == [f"m{i % 2}: {i:06}" + "." * 200 for i in range(len(shown))]
    missing = [sum(i % 2 == m for i in range(len(shown), count)) for m in (0, 1)]
    reason = "not shown: stderr takes them too slowly"
    assert {said, also_said} == {  # the machine first whose line was the first one missing
        f"… {missing[0]:,} lines of m0 were {reason}",
        f"… {missing[1]:,} lines of m1 were {reason}",
    }
    assert (m7, last) == ("m7: is small", "m0: last")


def test_lines_stay_whole_if_others_write_to_same_pipe():
    def write_as_well() -> None:
        for i in range(500):
            os.write(sys.stderr.fileno(), b"other %03d\n" % i)

    with stderr_pipe() as pipe, opened() as writer:
        put(writer, *[f"{i:03}" + "." * (i * 7 % 900) for i in range(500)])
        until(lambda: select.select([], [sys.stderr], [], 0) == ([], [], []))  # the pipe is full
        other = threading.Thread(target=write_as_well)
        other.start()
        lines = read_until_count(pipe, 1_000)
        other.join()
    ours = [line for line in lines if line.startswith("m0: ")]
    assert ours == [f"m0: {i:03}" + "." * (i * 7 % 900) for i in range(500)]
    assert [line for line in lines if line not in ours] == [f"other {i:03}" for i in range(500)]


def test_end_of_session_does_not_wait_for_ever_for_pipe_that_nobody_reads(monkeypatch):
    monkeypatch.setattr(_stderr, "FLUSH_SECONDS", 0.05)
    with stderr_pipe() as pipe:
        with opened() as writer:
            put(writer, *["x" * 1000] * 200, "end")
        assert is_alive(writer)
        read_until(pipe, b"m0: end\n")
        until(lambda: not is_alive(writer))


def is_alive(writer: StderrWriter) -> bool:
    assert writer._thread is not None
    return writer._thread.is_alive()


def test_end_of_session_writes_all_that_waits(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := Stream())
    with opened() as writer:
        put(writer, *map(str, range(10_000)))
    assert stream.getvalue() == "".join(f"m0: {i}\n" for i in range(10_000))


def test_stopped_terminal_gets_all_lines_when_it_goes_on(monkeypatch):
    main, terminal = os.openpty()
    with open(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with opened() as writer:
            termios.tcflow(terminal, termios.TCOOFF)  # as Ctrl-S does
            put(writer, "one", "two")
            until(lambda: not writer._queue)
            flags = fcntl.fcntl(main, fcntl.F_GETFL)
            fcntl.fcntl(main, fcntl.F_SETFL, flags | os.O_NONBLOCK)
            with pytest.raises(BlockingIOError):
                os.read(main, 100)
            fcntl.fcntl(main, fcntl.F_SETFL, flags)
            termios.tcflow(terminal, termios.TCOON)
            lines = read_until(main, b"two\r\n")
            assert [sanitize(line) for line in lines] == ["m0: one", "m0: two"]
    os.close(main)


class Terminal(Stream):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "expected"),
    [
        (Terminal, {}, "\x1b[36mm0\x1b[0m: \x1b[31mred\x1b[0m\n"),
        (Terminal, {"NO_COLOR": "1"}, "m0: red\n"),
        (Terminal, {"TERM": "dumb"}, "m0: red\n"),
        (Stream, {}, "m0: red\n"),
    ],
)
def test_colors_pass_to_terminal_only(monkeypatch, stream, environ, expected):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", written := stream())
    with opened() as writer:
        put(writer, "\x1b]0;title\x07\x1b[31mred")
    assert written.getvalue() == expected


def test_each_machine_has_a_color_of_its_own(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", written := Terminal())
    with opened() as writer:
        for i in range(20):
            put(writer, f"{i}", machine=f"m{i % 10}")
    names = [line.partition(":")[0] for line in written.getvalue().splitlines()]
    assert names[:10] == names[10:]
    assert len(set(names)) == len({name.split("m")[0] for name in names}) == 10


def test_terminal_is_not_flooded_and_tells_what_is_left_out(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", written := Terminal())
    with opened() as writer:
        put(writer, *map(str, range(10_000)))
        put(writer, "all of another machine", machine="m1")
        until(lambda: "not shown" in written.getvalue())  # also if nothing more comes
        put(writer, "on it goes")
    lines = written.getvalue().splitlines()
    assert lines[:2000] == [f"m0: {i}" for i in range(2000)]
    assert "m1: all of another machine" in lines
    assert lines[-1] == "m0: on it goes"
    counts = [int(line.split()[1].replace(",", "")) for line in lines if line.startswith("…")]
    shown = [line for line in lines if line.startswith("m0: ")]
    assert sum(counts) + len(shown) == 10_001
    assert any(line.endswith("of m0 were not shown: more than 200 in a second") for line in lines)


def test_record_that_the_users_factory_refuses_stops_nothing(monkeypatch):
    logs = SessionLogs()
    record = logging.makeLogRecord({"name": "test", "levelno": 30, "msg": "a"})
    line = record_line(record, logs.mark)
    seen: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    monkeypatch.setattr(logging.getLogger("test"), "handlers", [Handler()])
    monkeypatch.setattr(sys, "stderr", written := Stream())
    factory = logging.getLogRecordFactory()
    monkeypatch.setattr(logging, "_logRecordFactory", lambda *args: args[99])
    writer = StderrWriter(logs.mark)
    writer.start()
    writer.line("m0", line)
    until(lambda: "IndexError" in written.getvalue())
    monkeypatch.setattr(logging, "_logRecordFactory", factory)
    writer.line("m0", line)
    trio.run(writer.close)
    assert seen == ["m0: a"]


# -- unfinished lines ---------------------------------------------------------------------------


@contextlib.contextmanager
def written_by_writer() -> Iterator[tuple[Stream, StderrWriter]]:
    with contextlib.redirect_stderr(Stream()) as stream, opened() as writer:
        yield stream, writer


def output_of(writer: StderrWriter, machine: str = "m0") -> Output:
    log = SessionLogs().new(machine)
    output = Output(machine, boot_output=BootOutput(), stderr=writer, log=log)
    output.is_booting = False
    return output


def test_progress_bar_is_shown_step_by_step():
    with written_by_writer() as (written, writer):
        output = output_of(writer)
        for percent in range(0, 101, 25):
            step = f"{percent:4}%"
            output.lines([LinePart(f"\r{step}".encode())])
            until(lambda step=step: step in written.getvalue())
        output.lines([b""])
        output.lines([b"next"])
    assert written.getvalue().splitlines() == [
        *(f"m0: {percent:4}%" for percent in range(0, 101, 25)),
        "m0: next",
    ]


def test_of_endless_progress_few_steps_are_shown_and_last_one(monkeypatch):
    monkeypatch.setattr(_pace, "_SECONDS_BETWEEN_STEPS", 0.01)
    with written_by_writer() as (written, writer):
        outputs = [output_of(writer, f"m{i}") for i in range(3)]
        for i in range(100):
            for output in outputs:
                output.lines([LinePart(b"\r%d" % i)])
            threading.Event().wait(0.01)
        for output in outputs:
            output.lines([b"\rdone"])
        assert all(not output._unfinished for output in outputs)
    lines = written.getvalue().splitlines()
    for i in range(3):
        own = [line.removeprefix(f"m{i}: ") for line in lines if line.startswith(f"m{i}: ")]
        assert own[-1] == "done"
        assert len(own) < 30
        steps = [int(step) for step in own[:-1]]
        assert steps == sorted(set(steps))


def test_several_bars_of_one_machine_are_redrawn_like_one():
    with written_by_writer() as (written, writer):
        output = output_of(writer)
        for epoch in range(3):
            for step in range(50):
                # As tqdm does: it moves down to the inner bar, and back up.
                output.lines([b"", LinePart(b"\r  inner %d\x1b[A" % step)][epoch == step == 0 :])
            output.lines([LinePart(b"\repoch %d" % epoch)])
        output.lines([b"", b"done"])
    lines = written.getvalue().splitlines()
    assert lines[-1] == "m0: done"
    assert "m0:   inner 49" in lines
    assert "m0: epoch 2" in lines
    assert len(lines) < 40


def test_prompt_without_newline_is_shown_and_then_its_whole_line():
    with written_by_writer() as (written, writer):
        output = output_of(writer)
        output.lines([LinePart("proceed? € ".encode()[:-2])])  # in the middle of a character
        until(lambda: "proceed? \n" in written.getvalue())
        output.lines(["€ yes".encode()[2:]])
    assert written.getvalue() == "m0: proceed? \nm0: proceed? € yes\n"


def test_incomplete_escape_sequence_is_not_shown():
    with written_by_writer() as (written, writer):
        output = output_of(writer)
        output.lines([LinePart(b"50% \x1b[3")])
        until(lambda: written.getvalue() == "m0: 50% \n")
        output.lines([LinePart(b"1mred\x1b]0;ti")])
        until(lambda: written.getvalue() == "m0: 50% \nm0: 50% red\n")
        output.finish()


def test_unfinished_line_of_ended_machine_is_written_once():
    with written_by_writer() as (written, writer):
        output = output_of(writer)
        output.lines([LinePart(b"last "), LinePart(b"words")])
        output.finish()
        output.finish()
    assert written.getvalue() == "m0: last words\n"


def test_long_line_is_shown_in_parts_between_characters():
    text = "漢" * 100_000  # three bytes each
    with written_by_writer() as (written, writer):
        output = output_of(writer)
        output.lines([LinePart(text.encode()[:1_000]), text.encode()[1_000:]])
    lines = written.getvalue().splitlines()
    assert len(lines) == 5
    assert all(line.startswith("m0: ") for line in lines)
    assert all(line.endswith("…") for line in lines[:-1])
    assert "".join(line.removeprefix("m0: ").rstrip("…") for line in lines) == text


def test_line_that_is_redrawn_for_ever_takes_bounded_memory():
    with written_by_writer() as (written, writer):
        output = output_of(writer)
        for i in range(5_000):
            output.lines([LinePart(b"\r%1000d" % i)])
        assert len(output._unfinished) < 2_000
        output.finish()
    assert written.getvalue().splitlines()[-1].endswith(" 4999")


def test_slow_stderr_slows_machine_only_for_a_moment(monkeypatch):
    monkeypatch.setattr(_stderr, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(_stderr, "QUEUE_BYTES", 1 << 17)

    async def take_all(output: Output) -> float:
        began = trio.current_time()
        for _ in range(2_000):
            output.lines([b"x" * 100])
            await output.catch_up()
        return trio.current_time() - began

    with stderr_pipe() as pipe:
        with opened() as writer:
            seconds = trio.run(
                take_all, output_of(writer), clock=trio.testing.MockClock(autojump_threshold=0)
            )
            assert 0.5 < seconds < 5
            writer.line("m0", b"end")
        os.set_blocking(pipe, False)
        while is_alive(writer):
            with contextlib.suppress(BlockingIOError):
                os.read(pipe, 1 << 16)


def test_catching_up_waits_for_lines_that_are_still_read():
    async def read(writer: StderrWriter) -> None:
        for number in range(200):  # as from a pipe, not all in one round of the loop
            for _ in range(4):
                await trio.lowlevel.checkpoint()
            put(writer, f"line {number}")

    async def main(writer: StderrWriter) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, writer)
            await writer.catch_up(within=60)
            assert "line 199\n" in stderr.getvalue()

    with contextlib.redirect_stderr(io.StringIO()) as stderr, opened() as writer:
        trio.run(main, writer)
