"""Notices of evictions and maintenance are read from Azure's metadata service."""

from __future__ import annotations

import contextlib
import datetime
import logging

import pytest
import trio

import bigmachine as bm
from bigmachine.cloud import MetadataError
from bigmachine.testing import InProcessSystem
from bigmachine_azure.guest._notices import read_notices
from tests.support.clocks import jumping_clock
from tests.support.cloudbox import Azure
from tests.support.metadata_server import MetadataServer
from tests.support.services import Echo

NAME = "bm-main-0123abcd-m0"
AT = datetime.datetime(2022, 8, 9, 17, 7, 32, tzinfo=datetime.UTC)


def event(type, *, id="C1BF8322-4CBF-4FC4-9C45-B40CF3106D0E", **fields):
    """Return a scheduled event, in the form of the documentation."""
    return {
        "EventId": id,
        "EventStatus": "Scheduled",
        "EventType": type,
        "ResourceType": "VirtualMachine",
        "Resources": [NAME.upper()],  # names are compared case-insensitively
        "NotBefore": "Tue, 09 Aug 2022 17:07:32 GMT",
        "Description": "",
        "EventSource": "Platform",
        "DurationInSeconds": -1,
        **fields,
    }


@pytest.fixture
def run():
    """Run an async test with a metadata service, under a clock that jumps when everybody waits."""

    def run(test):
        async def main():
            async with MetadataServer(Azure(name=NAME)).serving() as server:
                await test(server)

        trio.run(main, clock=jumping_clock(0.05))

    return run


async def heard(server, seconds=3):
    """Return the notices that are read within some seconds, each once."""
    notices = {}
    with trio.move_on_after(seconds):
        async for notice in read_notices(server.url):
            notices[notice] = None
    return [*notices]


def test_eviction_is_noticed_in_time(run):
    async def test(server):
        async with trio.open_nursery() as nursery:

            async def evict():
                await trio.sleep(23)
                server.cloud.events.append(event("Preempt"))

            nursery.start_soon(evict)
            async with contextlib.aclosing(read_notices(server.url)) as notices:
                assert await anext(notices) == bm.Notice(
                    "interruption", "Azure evicts the spot VM", AT
                )
            assert 23 <= trio.current_time() <= 26  # of the 30 seconds that a spot VM has

    run(test)


@pytest.mark.parametrize(
    ("type", "fields", "kind", "detail"),
    [
        ("Terminate", {}, "interruption", "Azure deletes the VM"),
        ("Reboot", {}, "interruption", "Azure restarts the VM, which ends its machine"),
        ("Redeploy", {}, "interruption", "Azure moves the VM to another host, which ends its "),
        ("Freeze", {"DurationInSeconds": 9}, "maintenance", "Azure pauses the VM for 9 s"),
        ("Freeze", {"DurationInSeconds": 0}, "maintenance", "Azure pauses the VM"),
        ("Freeze", {"DurationInSeconds": None}, "maintenance", "Azure pauses the VM"),
        (
            "Freeze",
            {"Description": "Host server is undergoing maintenance."},
            "maintenance",
            "Azure pauses the VM: Host server is undergoing maintenance",
        ),
        ("Novelty", {}, "maintenance", "Azure announces Novelty"),
        ("Preempt", {"Resources": []}, "interruption", "Azure evicts the spot VM"),
    ],
)
def test_scheduled_event_is_a_notice(run, type, fields, kind, detail):
    async def test(server):
        assert await heard(server) == []
        server.cloud.events.append(event(type, **fields))
        [notice] = await heard(server)
        assert (notice.kind, notice.at) == (kind, AT)
        assert notice.detail == detail or (detail.endswith(" ") and detail in notice.detail)
        assert server.cloud.approved == []  # or Azure would begin at once

    run(test)


def test_event_of_another_vm_is_no_notice(run):
    async def test(server):
        server.cloud.events.append(event("Reboot", Resources=["another", f"{NAME}0"]))
        assert await heard(server) == []

    run(test)


def test_event_that_begins_is_not_another_notice(run):
    async def test(server):
        [scheduled] = [event("Freeze")]
        notices = []
        server.cloud.events = [scheduled]
        async with contextlib.aclosing(read_notices(server.url)) as reader:
            notices.append(await anext(reader))
            server.cloud.events = [{**scheduled, "EventStatus": "Started", "NotBefore": ""}]
            notices.append(await anext(reader))
        assert notices == [bm.Notice("maintenance", "Azure pauses the VM", AT)] * 2

    run(test)


def test_event_that_began_without_warning_is_a_notice_without_a_time(run):
    async def test(server):
        server.cloud.events.append(event("Reboot", EventStatus="Started", NotBefore=""))
        [notice] = await heard(server)
        assert (notice.kind, notice.at) == ("interruption", None)

    run(test)


@pytest.mark.parametrize(("status", "times"), [(410, 8), (429, 1), (500, 1)])
def test_metadata_service_that_is_away_for_a_minute_is_asked_again(run, status, times):
    async def test(server):
        server.unavailable, server.unavailable_status = times, status
        server.cloud.events.append(event("Preempt"))
        assert [notice.kind for notice in await heard(server, 10 * times)] == ["interruption"]

    run(test)


def test_error_status_of_the_metadata_service_is_reported(run):
    async def test(server):
        for status in (403, 410):
            server.status = status
            with pytest.raises(MetadataError, match=f"status {status}"):
                await heard(server, 200)

    run(test)


def test_unreachable_metadata_service_is_an_error_in_bounded_time(run):
    async def test(server):
        server.is_silent = True
        with pytest.raises(MetadataError, match="did not respond within 5 s"):
            await heard(server, 60)

    run(test)


class Guest(InProcessSystem):
    """In-process machines that read the notices of Azure's VMs."""

    metadata_url = ""

    def notices(self):
        return read_notices(self.metadata_url)


def test_eviction_reaches_the_driver_once_after_a_service_failure(run, monkeypatch, caplog):
    async def test(server):
        monkeypatch.setattr(Guest, "metadata_url", server.url)
        server.status = 403
        async with bm.AsyncSession(Guest) as session:
            [machine] = await session.start(1, services={"Echo": Echo()})
            await trio.sleep(5)
            server.status = None
            server.cloud.events.append(event("Preempt"))
            await trio.sleep(30)
            [notice] = machine.notices
            assert notice.kind == "interruption"

    run(test)
    [error] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "status 403" in error.getMessage()
    [warning] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "interruption: Azure evicts the spot VM" in warning.getMessage()
