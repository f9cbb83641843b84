"""Notices of interruptions and maintenance are read from EC2's instance metadata service."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging

import pytest
import trio

import bigmachine as bm
from bigmachine.cloud import MetadataError
from bigmachine.testing import InProcessSystem
from bigmachine_ec2 import Ec2System
from bigmachine_ec2.guest._notices import Metadata, read_notices
from tests.support.aws.imds import MOST_TTL, Imds
from tests.support.clocks import jumping_clock
from tests.support.services import Echo

# Each as the user guide shows it.
LIFE = "instance-life-cycle"
ACTION = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"
MAINTENANCE = "events/maintenance/scheduled"
TOKEN = "/latest/api/token"
TERMINATE = {"action": "terminate", "time": "2017-09-18T08:22:00Z"}
RECOMMENDATION = {"noticeTime": "2020-10-27T08:22:00Z"}
REBOOT = {
    "NotBefore": "21 Jan 2019 09:00:43 GMT",
    "Code": "system-reboot",
    "Description": "scheduled reboot",
    "EventId": "instance-event-0d59937288b749b32",
    "NotAfter": "21 Jan 2019 09:17:23 GMT",
    "State": "active",
}
TAKEN_BACK = bm.Notice(
    "interruption",
    "EC2 will terminate the spot instance",
    datetime.datetime(2017, 9, 18, 8, 22, tzinfo=datetime.UTC),
)


@pytest.fixture
def run():
    """Run an async test with an `Imds`, under a clock that jumps whenever everybody waits."""

    def run(test, life_cycle="spot"):
        async def main():
            async with Imds().serving() as imds:
                imds.data[LIFE] = life_cycle
                await test(imds)

        trio.run(main, clock=jumping_clock(0.05))

    return run


async def heard(imds, seconds):
    """Return the notices that are read within some seconds, each once."""
    notices = {}
    with trio.move_on_after(seconds):
        async for notice in read_notices(imds.url):
            notices[notice] = None
    return [*notices]


def test_interruption_is_noticed_within_seconds(run):
    async def test(imds):
        assert await heard(imds, 60) == []
        imds.data[ACTION] = json.dumps(TERMINATE)
        assert await heard(imds, 1) == [TAKEN_BACK]

    run(test)


def test_later_interruption_is_seen_within_five_seconds(run):
    async def test(imds):
        async with trio.open_nursery() as nursery:

            async def interrupt():
                await trio.sleep(100)
                imds.data[ACTION] = json.dumps(TERMINATE)

            nursery.start_soon(interrupt)
            notices = read_notices(imds.url)
            async with contextlib.aclosing(notices):
                assert await anext(notices) == TAKEN_BACK
            assert 100 <= trio.current_time() < 106

    run(test)


def test_rebalance_recommendation_is_a_notice_without_a_time(run):
    async def test(imds):
        imds.data[REBALANCE] = json.dumps(RECOMMENDATION)
        [notice] = await heard(imds, 60)
        assert (notice.kind, notice.at) == ("rebalance", None)
        assert "risk of interruption since 2020-10-27T08:22:00Z" in notice.detail

    run(test)


@pytest.mark.parametrize("life_cycle", ["spot", "on-demand"])
def test_maintenance_is_noticed_on_every_instance(run, life_cycle):
    async def test(imds):
        done = {**REBOOT, "State": "completed", "Description": "[Completed] scheduled reboot"}
        imds.data[MAINTENANCE] = json.dumps([done, REBOOT])
        [notice] = await heard(imds, 130)
        assert notice.kind == "maintenance"
        assert notice.detail == "EC2 has scheduled system-reboot: scheduled reboot"
        assert notice.at == datetime.datetime(2019, 1, 21, 9, 0, 43, tzinfo=datetime.UTC)
        imds.data[MAINTENANCE] = "[]"
        assert await heard(imds, 130) == []

    run(test, life_cycle)


def test_changed_time_is_a_new_notice(run):
    async def test(imds):
        imds.data[MAINTENANCE] = json.dumps([REBOOT])
        [first] = await heard(imds, 60)
        imds.data[MAINTENANCE] = json.dumps([{**REBOOT, "NotBefore": "22 Jan 2019 09:00:43 GMT"}])
        [second] = await heard(imds, 60)
        assert first != second
        assert second.at - first.at == datetime.timedelta(days=1)

    run(test)


def test_malformed_time_does_not_hide_the_notice(run):
    async def test(imds):
        imds.data[ACTION] = json.dumps({**TERMINATE, "time": "soon"})
        [notice] = await heard(imds, 60)
        assert (notice.kind, notice.at) == ("interruption", None)

    run(test)


def test_on_demand_instance_does_not_poll_for_interruptions(run):
    async def test(imds):
        await heard(imds, 600)
        asked = {path.removeprefix("/latest/meta-data/") for path in imds.requests}
        assert asked == {TOKEN, LIFE, MAINTENANCE}
        assert len(imds.requests) <= 13

    run(test, "on-demand")


def test_token_is_reused_and_renewed_before_it_expires(run):
    async def test(imds):
        metadata = Metadata(imds.url)
        for hour in range(24):
            assert await metadata.read(LIFE) == b"spot"
            assert imds.requests.count(TOKEN) == 1 + hour * 3600 // (MOST_TTL - 60)
            assert len(imds.requests) == hour + 1 + imds.requests.count(TOKEN)  # none refused
            await trio.sleep(3600)

    run(test)


def test_rejected_token_is_replaced(run):
    async def test(imds):
        async with trio.open_nursery() as nursery:

            async def forget():
                await trio.sleep(100)
                imds.forget_tokens()
                imds.data[ACTION] = json.dumps(TERMINATE)

            nursery.start_soon(forget)
            assert await heard(imds, 110) == [TAKEN_BACK]
            assert imds.requests.count(TOKEN) == 2

    run(test)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_error_status_of_the_metadata_service_is_reported(run, status):
    async def test(imds):
        imds.status = status
        with pytest.raises(MetadataError, match=f"status {status}"):
            await heard(imds, 60)

    run(test)


def test_unreachable_metadata_service_is_an_error_in_bounded_time(run):
    async def test(imds):
        imds.is_silent = True
        with pytest.raises(MetadataError, match="did not respond within 5 s"):
            await heard(imds, 60)
        assert trio.current_time() < 10

    run(test)

    async def absent():
        async with Imds().serving() as imds:
            pass
        with pytest.raises(MetadataError, match="can't be read"):
            await heard(imds, 60)

    trio.run(absent)


def test_malformed_json_is_an_error(run):
    async def test(imds):
        imds.data[ACTION] = "<html>"
        with pytest.raises(MetadataError, match="is not JSON: b'<html>'"):
            await heard(imds, 60)

    run(test)


class Guest(InProcessSystem):
    """In-process machines that read the notices of EC2 instances."""

    notices = Ec2System.notices
    metadata_url = ""


@pytest.mark.long
def test_interruption_reaches_the_driver_once_after_a_service_failure(run, monkeypatch, caplog):
    async def test(imds):
        monkeypatch.setattr(Guest, "metadata_url", imds.url)
        imds.status = 503
        async with bm.AsyncSession(Guest) as session:
            [machine] = await session.start(1, services={"Echo": Echo()})
            await trio.sleep(100)
            imds.status = None
            imds.data[ACTION] = json.dumps(TERMINATE)
            await trio.sleep(100)
            assert machine.notices == [TAKEN_BACK]
            del imds.data[ACTION]
            await trio.sleep(100)
            imds.data[ACTION] = json.dumps(TERMINATE)
            await trio.sleep(100)
            assert machine.notices == [TAKEN_BACK]

    run(test)
    [error] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert error.getMessage().endswith("no token: status 503")
    assert not error.exc_info  # one line, for it is no fault of ours
    [warning] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "EC2 will terminate the spot instance at 2017-09-18 08:22:00 UTC" in warning.getMessage()


def test_metadata_url_is_the_documented_one():
    assert Ec2System.metadata_url == "http://169.254.169.254"
