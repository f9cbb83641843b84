"""Tests on a real project run only on request, and find and free their leftovers."""

from __future__ import annotations

import dataclasses
import re

import pytest

from bigmachine.boot import Driver
from bigmachine_gcp import GcpOptions, GcpSystem
from bigmachine_gcp.options._labels import description
from tests.live import __main__ as script
from tests.live.account import RUN
from tests.live.gcp import Account
from tests.live.suite import LiveSuite
from tests.support.gcp.errors import GceError
from tests.support.gcp.fixtures import TYPE
from tests.support.gcp.gce import PROJECT, REGION, ZONE
from tests.support.live import run, with_options
from tests.support.paths import ROOT

LEAKED = "leaked-0123abcd.bigmachine"
DEAD = dataclasses.replace(Driver.here(), started=1)
CHANGES = ("insert", "delete", "patch", "bulkInsert")


@pytest.fixture
def options(gce, monkeypatch):
    """The script's ``-o``, for the emulated project."""
    monkeypatch.delenv("BIGMACHINE_TEST_CLOUD", raising=False)
    texts = (f"zones={ZONE}", f"endpoint_url={gce.url}", f"machine_type={TYPE}")
    return with_options([*texts, "allow=192.0.2.7/32"])


@pytest.fixture
def account(gce, consistent, monkeypatch):
    monkeypatch.setenv("BIGMACHINE_GCP_ENDPOINT_URL", gce.url)
    monkeypatch.setattr(script, "_DELETION_SECONDS", 0.0)
    system = GcpSystem(GcpOptions(zones=(ZONE,), endpoint_url=gce.url))
    account = Account(system, network="global/networks/default", run="r1")
    yield account
    account.close()
    gce.reset()


def changes(gce) -> list[str]:
    return [call.method for call in gce.asked if call.method.endswith(CHANGES)]


def add_disk(gce, name, *, session="", run="", driver=DEAD) -> str:
    """Add a disk; return its id."""
    labels = {RUN: run, "bigmachine-session": session.partition(".")[0]}
    text = description(session, driver, GcpOptions()) if session else ""
    labels = {key: value for key, value in labels.items() if value}
    gce.disks.add(ZONE, name, description=text, labels=labels)
    return f"zones/{ZONE}/disks/{name}"


def add_rule(gce, name, session="", driver=DEAD) -> str:
    """Add a firewall rule; return its id."""
    text = description(session, driver, GcpOptions()) if session else ""
    gce.firewalls.add(name, description=text, allowed=[{"IPProtocol": "tcp"}])
    return f"global/firewalls/{name}"


# -- only on request --------------------------------------------------------------------


@pytest.mark.parametrize(("sure", "arguments"), [("", []), ("yes", []), ("", ["--dry-run"])])
def test_script_shows_the_project_and_starts_nothing_without_yes(
    gce, options, capsys, monkeypatch, sure, arguments
):
    monkeypatch.setenv("BIGMACHINE_TEST_CLOUD", sure)
    assert script.main(["gcp", *options, *arguments]) == (0 if arguments else 2)
    shown, told = capsys.readouterr()
    assert f"account   {PROJECT}, as " in shown
    assert f"region    {REGION}, which has " in shown
    assert re.search(rf"machines  {TYPE}, spot-then-on-demand: \$0\.\d+ an hour at most", shown)
    assert "that might raise it to $2.00" in shown
    assert re.search(r"ok +compute\.instances\.create", shown) if arguments else "--yes" in told
    assert changes(gce) == []


def test_dry_run_fails_if_a_permission_is_missing(gce, options, capsys):
    gce.access.denied.add("compute.instances.create")
    assert script.main(["gcp", *options, "--dry-run"]) == 2
    assert re.search(r"denied +compute\.instances\.create", capsys.readouterr().out)


def test_script_reports_problems_before_it_begins(gce, options, capsys):
    gce.access.has_billing = False
    assert script.main(["gcp", "--yes", *options]) == 2
    assert re.search("nothing was started: .*billing", capsys.readouterr().err)
    assert changes(gce) == []


@pytest.mark.long
def test_offline_part_passes_and_leaves_nothing(gce, options):
    status, said = run("tests.live", "gcp", "--offline", *options)
    assert status == 0, said
    assert " passed" in said
    assert " failed" not in said.splitlines()[-2]
    assert said.endswith("The run left nothing.\n")


@pytest.mark.long
def test_pytest_alone_sends_no_request_to_a_project(gce):
    arguments = ["tests/live/gcp.py", "--conformance-tier=live", "--conformance-max-cost=1"]
    status, said = run(
        "pytest", "-q", "-n0", "-pno:cacheprovider", *arguments, BIGMACHINE_GCP_ENDPOINT_URL=gce.url
    )
    assert (status, gce.asked) == (0, [])
    assert " passed" not in said


def test_docs_say_how_many_tests_start_machines(gce, options, capsys):
    script.main(["gcp", *options])
    [tests] = re.findall(r"^tests     (\d+) start", capsys.readouterr().out, re.MULTILINE)
    assert f"{tests} tests start" in (ROOT / "docs/gcp.md").read_text().replace("\n", " ")


# -- leftovers --------------------------------------------------------------------------


def test_leftovers_of_the_run_are_freed_and_others_are_reported(account, gce, capsys):
    before = account.resources()
    ours = [
        add_disk(gce, "bm-leaked-0123abcd-m0", session=LEAKED, run="r1"),
        add_rule(gce, "bm-leaked-0123abcd", LEAKED),
        account.make_foreign(),
    ]
    others = [
        add_disk(gce, "theirs"),
        add_disk(gce, "bm-b-0123abcd-m0", session="b-0123abcd.bigmachine", run="r0"),
        add_rule(gce, "bm-c-0123abcd", "c-0123abcd.bigmachine", Driver.here()),
        add_rule(gce, "any"),
    ]
    assert script.sessions_of(account.resources(), run="r1") == {LEAKED}
    assert script.free_leftovers(account, before, {}) == 3
    said = capsys.readouterr().out
    assert {*account.resources()} - {*before} == {*others}
    assert ours[0] in said.partition("STILL THERE")[0]
    assert all(id in said.partition("STILL THERE")[2] for id in others)


def test_rule_of_a_killed_driver_is_freed_and_no_failure(account, gce, capsys, monkeypatch):
    monkeypatch.setattr(LiveSuite, "account", account)
    before = account.resources()
    rule = add_rule(gce, "bm-leaked-0123abcd", LEAKED)
    assert rule not in LiveSuite().leftovers()
    disk = add_disk(gce, "bm-leaked-0123abcd-m0", session=LEAKED)
    assert disk in LiveSuite().leftovers()
    gce.disks.all.clear()
    assert script.free_leftovers(account, before, {}) == 0
    assert account.resources() == before
    assert capsys.readouterr().out.endswith("The run left nothing.\n")


def test_foreign_rule_lets_nobody_in_and_is_deleted(account, gce, monkeypatch):
    monkeypatch.setattr(LiveSuite, "account", account)
    with LiveSuite().foreign_resource() as lives:
        assert lives()
        [rule] = [
            one for one in gce.firewalls.all.values() if one["name"].startswith("bigmachine-test-")
        ]
        assert rule["disabled"]
        assert script.sessions_of(account.resources(), run="r1") == set()
    assert not lives()
    gce.refuse(
        "firewalls.insert", GceError(403, "forbidden", "Required 'compute.firewalls.create'")
    )
    with LiveSuite().foreign_resource() as lives:
        assert lives is None
