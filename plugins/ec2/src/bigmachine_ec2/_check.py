"""``bigmachine check ec2``: AWS's answers to each kind of request that sessions make.

Reads are real; all other requests are dry runs. Requests about resources that exist only in a
session name one of a session's, if there is any, else a made-up id. AWS checks the permission
first: where a policy permits tagged resources only, as ours does, it denies the request for an id
that does not exist (karpenter-provider-aws, issue 2100); an answer that there is none such means
that the request is permitted.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigmachine.boot import PORT
from bigmachine.cloud import for_each
from bigmachine.errors import BigmachineError, UsageError
from bigmachine.system import CheckedRequest, CheckReport, Instance, Verdict

from .api._advice import explain, missing_permission
from .api._api import Api
from .api._errors import AwsError
from .catalog._images import default_image
from .launch._dry_runs import DryRun, DryRuns
from .options import _tags
from .options._options import Ec2Options
from .plan._launch_plan import LaunchPlan
from .resources._leftovers import GROUP, IN_USE, REQUEST, TEMPLATE, VOLUME
from .resources._region import Region
from .resources._vm import Vm

POLICY = Path(__file__).with_name("policy.json")
"""The IAM policy that permits all requests of the plugin."""

_EXPLICIT = "explicit deny"  # so says AWS's answer if a policy denies the action by name
_UNKNOWN = (
    "AWS can't say before a session has such a resource, if the policy permits tagged ones only, "
    "as bigmachine's does; check again while a session has machines"
)
_NO_PLAN = "not tried, because the setup failed"
_LITTLE: Mapping[str, Any] = {"MaxResults": 5}
_TYPE = "m5.large"
_ONE_TYPE: Mapping[str, Any] = {"Filters": [{"Name": "instance-type", "Values": [_TYPE]}]}

_FEW: Mapping[str, Mapping[str, Any]] = {
    "ec2:DescribeImages": {"Filters": [{"Name": "image-id", "Values": ["ami-0123456789abcdef0"]}]},
    "ec2:DescribeInstanceTypeOfferings": _ONE_TYPE,
    "ec2:DescribeInstanceTypes": _ONE_TYPE,
    "ec2:DescribeInstances": _LITTLE,
    "ec2:DescribeLaunchTemplates": _LITTLE,
    "ec2:DescribeRouteTables": _LITTLE,
    "ec2:DescribeSecurityGroups": _LITTLE,
    "ec2:DescribeSpotInstanceRequests": _LITTLE,
    "ec2:DescribeSpotPriceHistory": {"InstanceTypes": [_TYPE], **_LITTLE},
    "ec2:DescribeSubnets": _LITTLE,
    "ec2:DescribeVolumes": _LITTLE,
    "ec2:DescribeVpcs": _LITTLE,
    "pricing:GetProducts": {
        "ServiceCode": "AmazonEC2",
        "Filters": [{"Type": "TERM_MATCH", "Field": "instanceType", "Value": _TYPE}],
        "MaxResults": 1,
    },
    "service-quotas:GetServiceQuota": {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"},
}
"""Parameters of reads, with which AWS returns little; others are sent without any."""

_WITHOUT = {
    "ec2:CreateFleet": "machines are launched by RunInstances, zone by zone",
    "ec2:CreateTags": "other processes list machines by their ids, not by their names",
    "ec2:DescribeKeyPairs": "it is for the option key_pair",
    "ec2:DescribePlacementGroups": "it is for the option placement_group",
    "ec2:DescribeRouteTables": "subnets without a route to the internet are not noticed",
    "ec2:DescribeSpotPriceHistory": "prices of spot instances are unknown",
    "ec2:GetConsoleOutput": "errors don't show the consoles of machines",
    "ec2:RevokeSecurityGroupIngress": "a driver whose address changes is not let in again",
    "pricing:GetProducts": "prices are unknown",
    "service-quotas:GetServiceQuota": "quotas are unknown",
}
"""What is missing without a request that sessions can do without."""


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    """A request to try: ``parameters`` are None if it can't be. A made-up id is not known."""

    action: str
    parameters: Mapping[str, Any] | None
    about: str = ""
    is_made_up: bool = False
    dry_run: DryRun | None = None

    @property
    def name(self) -> str:
        return f"{self.action} ({self.about})" if self.about else self.action


