"""How a machine logs: as its driver does, until its services configure `logging` themselves."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import select
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._record_lines import record_line


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The levels of a process's loggers, and the mark of its session's records."""

    mark: str
    levels: Mapping[str, int]
    """Of the loggers that have one of their own; the root's name is ``""``."""
    disabled: int = 0
    """As given to `logging.disable`."""

    @classmethod
    def of_this_process(cls, mark: str) -> LogSettings:
        """Return those that hold here now."""
        loggers = [*logging.root.manager.loggerDict.items()]
        levels = {
            name: logger.level
            for name, logger in loggers
            if isinstance(logger, logging.Logger) and logger.level
        }
        return cls(mark, {"": logging.root.level, **levels}, logging.root.manager.disable)

    def apply(self) -> None:
        """Log in this process like that, and send what is logged to the driver."""
        global _mark
        _mark = self.mark
        self.apply_levels()
        # Above the root, which has no handler then: `basicConfig` does nothing if it has one.
        # Libraries have handlers that do nothing, so `logging.lastResort` would not see all.
        top = logging.RootLogger(logging.NOTSET)
        top.addHandler(RecordSender(self.mark))
        logging.root.parent = top

    def changed_since(self, earlier: LogSettings) -> LogSettings | None:
        """Return the levels that are not what they were earlier; None if nothing has changed."""
        old = earlier.levels
        names = {*old, *self.levels}
        levels = {name: self.levels.get(name, logging.NOTSET) for name in names}
        changed = {name: level for name, level in levels.items() if level != old.get(name, 0)}
        if not changed and self.disabled == earlier.disabled:
            return None
        return LogSettings(self.mark, changed, self.disabled)

    def apply_levels(self) -> None:
        """Set the levels in this process, and nothing else."""
        for name, level in self.levels.items():
            logger = logging.getLogger(name or None)
            if logger.level != level:  # else all loggers would forget what they know, in vain
                logger.setLevel(level)
        if logging.root.manager.disable != self.disabled:
            logging.disable(self.disabled)


_TURN_SECONDS = 5.0  # to write a record of a hundred KiB, if the driver reads slowly

_mark = ""  # of this process, if it is a machine's


def settings_to_send() -> dict[str, Any] | None:
    """Return, as plain data, how a process of this machine is to log; None if no machine logs."""
    return dataclasses.asdict(LogSettings.of_this_process(_mark)) if _mark else None


def set_levels(settings: LogSettings) -> None:
    """Set these levels, if this process is a machine's."""
    if _mark:
        settings.apply_levels()


def apply_sent(settings: Mapping[str, Any] | None) -> None:
    """Log like that in this process."""
    if settings is not None:
        LogSettings(**settings).apply()


class RecordSender(logging.Handler):
    """Writes records to standard error, as lines that the driver takes for records.

    A record that a handler of the user's takes is not sent as well: it may have shown it, or
    written it to a file that the driver writes, too.
    """

    def __init__(self, mark: str) -> None:
        super().__init__()
        self._mark = mark

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            if not _is_handled(record):
                _write(record_line(record, self._mark) + b"\n")
        except OSError:  # a service has closed it
            pass
        except Exception:
            self.handleError(record)


def _is_handled(record: logging.LogRecord) -> bool:
    """Whether a handler of the user's takes it."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger is not logging.root.parent:
        for handler in logger.handlers:
            if not isinstance(handler, logging.NullHandler) and record.levelno >= handler.level:
                return True
        logger = logger.parent if logger.propagate else None
    return False


def _write(data: bytes) -> None:
    with contextlib.nullcontext() if len(data) <= select.PIPE_BUF else _alone():
        while data:
            try:
                data = data[os.write(2, data) :]
            except BlockingIOError:  # something has made the pipe non-blocking
                select.select([], [2], [])


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no other process of this machine write a long record meanwhile.

    In a pipe, what several write at once is mixed, if it is longer than PIPE_BUF: those of
    parallel methods and of forked children. The pipe itself is locked, by an opening of its own,
    as Linux allows. One that is stopped while it writes holds the others up for some seconds.
    """
    import fcntl

    try:
        lock = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # not on Linux, or it is a socket
        yield
        return
    try:
        give_up = time.monotonic() + _TURN_SECONDS
        while time.monotonic() < give_up:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.001)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a child forked meanwhile has it, too
    finally:
        os.close(lock)
