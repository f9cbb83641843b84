"""A session that can't be closed in time says what may be left, how to see it and to free it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from tests.support.clocks import jumping_clock
from tests.support.services import Echo

SERVICES = {"Echo": Echo()}


class Unanswering(InProcessSystem):
    """A provider that does not answer when machines, or the session, are freed."""

    name = "unanswering"
    is_billed = True

    async def start(self, count: int, request: bm.LaunchRequest) -> Sequence[bm.Instance]:
        made = await super().start(count, request)
        return [replace(one, id=f"i-{index}") for index, one in enumerate(made)]

    async def shutdown(self) -> None:
        await super().shutdown()
        await trio.sleep_forever()


class SilentAboutSecond(Unanswering):
    async def stop(self, instance: bm.Instance) -> None:
        if instance.name.startswith("m1."):
            await trio.sleep_forever()
        await super().stop(instance)


class Closed:
    """An observer that records whether the session has closed."""

    is_told = False

    @bm.hookimpl
    def event(self, event: bm.Event) -> None:
        self.is_told = self.is_told or isinstance(event, bm.SessionClosed)


def run(test: Any) -> None:
    trio.run(test, clock=jumping_clock(0.004))


def test_session_whose_release_is_not_answered_raises_what_may_be_left(caplog):
    closed = Closed()

    async def test():
        session = bm.AsyncSession(Unanswering, plugins=[closed])
        with pytest.raises(bm.BigmachineError) as e:
            async with session:
                await session.start(1, services=SERVICES)
        text = f"session {session.name} is not confirmed to be closed after 180 s"
        assert text in str(e.value)
        assert "something of it may be left, and cost money" in str(e.value)
        assert "`bigmachine ps unanswering`" in str(e.value)
        assert f"`bigmachine reap unanswering {session.name}`" in str(e.value)
        assert text in caplog.text
        assert not closed.is_told

    run(test)


def test_machines_whose_end_is_not_confirmed_are_named(caplog):
    async def test():
        with pytest.raises(bm.BigmachineError, match=r"time: m1 \(i-1\) may still run, and cost"):
            async with bm.AsyncSession(SilentAboutSecond) as session:
                await session.start(2, services=SERVICES)
        assert "m1 (i-1): not confirmed to be gone after 120 s" in caplog.text

    run(test)


def test_late_shutdown_is_told_at_once_even_if_all_is_freed_in_the_end(caplog, monkeypatch):
    monkeypatch.setattr("bigmachine.session._closing.CLOSE_TIMEOUT", 50.0)
    closed = Closed()

    class Slow(InProcessSystem):
        async def stop(self, instance):
            await trio.sleep(110)
            await super().stop(instance)

    async def test():
        async with bm.AsyncSession(Slow, plugins=[closed]) as session:
            await session.start(1, services=SERVICES)
            began = trio.current_time()
            await session.shutdown()
            assert trio.current_time() - began == pytest.approx(50, abs=1)
            assert "closed after 50 s, because its provider has not answered in time" in caplog.text
            assert "m0 may still run. List what there is with" in caplog.text
        assert closed.is_told
        assert trio.current_time() - began < 120

    run(test)


def test_system_is_told_why_a_machine_ends_before_it_is_to_free_it():
    told: list[str] = []

    class Told(InProcessSystem):
        def event(self, event):
            if isinstance(event, bm.MachineChanged) and event.state is bm.State.STOPPED:
                told.append(f"{event.machine} {event.error.machine} {event.error.reason.value}")

        async def stop(self, instance):
            told.append(f"free {instance.name.partition('.')[0]}")
            await super().stop(instance)

    async def test():
        async with bm.AsyncSession(Told) as session:
            first, _ = await session.start(2, services=SERVICES)
            first.cancel()
            await first.shutdown()
        assert told == ["m0 m0 cancelled", "free m0", "m1 m1 shutdown", "free m1"]

    run(test)
