"""Handling a log record as its logger would, in a thread that may wait for the handlers."""

from __future__ import annotations

import contextlib
import logging
import threading
import traceback

from ...errors import UsageError
from ._screen import screen
from ._text_streams import wait_for


class _HandledRecord(threading.local):
    is_of_machine = False


handled_record = _HandledRecord()
"""The record that the current thread handles, if any."""


def handle_record(record: logging.LogRecord, *, is_of_machine: bool = False) -> None:
    """Have the handlers of its logger, and of those above, handle a record; nothing is raised.

    Meanwhile, no machine can be called if it ``is_of_machine``: what that logs would be handled,
    too, and so on without end.
    """
    logger = logging.getLogger(record.name)
    handled_record.is_of_machine = is_of_machine
    try:
        # Not in the handler, which holds its lock: others need that, to log or to end the process.
        for handler in _handlers(logger):
            wait_for(getattr(handler, "stream", None))
        with screen.cleared():
            logger.handle(record)
    except BaseException:  # a handler of the user's; the next record may fare better
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        handled_record.is_of_machine = False


def check_not_handling() -> None:
    """Raise `UsageError` in the thread that handles a machine's record now."""
    if handled_record.is_of_machine:
        raise UsageError(
            "a logging handler that handles a machine's record can't call a machine: what the "
            "method logs would come back to the handler, and so on; hand the record to a thread"
        )


def _handlers(logger: logging.Logger) -> list[logging.Handler | None]:
    found: list[logging.Handler | None] = []
    ancestor: logging.Logger | None = logger
    while ancestor is not None:
        found += ancestor.handlers
        ancestor = ancestor.parent if ancestor.propagate else None
    return found or [logging.lastResort]
