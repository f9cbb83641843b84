"""The IAM policy that the ``ec2`` system wants: ``python -m tests.support.aws.policy`` writes it.

It is made from the calls that the plugin makes of the emulated AWS, each limited as far as the
Service Authorization Reference says that it can be ("Actions, resources, and condition keys for
Amazon EC2"). What a test's calls would be refused by it is noted while tests run, and fails them.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

FILE = ROOT / "plugins/ec2/src/bigmachine_ec2/policy.json"
TOUR = "tests/integration/ec2/test_policy.py::test_policy_matches_the_plugins_calls"

SESSION, MACHINES = "bigmachine:session", "bigmachine:machines"
TAGS = "ec2:CreateTags"
ROLES = "iam:CreateServiceLinkedRole"

NEEDS_NOTHING = {"sts:GetCallerIdentity"}
"""By its API reference; not even a policy that denies it keeps one from it."""

ON_KEYS = {"kms:DescribeKey"}
"""Allowed by a key's own policy, or by what a user adds for it; it is done without, too."""

ON_EVERYTHING = {"pricing:GetProducts", "servicequotas:GetServiceQuota"}
"""Besides ``ec2:Describe…``, which take no resource."""

PUBLIC_PARAMETERS = ["ssm:GetParameter"]

_INSTANCES = {"instance", "network-interface", "spot-instances-request", "volume"}
CREATES = {
    "ec2:CreateFleet": {"fleet", *_INSTANCES},
    "ec2:CreateLaunchTemplate": {"launch-template"},
    "ec2:CreateSecurityGroup": {"security-group"},
    "ec2:RunInstances": _INSTANCES,
}
"""What an action makes. An instant fleet makes its instances in its caller's name."""

LAUNCHES = {"ec2:CreateFleet", "ec2:RunInstances"}
LAUNCHED_WITH = [
    *("image", "key-pair", "launch-template"),
    *("placement-group", "security-group", "snapshot", "subnet"),
]
"""What else a launch has to do with, whosever it is."""

CHANGES = {
    "ec2:AuthorizeSecurityGroupIngress": "security-group",
    "ec2:CancelSpotInstanceRequests": "spot-instances-request",
    "ec2:DeleteLaunchTemplate": "launch-template",
    "ec2:DeleteSecurityGroup": "security-group",
    "ec2:DeleteVolume": "volume",
    "ec2:GetConsoleOutput": "instance",
    "ec2:RevokeSecurityGroupIngress": "security-group",
    "ec2:TerminateInstances": "instance",
}
"""What is done to what is there: to ours alone."""

SPOT_ROLE = ("spot.amazonaws.com", "AWSServiceRoleForEC2Spot")
"""The service and the name of the role that EC2 makes for the first spot instance of an account.

Fleets have a role, too, but "an instant EC2 Fleet does not require this role" ("EC2 Fleet
prerequisites"), and the plugin's are instant.
"""


@dataclass
class Calls:
    """The plugin's own calls: all ``actions`` so far, named as in a policy, and since `begin`."""

    actions: set[str] = field(default_factory=set)
    recent: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    """Why the policy would have refused some of the recent ones."""

    def begin(self) -> None:
        """Forget the recent ones."""
        self.recent.clear()
        self.refused.clear()

    def note(self, environ: Mapping[str, Any], name: str, parameters: Mapping[str, str]) -> None:
        """Take note of a request, unless it is a test's own."""
        if "bigmachine" not in environ.get("HTTP_USER_AGENT", ""):
            return
        # By "Signature Version 4": Credential=KEY/DATE/REGION/SERVICE/aws4_request, and services
        # sign by the names that they have in policies.
        scope = re.search(r"/(\w+)/aws4_request", environ.get("HTTP_AUTHORIZATION", ""))
        action = f"{scope[1]}:{name}" if scope else name
        self.actions.add(action)
        self.recent.add(action)
        self.refused += why_refused(action, parameters)


def policy(actions: Iterable[str]) -> dict[str, Any]:
    """Return the smallest policy for these actions. Raises `LookupError` for unknown ones."""
    wanted = {*actions} - NEEDS_NOTHING - ON_KEYS
    known = ON_EVERYTHING | {TAGS, *PUBLIC_PARAMETERS, *CREATES, *CHANGES}
    for action in sorted(wanted - known):
        if not action.startswith("ec2:Describe"):
            raise LookupError(f"{action}: say in {__file__} to what it can be limited")
    return {"Version": "2012-10-17", "Statement": [*_statements(wanted)]}


def allowed(document: Mapping[str, Any]) -> set[str]:
    """Return the actions that a policy allows."""
    return {action for statement in document["Statement"] for action in statement["Action"]}


