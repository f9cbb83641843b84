"""The account of a server's calls: how many have begun, and of which something may still run."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Protocol

from .._registry import Method


class CallLedger:
    """Counts the calls of one server; changed in the trio loop only.

    Those in flight over a connection or a lane are known there, those by POST here.
    """

    def __init__(self) -> None:
        self.is_closed = False
        """Whether calls that come now are left unanswered, because the machine is about to end."""
        self.begun = 0
        """How many calls have begun so far, without the supervisor's; some count twice.

        Each call adds itself, without a method of this class, which would take it longer. Those
        over a lane are counted there until it ends.
        """
        self._posts: set[LedgerCall] = set()
        self._cancelled: weakref.WeakSet[LedgerCall] = weakref.WeakSet()

    def close(self) -> None:
        """Leave the calls unanswered that come from now on."""
        self.is_closed = True

    def add_lane(self, begun: int) -> None:
        """Count the calls of a lane that has ended."""
        self.begun += begun

    def add_post(self, call: LedgerCall) -> None:
        """Take a call by POST as in flight, until `discard_post`."""
        self._posts.add(call)

    def discard_post(self, call: LedgerCall) -> None:
        """Take a call by POST as ended."""
        self._posts.discard(call)

    @property
    def posts(self) -> Iterator[LedgerCall]:
        """The calls by POST that are in flight."""
        yield from self._posts

    def add_cancelled(self, call: LedgerCall) -> None:
        """Know of a call of which something may still run after it was cancelled."""
        self._cancelled.add(call)

    @property
    def cancelled(self) -> tuple[LedgerCall, ...]:
        """The calls of which something may still run after they were cancelled."""
        return tuple(self._cancelled)


class LedgerCall(Protocol):
    """A call, as the ledger sees it."""

    method: Method

    @property
    def is_running(self) -> bool:
        """Whether anything of it runs, also a method in a thread that was cancelled."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any longer, except perhaps a method in a thread."""
