"""``bigmachine check ec2`` tries all requests of sessions, and changes nothing."""

from __future__ import annotations

import json

import pytest

from bigmachine.cli import main
from bigmachine_ec2._check import POLICY, Check
from tests.integration.ec2.test_live_suite import changes
from tests.integration.ec2.test_reap import Region
from tests.support.aws.names import REGION, TYPE
from tests.support.aws.policy import NEEDS_NOTHING, ROLES, allowed
from tests.support.aws.refusals import (
    NO_FLEET_ROLE,
    NO_FLEETS,
    NO_SPOT_ROLE,
    ORGANIZATION,
    refuse_fleets,
    refuse_market,
)

SESSION = "a-0123abcd.bigmachine"
DENIED = "UnauthorizedOperation"
EXPLICIT = "You are not authorized, with an explicit deny in an identity-based policy."
NOT_TRIED = ("CreateSecurityGroup", "RunInstances", "CreateLaunchTemplate", "CreateFleet")


@pytest.fixture(autouse=True)
def options(aws, monkeypatch):
    aws.quotas.update({"L-1216C47A": 32.0, "L-34B43A08": 32.0})
    given = {
        "REGION": REGION,
        "ENDPOINT_URL": aws.url,
        "INSTANCE_TYPE": TYPE,
        "ALLOW": "192.0.2.7/32",
    }
    for key, value in given.items():
        monkeypatch.setenv(f"BIGMACHINE_EC2_{key}", value)


@pytest.fixture
def check(aws, capsys):
    """Run the command; return its exit status, the answers by request, and its advice."""

    def check(*options: str):
        words = [word for option in options for word in ("-o", option)]
        status = main(["check", "ec2", "--json", *words])
        report = json.loads(capsys.readouterr().out)
        assert changes(aws) == []
        return status, {one["request"]: one for one in report["requests"]}, report["advice"]

    return check


def verdicts(answers) -> dict[str, str]:
    """Return the answers other than "ok", by request."""
    return {name: one["verdict"] for name, one in answers.items() if one["verdict"] != "ok"}


def test_check_tries_every_action_of_the_policy_and_changes_nothing(check, aws):
    before = aws.leftovers()
    status, answers, advice = check()
    assert (status, verdicts(answers), advice) == (0, {}, "")
    actions = {name.partition(" ")[0] for name in answers} - {"setup"}
    policy = allowed(json.loads(POLICY.read_text())) - {ROLES} | NEEDS_NOTHING
    assert policy <= {action.replace("service-quotas:", "servicequotas:") for action in actions}
    assert f"spot {TYPE}" in answers["setup"]["detail"]
    assert aws.leftovers() == before