@dataclass
class Check:
    """Tries all requests of sessions with ``options``.

    ``setup`` is a session's own, and ``make_plan`` that part of it that only looks; both must use
    the `Api` of ``region``, which from now on changes nothing.
    """

    region: Region
    options: Ec2Options
    setup: Callable[[], Awaitable[None]]
    make_plan: Callable[[], Awaitable[LaunchPlan]]
    _plan: LaunchPlan | None = None
    _ids: dict[str, str] = field(default_factory=dict)  # of sessions' resources, by prefix
    _missing: set[str] = field(default_factory=set)  # actions that a policy must permit
    _caller_arn: str = ""

    async def run(self) -> CheckReport:
        """Try all. Raises `AwsError`, or an error for users, if there are no valid credentials."""
        api = self.region.api
        api.forbid_changes()
        self._caller_arn = await api.caller_arn()
        found = [CheckedRequest("sts:GetCallerIdentity", Verdict.OK, self._caller_arn)]
        with contextlib.suppress(BigmachineError):  # the setup shows it
            self._plan = await self.make_plan()
        try:
            await self.setup()
        except BigmachineError as error:
            setup = CheckedRequest.of_setup(Verdict.REFUSED, str(error))
        else:
            setup = CheckedRequest.of_setup(Verdict.OK, _planned(self._plan))
        await self._find_ids()
        tries = [*self._reads(), *self._changes()]
        answers: dict[_Try, CheckedRequest] = {}

        async def send(one: _Try) -> None:
            answers[one] = await self._answer(api, one)

        await for_each(tries, send)
        found += [answers[one] for one in tries]
        return CheckReport(
            [found[0], setup, *_with_alternatives(found[1:])],
            _advice(self._missing, self._caller_arn),
        )

    def _reads(self) -> Iterator[_Try]:
        for action in sorted(map(_called, _permitted())):
            if action in _FEW or ":Describe" in action:
                yield _Try(action, _FEW.get(action, {}))
        if not self.options.image.startswith("ami-"):
            with contextlib.suppress(UsageError):  # the setup has said so
                name = self.options.image or default_image("x86_64")
                yield _Try("ssm:GetParameter", {"Name": name})
        yield self._about("ec2:GetConsoleOutput", "i-", "InstanceId")

    def _changes(self) -> Iterator[_Try]:
        yield from self._launches()
        port = {"IpProtocol": "tcp", "FromPort": PORT, "ToPort": PORT}
        permission = {**port, "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}  # of nobody (RFC 5737)
        for verb in ("Authorize", "Revoke"):
            action = f"ec2:{verb}SecurityGroupIngress"
            group = self._about(action, GROUP.id_prefix, "GroupId")
            yield _with(group, IpPermissions=[permission])
        yield _with(
            self._about("ec2:CreateTags", "i-", "Resources", is_list=True),
            Tags=_tags.pairs({_tags.MACHINES: "m0=000"}),
        )
        yield self._about("ec2:TerminateInstances", "i-", "InstanceIds", is_list=True)
        for kind in (REQUEST, VOLUME, GROUP, TEMPLATE):
            id, is_made_up = self._id(kind.id_prefix)
            parameters = kind.delete_parameters(kind.id_key, id)
            yield _Try(kind.delete, parameters, is_made_up=is_made_up)

    def _launches(self) -> Iterator[_Try]:
        plan = self._plan
        if plan is None:
            for action in ("CreateSecurityGroup", "RunInstances", "CreateLaunchTemplate"):
                yield _Try(f"ec2:{action}", None)
            yield _Try("ec2:CreateFleet", None)
            return
        dry_runs = DryRuns(self.options, plan)
        for one in (*dry_runs.groups(), *dry_runs.instances(), *dry_runs.fleets()):
            yield _Try(one.action, one.parameters, str(one.offer or ""), dry_run=one)

    def _about(self, action: str, prefix: str, key: str, *, is_list: bool = False) -> _Try:
        id, is_made_up = self._id(prefix)
        return _Try(action, {key: [id] if is_list else id}, is_made_up=is_made_up)

    def _id(self, prefix: str) -> tuple[str, bool]:
        return self._ids.get(prefix, f"{prefix}0123456789abcdef0"), prefix not in self._ids

    async def _find_ids(self) -> None:
        """Find resources of sessions, of any driver."""
        kinds = (REQUEST, VOLUME, GROUP, TEMPLATE)
        steps: list[Callable[[], Awaitable[Sequence[Vm | Instance]]]] = [self.region.vms.find]
        steps += [functools.partial(self.region.leftovers.find, kind) for kind in kinds]

        async def find(step: Callable[[], Awaitable[Sequence[Vm | Instance]]]) -> None:
            with contextlib.suppress(AwsError):  # the reads show it
                self._ids.update({f"{one.id.partition('-')[0]}-": one.id for one in await step()})

        await for_each(steps, find)

    async def _answer(self, api: Api, one: _Try) -> CheckedRequest:
        is_needed = one.action not in _WITHOUT or self._depends_on(one.action)
        if one.parameters is None:
            return CheckedRequest(one.name, Verdict.UNKNOWN, _NO_PLAN)
        try:
            if ":Describe" in one.action or not one.action.startswith("ec2:"):
                await api.read(one.action, **one.parameters)
            else:
                await api.dry_run(one.action, **one.parameters)
        except AwsError as error:
            if one.is_made_up and (
                error.code.endswith(".Malformed")
                or (error.is_denied and _EXPLICIT not in error.message)
            ):
                return CheckedRequest(one.name, Verdict.UNKNOWN, _UNKNOWN)
            is_permitted = (
                (one.is_made_up and (error.is_not_found or error.code == "InvalidID"))
                or error.code in IN_USE
                or (one.dry_run and one.dry_run.is_permitted(error))
            )
            if error.is_fleet_refused:
                is_needed, is_permitted = False, False
            if not is_permitted:
                text = str(explain(error, caller_arn=self._caller_arn))
                if not is_needed:
                    text = f"{text.rstrip('.')}. Sessions work without it: {_WITHOUT[one.action]}"
                if action := missing_permission(error):
                    self._missing.add(action)
                verdict = Verdict.DENIED if error.is_denied else Verdict.REFUSED
                return CheckedRequest(one.name, verdict, text, is_needed=is_needed)
        return CheckedRequest(one.name, Verdict.OK)

    def _depends_on(self, action: str) -> bool:
        """Whether the options need what sessions can otherwise do without."""
        o = self.options
        return (
            action == "ec2:CreateFleet"  # unless fleets alone are refused
            or (action == "ec2:DescribeKeyPairs" and bool(o.key_pair))
            or (action == "ec2:DescribePlacementGroups" and bool(o.placement_group))
            or (action == "ec2:GetConsoleOutput" and o.verify_boot)
            or (
                action in ("ec2:DescribeSpotPriceHistory", "pricing:GetProducts")
                and o.max_session_cost is not None
            )
        )


def _with(one: _Try, **parameters: Any) -> _Try:
    return _Try(one.action, {**(one.parameters or {}), **parameters}, is_made_up=one.is_made_up)


def _with_alternatives(requests: Iterable[CheckedRequest]) -> Iterator[CheckedRequest]:
    """Yield the requests; one launch that works, of any type on any market, is enough."""
    requests = [*requests]
    launches = [one for one in requests if one.name.startswith("ec2:RunInstances")]
    works = any(one.verdict is Verdict.OK for one in launches)
    for one in requests:
        is_needed = one.is_needed and not (works and one in launches)
        yield CheckedRequest(one.name, one.verdict, one.detail, is_needed=is_needed)


def _planned(plan: LaunchPlan | None) -> str:
    """Say what a session would try first."""
    return f"a session would try first: {plan.offers[0]}" if plan else ""


def _permitted() -> set[str]:
    """Return the actions that the policy permits: all of this plugin's, named as there."""
    statements = json.loads(POLICY.read_text())["Statement"]
    return {action for statement in statements for action in statement["Action"]}


def _called(action: str) -> str:
    """Return an action of a policy by the name that boto3 has for its service."""
    return action.replace("servicequotas:", "service-quotas:")


def _advice(missing: Set[str], caller_arn: str) -> str:
    """Return the statements of the policy that permit what is missing, ready to be attached."""
    partition = caller_arn.split(":")[1] if caller_arn.startswith("arn:") else "aws"
    statements = [
        {**statement, "Action": actions}
        for statement in json.loads(POLICY.read_text())["Statement"]
        if (actions := [action for action in statement["Action"] if _called(action) in missing])
    ]
    if not statements:
        return ""
    document = json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)
    document = document.replace("arn:aws:", f"arn:{partition}:")
    return f"To permit what was denied, attach this policy to {caller_arn}:\n{document}"