def why_refused(action: str, parameters: Mapping[str, str]) -> list[str]:
    """Say why `FILE` would refuse a call."""
    if action in NEEDS_NOTHING | ON_KEYS:
        return []
    if action not in _granted():
        return [f"{action}: {FILE.name} does not allow it; see {Path(__file__).name}"]
    if action == TAGS:
        keys = {value for key, value in parameters.items() if re.fullmatch(r"Tag\.\d+\.Key", key)}
        return [f"{action}: of the tag {key}" for key in keys - {MACHINES}]
    missing = _made(action, parameters) - {*_tagged(parameters)}
    return [f"{action}: its {kind} has no tag {SESSION}" for kind in sorted(missing)]


@functools.cache
def _granted() -> set[str]:
    return allowed(json.loads(FILE.read_text())) if FILE.exists() else set()


def _statements(actions: set[str]) -> Iterator[dict[str, Any]]:
    made, changed = actions & {*CREATES}, actions & {*CHANGES}
    kinds = {kind for action in made for kind in CREATES[action]}
    named = {"StringLike": {f"aws:RequestTag/{SESSION}": "*"}}
    ours = {"StringLike": {f"aws:ResourceTag/{SESSION}": "*"}}
    if parameters := actions & {*PUBLIC_PARAMETERS}:
        everywhere = "arn:aws:ssm:*::parameter/aws/service/*"
        yield _statement("FindPublicImages", parameters, [everywhere])
    if looks := actions - made - changed - {TAGS, *PUBLIC_PARAMETERS}:
        yield _statement("Look", looks, ["*"])
    if launches := made & LAUNCHES:
        yield _statement("LaunchWithWhatIsThere", launches, _arns(LAUNCHED_WITH))
    if groups := made & {"ec2:CreateSecurityGroup"}:
        yield _statement("MakeGroupsInVpcs", groups, _arns(["vpc"]))
    if made:
        yield _statement("MakeWhatIsTagged", made, _arns(kinds), named)
        names = sorted(action.partition(":")[2] for action in made)
        creating = {**named, "StringEquals": {"ec2:CreateAction": names}}
        yield _statement("TagWhatIsMade", {TAGS}, _arns(kinds), creating)
    if TAGS in actions:
        only = {"ForAllValues:StringEquals": {"aws:TagKeys": [MACHINES]}}
        yield _statement("NameMachines", {TAGS}, _arns(["instance"]), {**ours, **only})
    if changed:
        kinds = {CHANGES[action] for action in changed}
        yield _statement("ChangeWhatIsOurs", changed, _arns(kinds), ours)
    if made & LAUNCHES:
        service, name = SPOT_ROLE
        arn = f"arn:aws:iam::*:role/aws-service-role/{service}/{name}"
        only = {"StringEquals": {"iam:AWSServiceName": [service]}}
        yield _statement("MakeRoleForSpot", {ROLES}, [arn], only)


def _statement(
    name: str,
    actions: Iterable[str],
    resources: Sequence[str],
    condition: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Sid": name,
        "Effect": "Allow",
        "Action": sorted(actions),
        "Resource": [*resources],
    }
    return {**statement, "Condition": condition} if condition else statement


def _arns(kinds: Iterable[str]) -> list[str]:
    # Images and snapshots have no account in their names, which a * may stand for, too.
    return [f"arn:aws:ec2:*:*:{kind}/*" for kind in sorted(kinds)]


def _made(action: str, parameters: Mapping[str, str]) -> set[str]:
    """Return the kinds of things that a request makes, and has to tag."""
    made = {*CREATES.get(action, ())}
    if action == "ec2:CreateFleet":  # tags of the others are its launch template's
        made -= {"network-interface", "spot-instances-request"}
    if parameters.get("InstanceMarketOptions.MarketType") != "spot":
        made.discard("spot-instances-request")
    if action == "ec2:CreateLaunchTemplate":
        made.add("network-interface")
    return made


def _tagged(parameters: Mapping[str, str]) -> Iterator[str]:
    """Yield the kinds that a request tags by the session."""
    for key, value in parameters.items():
        if value == SESSION and (found := re.fullmatch(r"(.*)\.Tag\.\d+\.Key", key)):
            yield parameters[f"{found[1]}.ResourceType"]


def main(arguments: list[str]) -> int:
    """Run the tests given, or the tour of all calls, and write what they come to."""
    import os

    import pytest

    os.chdir(ROOT)
    status = pytest.main(["-q", "-n0", "-p", "no:cacheprovider", *(arguments or [TOUR])])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(status)
    from tests.support.aws.aws import Aws

    text = json.dumps(policy(Aws.calls.actions), indent=2) + "\n"
    is_new = not FILE.exists() or FILE.read_text() != text
    FILE.write_text(text)
    print(f"{FILE.relative_to(ROOT)} is {'new: run this again' if is_new else 'as it was'}")
    return int(status) and int(not is_new)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
