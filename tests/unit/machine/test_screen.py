"""The lines below the cursor disturb nothing else on the terminal, and leave nothing behind."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

import pytest
import trio

pytest.importorskip("termios")

import termios

from bigmachine.machine.output import _screen
from bigmachine.machine.output._screen import screen
from bigmachine.machine.output._stderr import StderrWriter
from bigmachine.session._log_thread import off_the_loop
from tests.support.terminals import Terminal, terminal_as_stderr

TABLE = ["starting", "  booting 5", "  running 1"]


@contextlib.contextmanager
def small_terminal() -> Iterator[Terminal]:
    # Not as a fixture: pytest sets its own standard error again before each test.
    with terminal_as_stderr(rows=8, columns=40) as terminal:
        yield terminal
        screen.clear()


def show(*lines: str) -> None:
    now = _screen.terminal()
    assert now is not None
    screen.show(now, lines or TABLE)


def test_lines_are_below_what_is_printed_and_leave_nothing_behind():
    with small_terminal() as terminal:
        for i in range(20):  # past the last row of the terminal
            show()
            assert terminal.text.split("\n")[-3:] == TABLE
            terminal.stream.write(f"line {i}\n")
        show("fewer")
        assert terminal.text.split("\n")[-3:] == ["line 19", "", "fewer"]
        screen.clear()
        assert terminal.text.split("\n") == [f"line {i}" for i in range(20)]


def test_unfinished_line_goes_on_where_it_was():
    with small_terminal() as terminal:
        terminal.stream.write("\x1b[31mContinue? ")
        terminal.stream.flush()
        show()
        assert terminal.text.split("\n") == ["Continue?", *TABLE]
        assert terminal.color_of("starting") == "default"
        terminal.stream.write("yes\n")
        terminal.stream.write("and more\n")
        assert terminal.color_of("and more") == "red"
        show()
        screen.clear()
        assert terminal.text == "Continue? yes\nand more"


def test_machines_lines_and_log_records_do_not_mix_with_them():
    with small_terminal() as terminal:
        logger = logging.getLogger("bigmachine.session")
        handler = logging.StreamHandler(sys.stderr)
        lines = [f"{i}" for i in range(5)]

        async def main() -> None:
            with off_the_loop():
                writer = StderrWriter()
                writer.start()
                show(*["x" * 39] * 3)
                for line in lines:
                    writer.line("m0", line.encode())
                await writer.close()
                logger.warning("%s", "\n".join(lines))

        logger.addHandler(handler)
        try:
            trio.run(main)
        finally:
            logger.removeHandler(handler)
        assert terminal.text.split("\n")[-3:] == ["x" * 39] * 3
        screen.clear()
        assert terminal.text.split("\n") == [*(f"m0: {line}" for line in lines), *lines]


def test_stopped_terminal_holds_nobody_up():
    with small_terminal() as terminal:
        show()
        termios.tcflow(terminal.stream, termios.TCOOFF)  # as Ctrl-S does
        try:
            show("not drawn")
            with screen.cleared():
                pass
            screen.clear()
        finally:
            termios.tcflow(terminal.stream, termios.TCOON)
        show()
        assert terminal.text.split("\n")[-3:] == TABLE


def test_others_may_write_for_long_and_lines_come_back_after_them():
    with small_terminal() as terminal:
        show()
        with screen.cleared():
            drawing = threading.Thread(target=show, args=["later"])
            drawing.start()
            drawing.join()  # it does not wait
            assert terminal.text == ""
            terminal.stream.write("first\nsecond\n")
            assert terminal.text == "first\nsecond"
        assert terminal.text == "first\nsecond\n\nlater"


def test_terminal_with_few_rows_shows_first_lines():
    with small_terminal() as terminal:
        show(*(f"row {i}" for i in range(30)))
        assert terminal.text.split("\n") == ["", *(f"row {i}" for i in range(6))]


def test_only_terminal_itself_is_drawn_on(monkeypatch, tmp_path):
    with small_terminal() as terminal:
        assert _screen.terminal() is not None
        monkeypatch.setenv("TERM", "dumb")
        assert _screen.terminal() is None
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("CI", "true")
        assert _screen.terminal() is None
        monkeypatch.delenv("CI")
        assert _screen.terminal() is not None

        class Proxy:
            """What another live display puts in the place of standard error."""

            def __getattr__(self, name):
                return getattr(terminal.stream, name)

        with open(tmp_path / "file", "w") as file:
            for stream in (Proxy(), file, None, object()):
                monkeypatch.setattr(sys, "stderr", stream)
                assert _screen.terminal() is None
        monkeypatch.setattr(sys, "stderr", file)  # closed by now
        assert _screen.terminal() is None
