r"""A record of `logging` as one line of a machine's output, and back.

Records are part of the output, so they keep their place between what is printed, and the last
one before a SIGKILL arrives. Such a line is ::

    \x1b_bigmachine MARK {"name": "work", "levelno": 20, …}\x1b\\half done

Its beginning is an application program command, which terminals ignore (ECMA-48), so a person who
looks at the output itself reads the text alone. A newline in the text is sent as NEL, ``\x1bE``,
at which a terminal begins a new line, too. MARK is a secret of the session: what a service prints
for others can't pass for a record.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._values import LogLine
from ..errors import RemoteError, sanitize, sanitize_line

LINE_BYTES = 640 << 10
"""No line of a record is longer, whatever its characters are."""

_TEXT_CHARACTERS = 32 << 10  # of a message, of a traceback, and of a stack
_FIELD_CHARACTERS = 1 << 10  # of the name of a logger, a function, …
_EXTRA_CHARACTERS = 16 << 10  # of all that ``extra=`` adds, as JSON
_NEWLINE = "\x1bE"
_END = b"\x1b\\"
_formatter = logging.Formatter()

# What a record has anyway; all else is from its ``extra=``.
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
# What is sent of it. Its process and thread are the machine's.
_SENT = (
    *("name", "levelno", "levelname", "pathname", "lineno", "funcName", "created"),
    *("process", "processName", "thread", "threadName", "taskName"),
)


def begin_of_record(mark: str) -> bytes:
    """Return what the line of a record begins with, in a session with this mark."""
    return f"\x1b_bigmachine {mark} ".encode("ascii")


def record_line(record: logging.LogRecord, mark: str) -> bytes:
    """Return a record as a line, without its newline."""
    exc_text = record.exc_text or ""
    if record.exc_info and not exc_text:
        exc_text = _formatter.formatException(record.exc_info)
    texts = [_limited(text) for text in (record.getMessage(), exc_text, record.stack_info or "")]
    fields = {name: _plain(getattr(record, name, None)) for name in _SENT}
    fields["lengths"] = [len(text) for text in texts]
    if extra := _extra(record):
        fields["extra"] = extra
    head = begin_of_record(mark) + json.dumps(fields, separators=(",", ":")).encode("ascii")
    text = "\n".join(filter(None, texts)).replace("\n", _NEWLINE)
    return head + _END + text.encode()


@dataclass(frozen=True, slots=True)
class RecordLine:
    """What the line of a record says: harmless, whatever it is."""

    machine: str
    fields: Mapping[str, Any]  # Any: what JSON holds
    message: str
    exc_text: str
    stack_info: str

    @classmethod
    def parse(cls, line: bytes, machine: str) -> RecordLine | None:
        """Read what `record_line` has made; None if it is damaged."""
        head, end, rest = line.partition(_END)
        try:
            fields = json.loads(head[head.index(b"{") :])
            lengths = [int(length) for length in fields["lengths"]]
            is_valid = isinstance(fields.get("extra", {}), dict) and int(fields["levelno"]) >= 0
            is_valid = is_valid and math.isfinite(float(fields["created"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        text = rest.decode(errors="backslashreplace").replace(_NEWLINE, "\n")
        texts = []
        for length in lengths:
            texts.append(sanitize(text[:length]))
            text = text[length + 1 if length else 0 :]
        return cls(machine, fields, *texts) if end and is_valid and len(texts) == 3 else None

    @property
    def level(self) -> int:
        """Its level, as in `logging`."""
        return int(self.fields["levelno"])

    @property
    def logger(self) -> str:
        """The name of its logger."""
        return sanitize_line(self.fields.get("name") or "root")

    @property
    def text(self) -> str:
        """All of its text: the message, the traceback, the stack."""
        return "\n".join(filter(None, [self.message, self.exc_text, self.stack_info]))

    def to_log_line(self) -> LogLine:
        """Return it as it is shown to those who read a machine's log."""
        return LogLine(
            time=float(self.fields["created"]),
            machine=self.machine,
            text=self.text,
            level=self.level,
            logger=self.logger,
        )

    def to_record(self) -> logging.LogRecord:
        """Return a record for the driver's own `logging`, whose message names the machine."""
        fields = dict(self._fields())
        created = float(fields.pop("created"))
        record = logging.makeLogRecord(fields)
        record.created, record.msecs = created, int(created % 1 * 1000)
        record.relativeCreated += (created - time.time()) * 1000
        record.msg = f"{self.machine}: {self.message}"
        if self.exc_text:
            # Formatters print the text; loguru, structlog and Sentry look at the exception.
            error = RemoteError(f"logged on {self.machine}", traceback=self.exc_text)
            record.exc_info = (RemoteError, error, None)
            record.exc_text = self.exc_text
        record.stack_info = self.stack_info or None
        return record

    def _fields(self) -> Iterator[tuple[str, Any]]:
        for name, value in self.fields.get("extra", {}).items():
            if name not in _STANDARD:  # it must not hide what a record has itself
                yield name, sanitize(value) if isinstance(value, str) else value
        for name in _SENT:
            value = self.fields.get(name)
            if name == "taskName" and value is None:  # Python 3.11 has no such field
                continue
            yield name, sanitize_line(value) if isinstance(value, str) else value
        path = str(self.fields.get("pathname", ""))
        yield "filename", sanitize_line(path.replace("\\", "/").rpartition("/")[2])
        yield "module", sanitize_line(path.replace("\\", "/").rpartition("/")[2].partition(".")[0])
        yield "machine", self.machine


def _limited(text: str) -> str:
    more = max(0, len(text) - _TEXT_CHARACTERS)
    text = text[:_TEXT_CHARACTERS].encode(errors="backslashreplace").decode()  # as it will arrive
    more += max(0, len(text) - _TEXT_CHARACTERS)
    if more:
        text = f"{text[:_TEXT_CHARACTERS]}… ({more:,} characters more)"
    return text.replace("\r\n", "\n").replace(_NEWLINE, "\n")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    """Return what ``extra=`` has added: of that, what JSON can hold and there is room for."""
    extra, room = {}, _EXTRA_CHARACTERS
    for name, value in vars(record).items():
        if name not in _STANDARD and isinstance(name, str):
            characters = _json_characters([[name, value]])  # as deep as it will be
            if characters is not None and characters <= room:
                extra[name] = value
                room -= characters
    return extra


def _plain(value: object) -> object:
    is_number = type(value) is float or (type(value) is int and value.bit_length() < 1000)
    if value is None or is_number:
        return value
    try:
        return str(value)[:_FIELD_CHARACTERS]
    except Exception:
        return None


def _json_characters(value: object) -> int | None:
    """Return how long a value is as JSON; None if it can't be."""
    try:
        return len(json.dumps(value))
    except Exception:  # whatever a class of the user's raises; a number of 5,000 digits; a cycle
        return None
