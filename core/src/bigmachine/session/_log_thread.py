"""bigmachine's own log records: harmless, and handled beside the loop that they come from.

A handler may block: by default it writes to standard error, which may be a terminal that is
stopped. Then the loop, and with it every call and keepalive, must go on. And a record may quote
a machine or a provider.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterable, Iterator

import trio

from ..errors import sanitize
from ..machine.output._handle_record import handle_record

_LOGGERS = ("boot", "environment", "machine", "plugins", "rpc", "session")
_WAIT_SECONDS = 0.25  # for a record to be handled: usually that takes no time at all
_FLUSH_SECONDS = 1.0  # for all records, at the end of a session
_MAX_RECORDS = 10_000  # that wait; further ones are dropped, and their number is logged

_sessions: trio.lowlevel.RunVar[int] = trio.lowlevel.RunVar("bigmachine sessions", 0)


@contextlib.contextmanager
def off_the_loop(loggers: Iterable[str] = ()) -> Iterator[None]:
    """Have log records of this trio run handled in a thread, while the block runs.

    They are those of bigmachine's own loggers and of further ``loggers``. The loop waits for each
    record to be handled, so the log is in order; but it waits for a moment only, and not while
    an earlier record blocks.
    """
    for name in (*(f"bigmachine.{name}" for name in _LOGGERS), *loggers):
        logging.getLogger(name).addFilter(_filter)  # no effect if it is there already
    _sessions.set(_sessions.get() + 1)
    try:
        yield
    finally:
        _sessions.set(_sessions.get() - 1)
        if _thread is not None and _thread.is_alive:
            _thread.flush()


class _LogThread:
    """The thread, one in the process, and what it has to handle."""

    def __init__(self) -> None:
        self._records: queue.SimpleQueue[tuple[logging.LogRecord | None, threading.Event]]
        self._records = queue.SimpleQueue()
        self._is_blocked = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="bigmachine log", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it runs: not in a forked child."""
        return self._thread.is_alive()

    def handle(self, record: logging.LogRecord) -> None:
        """Have a record handled, soon."""
        if self._records.qsize() < _MAX_RECORDS:
            self._put(record, within=_WAIT_SECONDS)
        else:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until all records are handled, unless one blocks."""
        self._put(None, within=_FLUSH_SECONDS)

    def _put(self, record: logging.LogRecord | None, *, within: float) -> None:
        is_handled = threading.Event()
        self._records.put((record, is_handled))
        if not self._is_blocked:
            self._is_blocked = not is_handled.wait(within)

    def _run(self) -> None:
        while True:
            record, is_handled = self._records.get()
            if record is not None:
                handle_record(record)
            if self._records.empty():
                self._is_blocked = False
                self._say_what_was_dropped()
            is_handled.set()

    def _say_what_was_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            logging.getLogger("bigmachine.session").warning(
                "%d log records were dropped: their handlers take them too slowly", dropped
            )


class _Filter(logging.Filter):
    """Of our loggers: gives the records of a loop with a session in it to the thread."""

    def filter(self, record: logging.LogRecord) -> bool:
        global _thread
        _sanitize(record)
        try:
            if not _sessions.get():
                return True
            if _thread is None or not _thread.is_alive:
                _thread = _LogThread()
        except RuntimeError:  # no trio loop runs in this thread; or the process is ending
            return True
        _thread.handle(record)
        return False


_filter = _Filter()
_thread: _LogThread | None = None


def _sanitize(record: logging.LogRecord) -> None:
    message = record.getMessage()
    if (clean := sanitize(message)) != message:
        record.msg, record.args = clean, None
    if record.exc_info and not record.exc_text:
        try:
            text = logging.Formatter().formatException(record.exc_info)
        except Exception:  # one of a user's class, of which `traceback` asks whether it is true
            record.exc_info, record.exc_text = None, "(its traceback can't be shown)"
            return
        if (clean := sanitize(text)) != text:
            record.exc_info, record.exc_text = None, clean  # handlers print either
