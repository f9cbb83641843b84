"""``bigmachine check gcp`` asks for all permissions of sessions, and changes nothing."""

from __future__ import annotations

import json

import pytest

from bigmachine.cli import main
from bigmachine_gcp._check import ACT_AS
from tests.support.gcp import role
from tests.support.gcp.fixtures import TYPE
from tests.support.gcp.gce import PROJECT, ZONE, Gce

CHANGES = ("insert", "bulkInsert", "delete", "patch", "stop")


@pytest.fixture
def check(gce, monkeypatch, capsys):
    """Run the command; return its exit status, the answers by request, and its advice."""
    given = {
        "ENDPOINT_URL": gce.url,
        "MACHINE_TYPE": TYPE,
        "ZONES": ZONE,
        "ALLOW": "192.0.2.7/32",
    }
    for key, value in given.items():
        monkeypatch.setenv(f"BIGMACHINE_GCP_{key}", value)

    def check(*options: str):
        words = [word for option in options for word in ("-o", option)]
        status = main(["check", "gcp", "--json", *words])
        report = json.loads(capsys.readouterr().out)
        assert [c.method for c in gce.asked if c.method.rpartition(".")[2] in CHANGES] == []
        return status, {one["request"]: one for one in report["requests"]}, report["advice"]

    return check


def verdicts(answers) -> dict[str, str]:
    """Return the answers other than "ok", by request."""
    return {name: one["verdict"] for name, one in answers.items() if one["verdict"] != "ok"}


def test_check_asks_for_every_permission_of_the_role_and_changes_nothing(check, gce):
    status, answers, advice = check(f"service_account={Gce.default_account}")
    assert (status, verdicts(answers), advice) == (0, {}, "")
    assert {*answers} == {"setup", ACT_AS, *role.granted()}
    assert f"spot {TYPE}" in answers["setup"]["detail"]
    assert gce.leftovers() == []


def test_missing_permissions_fail_with_the_commands_that_grant_them(check, gce):
    gce.access.denied |= {"compute.instances.create", "compute.disks.list"}
    gce.policies.may_act_as = set()
    status, answers, advice = check(f"service_account={Gce.default_account}")
    assert status == 1
    denied = ["compute.instances.create", "compute.disks.list", ACT_AS]
    assert verdicts(answers) == {**dict.fromkeys(denied, "denied"), "setup": "refused"}
    assert "may not have instances act as" in answers["setup"]["detail"]
    assert "--permissions=compute.disks.list,compute.instances.create\n" in advice
    assert f"add-iam-policy-binding {PROJECT} --member=serviceAccount:" in advice
    assert f"gcloud iam service-accounts add-iam-policy-binding {Gce.default_account}" in advice


def test_sessions_work_without_some_permissions(check, gce):
    lacking = "compute.instances.getSerialPortOutput"
    gce.access.denied.add(lacking)
    status, answers, advice = check()
    assert (status, verdicts(answers), advice) == (0, {lacking: "denied"}, "")
    assert "errors don't show the consoles of machines" in answers[lacking]["detail"]
    status, answers, advice = check("verify_boot=yes")
    assert status == 1
    assert lacking in advice


@pytest.mark.long
def test_permissions_are_unknown_if_google_cannot_be_asked(check, gce):
    gce.access.disabled_apis.add("cloudresourcemanager.googleapis.com")
    status, answers, _ = check()
    assert status == 0
    assert answers["compute.instances.list"]["verdict"] == "ok"  # it was really read
    assert answers["compute.instances.create"]["verdict"] == "unknown"
    assert "Google can't be asked: " in answers["compute.instances.create"]["detail"]


@pytest.mark.long
def test_failed_setup_is_told_beside_the_permissions(check):
    status, answers, _ = check("machine_type=no-such-type")
    assert status == 1
    assert verdicts(answers) == {"setup": "refused"}
    assert answers["setup"]["detail"].startswith("machine_type: no zone offers 'no-such-type'")
