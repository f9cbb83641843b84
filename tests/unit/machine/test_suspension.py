"""A driver that slept asks its machines at once, before they end themselves."""

from __future__ import annotations

import time

import pytest
import trio

from bigmachine.session._suspension import suspended_seconds, watch_suspension
from tests.support.services import Echo

psutil = pytest.importorskip("psutil", exc_type=ImportError)  # it asks which system this is


def test_computer_that_slept_is_noticed_each_time(run):
    async def test(kit):
        slept, resumed = [0.0], []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: watch_suspension(
                    lambda: resumed.append(trio.current_time()), suspended=lambda: slept[0]
                )
            )
            began = trio.current_time()
            await trio.sleep(20)
            assert resumed == []
            for count in (1, 2):
                slept[0] += 90.0
                await trio.sleep(20)
                assert len(resumed) == count
            assert resumed[0] - began <= 30
            nursery.cancel_scope.cancel()

    run(test)


def test_computer_slept_for_no_longer_than_it_has_been_up():
    assert -0.1 <= suspended_seconds() <= time.time() - psutil.boot_time() + 1.0


def test_machines_are_asked_at_once_after_a_sleep(run):
    async def test(kit):
        async with kit.session() as session:
            machines = await session.start(2, services={"Echo": Echo()})
            await trio.sleep(1)
            replies = [machine._controller.keepalive.reply_times for machine in machines]
            assert [len(times) for times in replies] == [0, 0]
            session._fleet.ask_now()
            await trio.sleep(1)
            assert [len(times) for times in replies] == [1, 1]
            await trio.sleep(kit.timings.period - 2)
            assert [len(times) for times in replies] == [1, 1]  # the next one is a period later

    run(test)
