"""Tests on a real subscription run only on request, and find and free their leftovers."""

from __future__ import annotations

import dataclasses
import re

import pytest
import trio

from bigmachine.boot import Driver
from bigmachine_azure import AzureSystem
from bigmachine_azure.options._tags import DRIVER
from tests.live import __main__ as script
from tests.live.account import RUN
from tests.live.azure import Account
from tests.live.suite import LiveSuite
from tests.support.azure.arm import LOCATION
from tests.support.azure.fixtures import SIZE, Kit
from tests.support.live import with_options

GROUP = f"bigmachine-{LOCATION}"
DEAD = dataclasses.replace(Driver.here(), started=1)


@pytest.fixture
def options(arm, monkeypatch):
    """The script's ``-o``, for the emulated subscription."""
    monkeypatch.delenv("BIGMACHINE_TEST_CLOUD", raising=False)
    texts = [f"location={LOCATION}", f"endpoint_url={arm.url}", f"vm_size={SIZE}"]
    return with_options([*texts, "allow=192.0.2.7/32", "allow_billing_leak=true"])


@pytest.fixture
def account(arm, consistent, monkeypatch):
    monkeypatch.setenv("BIGMACHINE_AZURE_ENDPOINT_URL", arm.url)
    monkeypatch.setenv("BIGMACHINE_AZURE_LOCATION", LOCATION)
    monkeypatch.setattr(script, "_DELETION_SECONDS", 0.0)
    account = Account(AzureSystem(Kit(arm).options), network=GROUP, run="r1")
    yield account
    account.close()


def test_script_shows_the_subscription_and_starts_nothing_without_yes(arm, options, capsys):
    assert script.main(["azure", *options]) == 2
    shown, told = capsys.readouterr()
    assert f"account   {arm.subscription}" in shown
    assert f"region    {LOCATION}, which has 0 resources already" in shown
    assert re.search(rf"machines  {SIZE}, on-demand: (\$0\.\d+ an hour|of unknown price)", shown)
    assert "give --yes" in told
    assert arm.leftovers() == []


def test_leftovers_of_the_run_are_freed_and_others_are_reported(account, arm, capsys):
    before = account.resources()
    kit = Kit(arm, tags=[f"{RUN}=r1"])
    other = Kit(arm, tags=[f"{RUN}=r0"]).other()

    async def start() -> list[str]:
        for each in (kit, other):
            await each.start(1)
            await each.system.close()
        return [str(each.request.session) for each in (kit, other)]

    ours, theirs = trio.run(start)
    foreign = account.make_foreign()
    found = account.resources()
    assert {found[id].session for id in {*found} - {*before}} == {ours, theirs, ""}
    assert script.sessions_of(found, run="r1") == {ours}
    assert script.free_leftovers(account, before, {}) == 3
    left = account.resources()
    assert foreign not in left
    assert {one.session for one in left.values()} == {theirs}
    assert "STILL THERE" in capsys.readouterr().out
    arm.reset()


def test_foreign_group_is_created_and_deleted(account, monkeypatch):
    monkeypatch.setattr(LiveSuite, "account", account)
    with LiveSuite().foreign_resource() as lives:
        assert lives()
        [group] = [one for one in account.resources().values() if one.run == "r1"]
        assert (group.session, group.is_billed) == ("", False)
        dead = dataclasses.replace(group, driver=str(DEAD))
        assert (group.is_failure, dead.is_failure) == (True, False), DRIVER
    assert not lives()
