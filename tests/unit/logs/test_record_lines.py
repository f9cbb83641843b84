"""A record of `logging` becomes a line of a machine's output, and a record again."""

from __future__ import annotations

import logging
import sys
import traceback

import pytest

from bigmachine.logs._record_lines import LINE_BYTES, RecordLine, begin_of_record, record_line

MARK = "0123456789abcdef"


def record(message: str = "half %s", *args: object, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "work", "levelno": 20, "levelname": "INFO", **fields})
    made.msg, made.args = message, args
    return made


def arrived(sent: logging.LogRecord, machine: str = "m0") -> RecordLine:
    line = record_line(sent, MARK)
    assert b"\n" not in line
    assert line.startswith(begin_of_record(MARK))
    parsed = RecordLine.parse(line, machine)
    assert parsed is not None
    return parsed


def test_record_arrives_with_its_fields_and_name_of_machine():
    sent = record("half %s", "done", job=7, tags=["a", None], odd=object(), pathname="/x/pi.py")
    sent.lineno, sent.funcName, sent.process, sent.threadName = 12, "sample", 4711, "worker-1"
    sent.created = 1_700_000_000.25
    got = arrived(sent).to_record()
    assert got.getMessage() == "m0: half done"
    assert got.__dict__["machine"] == "m0"
    assert (got.name, got.levelno, got.levelname) == ("work", logging.INFO, "INFO")
    assert (got.created, got.msecs) == (sent.created, 250)
    assert (got.pathname, got.filename, got.module) == ("/x/pi.py", "pi.py", "pi")
    assert (got.lineno, got.funcName, got.process) == (12, "sample", 4711)
    assert got.threadName == "worker-1"
    assert (got.__dict__["job"], got.__dict__["tags"]) == (7, ["a", None])
    assert not hasattr(got, "odd")  # it can't travel
    assert logging.Formatter("%(asctime)s %(module)s").format(got)


def test_traceback_and_stack_arrive_as_text():
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        sent = record("failed\nbadly", exc_info=(ValueError, error, error.__traceback__))
    sent.stack_info = "Stack (most recent call last):\n  here"
    line = arrived(sent)
    assert line.message == "failed\nbadly"
    assert line.exc_text.startswith("Traceback (most")
    assert line.exc_text.endswith("ValueError: two\nlines")
    assert line.stack_info == sent.stack_info
    shown = logging.Formatter("%(message)s").format(line.to_record())
    assert shown == f"m0: failed\nbadly\n{line.exc_text}\n{line.stack_info}"


def test_handlers_that_look_at_the_exception_find_its_traceback():
    sent = record("failed", exc_text="Traceback (most recent call last):\nValueError: two\nlines")
    exc_info = arrived(sent).to_record().exc_info
    assert exc_info
    shown = "".join(traceback.format_exception(*exc_info))  # as loguru and structlog do
    assert "logged on m0" in shown
    assert "  ValueError: two\n  lines" in shown
    assert arrived(record("failed")).to_record().exc_info is None


def test_record_of_old_python_has_no_task_name():
    # Formats of JSON would show it as null.
    assert ("taskName" in vars(arrived(record()).to_record())) == (
        "taskName" in vars(logging.makeLogRecord({}))
    )


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("100 % of %s", "100 % of %s"),
        ("", ""),
        ("a\r\nb\n", "a\nb\n"),
        ("\x1b]0;title\x07\x1b[31mred\x1b[m", "red"),
        ("\x1b\\ \x1b_\x1bEends", "\x20\nends"),
        ("\udc80 → 🙂\x00", "\\udc80 → 🙂\\x00"),
    ],
)
def test_any_message_arrives_harmless(message, shown):
    line = arrived(record(message))
    assert line.message == shown
    assert line.to_record().getMessage().startswith("m0: ")


def test_extra_fields_do_not_hide_those_of_the_record():
    sent = record("m")
    sent.machine = "forged"
    sent.text = "\x1b]0;title\x07evil"
    got = arrived(sent).to_record()
    assert got.__dict__["machine"] == "m0"
    assert got.__dict__["text"] == "evil"


@pytest.mark.parametrize("character", ["é", "🙂", "\udc80", "\n"])
def test_line_of_any_record_is_bounded(character):
    huge = character * 300_000
    texts = {"exc_text": huge, "stack_info": huge, "job": huge}
    names = dict.fromkeys(["name", "pathname", "funcName", "threadName", "processName"], huge)
    line = record_line(record(huge, **texts, **names), MARK)
    assert len(line) < LINE_BYTES
    parsed = RecordLine.parse(line, "m0")
    assert parsed is not None
    assert parsed.message.endswith("characters more)")


class Hostile(dict[str, int]):
    def items(self):
        raise RuntimeError("not for you")

    def __str__(self):
        raise RuntimeError("not for you either")


@pytest.mark.parametrize(
    "value", [Hostile(a=1), 10**6000, "x" * 100_000], ids=["hostile", "number", "long"]
)
def test_record_with_an_extra_that_can_not_travel_arrives_without_it(value):
    sent = record("m", before=1, odd=value, processName=value)
    vars(sent).update({("no", "name"): 1, "after": 2})
    got = arrived(sent).to_record()
    assert (got.getMessage(), got.__dict__["before"], got.__dict__["after"]) == ("m0: m", 1, 2)


def test_record_with_an_extra_of_any_depth_arrives():
    value: list[object] = []
    for _ in range(sys.getrecursionlimit()):
        value = [value]
        assert arrived(record("m", odd=value)).message == "m"


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b'{"lengths": 3}',
        b"{}\x1b\\text",
        b"[]\x1b\\text",
        b'{"lengths": [0, 0, 0], "levelno": 20, "created": NaN}\x1b\\',
        b'{"lengths": [0, 0, 0], "levelno": 20, "created": 0, "extra": 1}\x1b\\',
        b'{"lengths": [0, 0, 0], "levelno": 20, "created": ' + b"[" * 100_000,
    ],
)
def test_damaged_line_is_no_record(damage):
    assert RecordLine.parse(begin_of_record(MARK) + damage, "m0") is None
