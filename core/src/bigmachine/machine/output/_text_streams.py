"""Writing to a stream like `sys.stderr`, for which the user may have put any object."""

from __future__ import annotations

import contextlib
import io
import os
import select
from collections.abc import Iterator
from typing import Any

_PART_CHARACTERS = 1024  # at most 4096 bytes: a pipe that can be written to has room for them


def write_text(stream: Any, text: str) -> None:
    """Write to a stream, and wait as long as that takes; characters it can't encode are escaped."""
    number = _descriptor(stream)
    for part in [text] if number is None else _parts(text):
        if number == 2:
            # Past Python's buffer, whose lock would be held meanwhile: others need it, to print
            # or to end the process. The buffer only ever holds the beginning of a line.
            write_to_descriptor(number, part.encode(stream.encoding, "backslashreplace"))
            continue
        wait_for(stream)
        try:
            stream.write(part)
        except UnicodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(part.encode(encoding, "backslashreplace").decode(encoding))
        if hasattr(stream, "flush"):
            stream.flush()


def write_to_descriptor(number: int, data: bytes) -> None:
    """Write all of ``data``, and wait as long as that takes."""
    while data:
        try:
            data = data[os.write(number, data) :]
        except BlockingIOError:  # another process has made the terminal non-blocking
            _wait_until_writable(number)


def wait_for(stream: Any) -> None:
    """Wait until a stream that is nothing but a file can be written to."""
    if (number := _descriptor(stream)) is not None:
        _wait_until_writable(number)


def is_writable(number: int) -> bool:
    """Whether a file can be written to now: not a terminal that is stopped."""
    return not hasattr(select, "poll") or bool(_poll(number, 0))


def has_colors(stream: Any) -> bool:
    """Whether a stream is a terminal that shows colors, and its user wants them."""
    return not os.environ.get("NO_COLOR") and is_terminal(stream)


def is_watched(stream: Any) -> bool:
    """Whether a person reads what is written: a stream is a terminal, or the cell of a notebook."""
    try:
        return bool(stream.isatty()) or type(stream).__module__.startswith("ipykernel.")
    except Exception:
        return False


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal that follows escape sequences."""
    if os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return bool(stream.isatty())
    except Exception:
        return False


def _parts(text: str) -> Iterator[str]:
    """Yield parts that a pipe takes at once, also if others write to it: lines, if possible."""
    while text:
        end = text.rfind("\n", 0, _PART_CHARACTERS) + 1 or _PART_CHARACTERS
        yield text[:end]
        text = text[end:]


def _descriptor(stream: Any) -> int | None:
    if type(stream) is io.TextIOWrapper and hasattr(select, "poll"):
        with contextlib.suppress(OSError, ValueError):  # no file; or closed
            return stream.fileno()
    return None


def _wait_until_writable(number: int) -> None:
    _poll(number, None)


def _poll(number: int, milliseconds: int | None) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return poll.poll(milliseconds)
