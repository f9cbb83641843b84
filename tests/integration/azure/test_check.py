"""``bigmachine check azure`` asks for all permissions of sessions, and changes nothing."""

from __future__ import annotations

import json

import pytest

from bigmachine.cli import main
from tests.support.azure import role
from tests.support.azure.arm import LOCATION
from tests.support.azure.fixtures import SIZE, own_identity

CONSOLE = "Microsoft.Compute/virtualMachines/retrieveBootDiagnosticsData/action"
CREATE = "Microsoft.Compute/virtualMachines/write"


@pytest.fixture
def check(arm, monkeypatch, capsys):
    """Run the command; return its exit status, the answers by request, and its advice."""
    arm.groups.add("lab")
    given = {
        "ENDPOINT_URL": arm.url,
        "LOCATION": LOCATION,
        "RESOURCE_GROUP": "lab",
        "VM_SIZE": SIZE,
        "ALLOW": "192.0.2.7/32",
        "IDENTITY": own_identity(arm),
    }
    for key, value in given.items():
        monkeypatch.setenv(f"BIGMACHINE_AZURE_{key}", value)

    def check(*options: str):
        words = [word for option in options for word in ("-o", option)]
        status = main(["check", "azure", "--json", *words])
        report = json.loads(capsys.readouterr().out)
        assert [call.method for call in arm.asked if call.verb != "GET"] == []
        return status, {one["request"]: one for one in report["requests"]}, report["advice"]

    return check


def verdicts(answers) -> dict[str, str]:
    """Return the answers other than "ok", by request."""
    return {name: one["verdict"] for name, one in answers.items() if one["verdict"] != "ok"}


def test_check_asks_for_every_permission_of_the_role_and_changes_nothing(check, arm):
    status, answers, advice = check()
    assert (status, verdicts(answers), advice) == (0, {}, "")
    assert {*answers} == {"setup", *role.granted()}
    assert f"spot {SIZE}" in answers["setup"]["detail"]
    assert arm.count("permissions.list_for_resource_group") == 1
    assert arm.count("permissions.list_for_subscription") == 1
    assert arm.leftovers() == []


def test_missing_permissions_fail_with_the_commands_that_grant_them(check, arm):
    arm.access.denied |= {CREATE, CONSOLE}
    status, answers, advice = check()
    assert status == 1
    assert verdicts(answers) == {CREATE: "denied", CONSOLE: "denied"}
    assert "errors don't show the consoles of machines" in answers[CONSOLE]["detail"]
    assert f'"Actions": ["{CREATE}"]' in advice
    assert f"--scope /subscriptions/{arm.subscription}" in advice
    assert "with `az role definition update`" in advice  # names of roles are unique in the tenant
    arm.access.denied.remove(CREATE)
    assert check()[0] == 0
    assert check("verify_boot=yes")[0] == 1


@pytest.mark.long
def test_permissions_are_unknown_if_azure_cannot_be_asked(check, arm):
    arm.access.can_be_asked = False
    status, answers, _ = check()
    assert status == 0
    assert answers["setup"]["verdict"] == "ok"  # which has really read
    assert answers[CREATE]["verdict"] == "unknown"
    assert "Azure can't be asked: " in answers[CREATE]["detail"]


@pytest.mark.long
def test_failed_setup_is_told_beside_the_permissions(check):
    status, answers, _ = check("vm_size=Standard_D2s_v77")
    assert status == 1
    assert verdicts(answers) == {"setup": "refused"}
    assert "vm_size: " in answers["setup"]["detail"]


@pytest.mark.long
def test_option_that_is_wrong_whatever_azure_says_is_all_that_is_told(check, arm):
    _, answers, _ = check("image=debian-13")
    assert [*answers] == ["setup"]
    assert "invalid option image: must be PUBLISHER:OFFER" in answers["setup"]["detail"]
    assert arm.asked == []
