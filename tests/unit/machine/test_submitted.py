"""Which submitted calls others must not overtake."""

from __future__ import annotations

import weakref

from bigmachine.machine._submitted import Submitted


class Future:
    """What can be referred to weakly."""


def test_calls_are_submitted_until_two_more_keepalives_are_answered_or_they_are_done() -> None:
    submitted = Submitted()
    assert not submitted
    done, pending = Future(), Future()
    submitted.add(done)
    submitted.add(pending)
    submitted.keepalive_replied()
    submitted.discard(done)
    assert submitted
    submitted.keepalive_replied()
    assert not submitted
    submitted.discard(pending)


def test_future_is_freed_when_it_is_done_also_if_a_keepalive_was_answered_meanwhile() -> None:
    submitted, future = Submitted(), Future()
    submitted.add(future)
    submitted.keepalive_replied()
    submitted.discard(future)
    known = weakref.ref(future)
    del future
    assert known() is None