def test_no_change_passes_the_guard_without_a_dry_run(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.asked.clear()
        check = Check(system._region, kit.options, system.setup, _unused, system._plan)
        tries = [*check._changes()]
        tried = {one.action for one in tries}
        assert tried >= {a for a in allowed(json.loads(POLICY.read_text())) if is_change(a)}
        system._api.forbid_changes()
        for one in tries:
            for more in ({}, {"DryRun": False}):
                with pytest.raises(RuntimeError, match="is no dry run: it was not sent"):
                    await system._api.write(one.action, **one.parameters, **more)
        assert aws.asked == []

    run(test)


async def _unused():
    raise AssertionError


def is_change(action: str) -> bool:
    return action != ROLES and not action.partition(":")[2].startswith(("Describe", "Get"))


def test_denied_request_fails_with_the_policy_to_attach(check, aws, capsys):
    aws.refuse("CreateFleet", DENIED, status=403, times=4)  # the setup tries it, too
    status, answers, advice = check()
    assert status == 1
    assert answers["ec2:CreateFleet"]["verdict"] == "denied"
    _, _, document = advice.partition("\n")
    statements = json.loads(document)["Statement"]
    assert {action for one in statements for action in one["Action"]} == {"ec2:CreateFleet"}
    assert len(statements) == 2  # with what is there, and what is tagged
    assert all("Resource" in one for one in statements)
    assert main(["check", "ec2"]) == 1
    said = capsys.readouterr().out
    assert (
        "\ndenied   ec2:CreateFleet\n         arn:aws:sts::123456789012:user/moto may not call "
        in said
    )
    assert document in said
    sent = len(answers) - 1  # the setup is none
    assert said.endswith(f"\nSessions would fail in their setup, and at 1 request of {sent}.\n")


def test_permission_that_a_request_also_needs_is_the_one_to_attach(check, aws):
    """What creates and tags is denied by the name of the tagging."""
    volumes = "User: me is not authorized to perform: ec2:CreateTags on resource: volume/*"
    aws.refuse("RunInstances", DENIED, volumes, status=403, times=9)
    status, answers, advice = check("market=on-demand")
    assert status == 1
    needed = "may not call ec2:CreateTags, which ec2:RunInstances needs: add that action"
    assert needed in answers["setup"]["detail"]
    statements = json.loads(advice.partition("\n")[2])["Statement"]
    assert {action for one in statements for action in one["Action"]} == {"ec2:CreateTags"}


@pytest.mark.parametrize(
    ("refusal", "says", "advised"),
    [
        (ORGANIZATION, "an IAM policy can't change that", None),
        (NO_SPOT_ROLE, "`aws iam create-service-linked-role", ROLES),
    ],
    ids=["organization", "role for spot"],
)
def test_policy_is_advised_only_if_it_helps(check, aws, refusal, says, advised):
    refuse_market(aws, "spot", refusal, dry_runs=True)
    status, answers, advice = check("market=spot")
    assert status == 1
    assert says in answers["setup"]["detail"]
    assert (ROLES in advice) == (advised is not None)
    assert "ec2:RunInstances" not in advice


def test_denial_for_a_made_up_id_is_unknown(check, aws):
    """A policy that permits tagged resources only must deny it, as bigmachine's does."""
    aws.refuse("TerminateInstances", DENIED, status=403)
    aws.refuse("DeleteVolume", DENIED, EXPLICIT, status=403)
    status, answers, advice = check()
    unclear = {"ec2:TerminateInstances": "unknown", "ec2:DeleteVolume": "denied"}
    assert (status, verdicts(answers)) == (1, unclear)
    assert "check again while a session has machines" in answers["ec2:TerminateInstances"]["detail"]
    assert "an IAM policy denies ec2:DeleteVolume to " in answers["ec2:DeleteVolume"]["detail"]
    assert advice == ""  # to permit it would not help


def test_denial_for_a_resource_of_a_session_is_certain(check, aws):
    Region(aws).fill(SESSION)
    ids = {vm.id for vm in aws.instances()}
    aws.asked.clear()
    aws.refuse("TerminateInstances", DENIED, status=403)
    try:
        status, answers, _ = check()
    finally:
        aws.clear()
        aws.ec2.spot_instance_requests.clear()
    assert (status, verdicts(answers)) == (1, {"ec2:TerminateInstances": "denied"})
    assert {p["InstanceId.1"] for name, p in aws.asked if name == "TerminateInstances"} <= ids


def test_what_sessions_do_without_is_no_failure(check, aws):
    without = ["DescribePlacementGroups", "DescribeRouteTables"]
    for action in without:
        aws.refuse(action, DENIED, status=403, times=9)
    status, answers, advice = check()
    assert (status, verdicts(answers)) == (0, {f"ec2:{action}": "denied" for action in without})
    assert "Sessions work without it: subnets" in answers["ec2:DescribeRouteTables"]["detail"]
    assert "ec2:DescribeRouteTables" in advice


def test_one_market_that_works_is_enough(check, aws):
    def is_spot(parameters):
        return parameters.get("InstanceMarketOptions.MarketType") == "spot"

    aws.refuse("RunInstances", "MaxSpotInstanceCountExceeded", times=9, when=is_spot)
    status, answers, _ = check()
    [(name, verdict)] = verdicts(answers).items()
    assert (status, verdict) == (0, "refused")
    assert name.startswith("ec2:RunInstances (spot")


@pytest.mark.parametrize(
    ("refusal", "verdict"), [(NO_FLEETS, "refused"), (NO_FLEET_ROLE, "denied")]
)
def test_account_that_may_create_no_fleets_has_sessions(check, aws, refusal, verdict):
    refuse_fleets(aws, refusal)
    status, answers, advice = check()
    assert (status, verdicts(answers)) == (0, {"ec2:CreateFleet": verdict})
    assert "it: machines are launched by RunInstances" in answers["ec2:CreateFleet"]["detail"]
    assert advice == ""


def test_setup_that_fails_is_shown_and_the_rest_is_tried(check, aws):
    status, answers, _ = check("key_pair=none")
    assert status == 1
    assert "key_pair: there is no 'none'" in answers["setup"]["detail"]
    assert verdicts(answers) == {
        "setup": "refused",
        **dict.fromkeys((f"ec2:{action}" for action in NOT_TRIED), "unknown"),
    }


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("region=us-east", "like 'eu-central-1'"),
        ("lifetime=10", "600"),
        ("files=/a=/none", "/none"),
    ],
)
def test_invalid_option_is_the_only_answer_and_nothing_is_sent(check, aws, option, says):
    status, answers, _ = check(option)
    assert (status, verdicts(answers)) == (1, {"setup": "refused"})
    assert says in answers["setup"]["detail"]
    assert aws.asked == []


def test_rejected_credentials_are_the_only_answer(check, aws):
    aws.refuse("GetCallerIdentity", "InvalidClientTokenId", status=403)
    status, answers, _ = check()
    assert (status, verdicts(answers)) == (1, {"setup": "refused"})
    assert "AWS rejects the credentials" in answers["setup"]["detail"]
