"""Log records of a session's loop never hold it up, whatever their handlers do."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable, Iterator

import pytest
import trio

from bigmachine.session import _log_thread
from bigmachine.session._log_thread import off_the_loop
from tests.support.waiting import until

logger = logging.getLogger("bigmachine.session")

EVIL = "evil \x1b]0;title\x07\x1b[2J\0"


class Handler(logging.Handler):
    """Notes messages and their threads; `before` runs first."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.threads: set[threading.Thread] = set()
        self._before = before

    def emit(self, record: logging.LogRecord) -> None:
        self._before()
        self.threads.add(threading.current_thread())
        self.messages.append(record.getMessage())


@contextlib.contextmanager
def handled_by(handler: Handler) -> Iterator[Handler]:
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


async def log(*messages: str) -> None:
    with off_the_loop():
        for message in messages:
            logger.warning(message)


def test_records_of_loop_are_handled_in_order_by_another_thread():
    with handled_by(Handler()) as handler:
        trio.run(log, "one", "two", "three")
        logger.warning("no loop")
    assert handler.messages == ["one", "two", "three", "no loop"]
    assert len(handler.threads) == 2
    assert threading.current_thread() in handler.threads


def test_loop_without_session_logs_as_usual():
    async def main() -> None:
        logger.warning("one")

    with handled_by(Handler()) as handler:
        trio.run(main)
    assert handler.threads == {threading.current_thread()}


def test_handler_that_blocks_does_not_hold_up_loop(monkeypatch):
    monkeypatch.setattr(_log_thread, "_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(_log_thread, "_MAX_RECORDS", 5)
    has_begun, release = threading.Event(), threading.Event()

    def block() -> None:
        has_begun.set()
        release.wait()

    async def main() -> None:
        with off_the_loop():
            logger.warning("0")
            has_begun.wait()
            for i in range(1, 10):
                logger.warning(f"{i}")

    with handled_by(Handler(block)) as handler:
        trio.run(main)
        assert handler.messages == []
        release.set()
        until(lambda: len(handler.messages) == 7)
        trio.run(log, "last")
    # One was at its handler, and five waited.
    assert handler.messages[:6] == [f"{i}" for i in range(6)]
    assert "4 log records were dropped" in handler.messages[6]
    assert handler.messages[7:] == ["last"]


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_handler_that_raises_breaks_nothing(error):
    def fail() -> None:
        raise error

    with handled_by(Handler(fail)), handled_by(Handler()) as other:
        trio.run(log, "one")
        logger.handlers[0]._before = lambda: None
        trio.run(log, "two")
    assert other.messages == ["two"]


def test_filters_of_user_apply():
    def is_wanted(record: logging.LogRecord) -> bool:
        return record.getMessage() != "unwanted"

    logger.addFilter(is_wanted)
    try:
        with handled_by(Handler()) as handler:
            trio.run(log, "unwanted", "wanted")
    finally:
        logger.removeFilter(is_wanted)
    assert handler.messages == ["wanted"]


def test_texts_and_exceptions_of_others_are_sanitized():
    async def main() -> None:
        with off_the_loop():
            logger.warning("%s: %s", "m0", EVIL)
            try:
                raise OSError(EVIL)
            except OSError:
                logger.exception("it failed")

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    try:
        trio.run(main)
    finally:
        logger.removeHandler(handler)
    first, *_, last = stream.getvalue().splitlines()
    assert first == "m0: evil \\x00"
    assert last == "OSError: evil \\x00"
    assert "\x1b" not in stream.getvalue()
