"""Notices of preemption and maintenance are read from Google's metadata server."""

from __future__ import annotations

import contextlib
import datetime
import logging

import pytest
import trio

import bigmachine as bm
from bigmachine.cloud import MetadataError
from bigmachine.testing import InProcessSystem
from bigmachine_gcp.guest._notices import read_notices
from tests.support.clocks import jumping_clock
from tests.support.gcp.metadata import MetadataServer
from tests.support.services import Echo

PREEMPTED = bm.Notice("interruption", "Google preempts the spot instance")
MIGRATE, TERMINATE = "MIGRATE_ON_HOST_MAINTENANCE", "TERMINATE_ON_HOST_MAINTENANCE"
# As "Monitor and plan for a host maintenance event" shows it.
WINDOW = {
    "can_reschedule": "true",
    "latest_window_start_time": "2024-12-01T19:00:01Z",
    "maintenance_status": "PENDING",
    "type": "SCHEDULED",
    "window_end_time": "2024-12-01T21:00:01Z",
    "window_start_time": "2024-12-01T19:00:01Z",
}


@pytest.fixture
def run():
    """Run an async test with a `MetadataServer`, under a clock that jumps when everybody waits."""

    def run(test):
        async def main():
            async with MetadataServer().serving() as server:
                await test(server)

        trio.run(main, clock=jumping_clock(0.05))

    return run


async def heard(server, seconds=12):
    """Return the notices that are read within some seconds, each once."""
    notices = {}
    with trio.move_on_after(seconds):
        async for notice in read_notices(server.url):
            notices[notice] = None
    return [*notices]


def test_preemption_is_noticed_at_once(run):
    async def test(server):
        async with trio.open_nursery() as nursery:

            async def preempt():
                await trio.sleep(23)
                server.cloud.preempted = True

            nursery.start_soon(preempt)
            async with contextlib.aclosing(read_notices(server.url)) as notices:
                assert await anext(notices) == PREEMPTED
            assert 23 <= trio.current_time() < 24
        waits = [r.query for r in server.requests if r.query.get("wait_for_change")]
        assert len(waits) <= 6  # which is not every moment

    run(test)


@pytest.mark.parametrize(
    ("event", "kind", "detail"),
    [
        (MIGRATE, "maintenance", "Google moves the instance to another host within minutes"),
        (TERMINATE, "interruption", "Google stops the instance for maintenance of its host"),
        ("SOMETHING_NEW", "maintenance", "Google announces SOMETHING_NEW"),
    ],
)
def test_maintenance_event_is_a_notice(run, event, kind, detail):
    async def test(server):
        assert await heard(server) == []
        server.cloud.maintenance_event = event
        assert await heard(server) == [bm.Notice(kind, detail)]

    run(test)


@pytest.mark.parametrize(
    "window",
    [
        WINDOW,
        {"type": "SCHEDULED", "windowStartTime": "2024-12-01T19:00:01Z"},
    ],
)
def test_scheduled_maintenance_is_a_notice_with_its_time(run, window):
    async def test(server):
        server.cloud.upcoming_maintenance = window
        [notice] = await heard(server)
        assert notice.kind == "maintenance"
        assert notice.detail == "Google has announced scheduled maintenance of the instance's host"
        assert notice.at == datetime.datetime(2024, 12, 1, 19, 0, 1, tzinfo=datetime.UTC)

    run(test)


@pytest.mark.parametrize("answer", ["NONE", {}])
def test_no_scheduled_maintenance_is_no_notice(run, answer):
    async def test(server):
        server.cloud.upcoming_maintenance = answer
        assert await heard(server) == []

    run(test)


def test_metadata_server_that_is_moved_is_asked_again(run):
    async def test(server):
        server.unavailable = 5
        server.cloud.preempted = True
        assert await heard(server) == [PREEMPTED]

    run(test)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_error_status_of_the_metadata_server_is_reported(run, status):
    async def test(server):
        server.status = status
        with pytest.raises(MetadataError, match=f"instance/preempted: status {status}"):
            await heard(server, 60)

    run(test)


def test_unreachable_metadata_server_is_an_error_in_bounded_time(run):
    async def test(server):
        server.is_silent = True
        with pytest.raises(MetadataError, match="did not respond within 5 s"):
            await heard(server, 60)

    run(test)


class Guest(InProcessSystem):
    """In-process machines that read the notices of Google's instances."""

    metadata_url = ""

    def notices(self):
        return read_notices(self.metadata_url)


def test_preemption_reaches_the_driver_once_after_a_service_failure(run, monkeypatch, caplog):
    async def test(server):
        monkeypatch.setattr(Guest, "metadata_url", server.url)
        server.status = 500
        async with bm.AsyncSession(Guest) as session:
            [machine] = await session.start(1, services={"Echo": Echo()})
            await trio.sleep(5)
            server.status = None
            server.cloud.preempted = True
            await trio.sleep(30)
            assert machine.notices == [PREEMPTED]

    run(test)
    [error] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert error.getMessage().endswith("instance/preempted: status 500")
    [warning] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "interruption: Google preempts the spot instance" in warning.getMessage()
