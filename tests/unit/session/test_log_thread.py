"""Log records of a session's loop never hold it up, whatever their handlers do."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

import pytest
import trio

from bigmachine.session import _log_thread
from bigmachine.session._log_thread import off_the_loop
from tests.support.waiting import until

logger = logging.getLogger("bigmachine.session")


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
    release = threading.Event()
    with handled_by(Handler(release.wait)) as handler:
        trio.run(log, *(f"{i}" for i in range(10)))
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
