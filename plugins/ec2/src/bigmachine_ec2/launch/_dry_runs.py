"""Dry runs of the requests that `start` will send: AWS checks them, and carries out none."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bigmachine.boot import Driver
from bigmachine.cloud import Scope

from ..api._advice import explain
from ..api._api import Api
from ..api._errors import AwsError
from ..options._options import Ec2Options
from ..options._tags import session_tags
from ..plan._launch_plan import LaunchPlan
from ..plan._offers import Offer, fleet_groups, is_for_fleet
from ..resources._security_group import group_request
from ._launch_specification import LaunchSpecification
from ._scope import scope_of

logger = logging.getLogger("bigmachine.ec2")

DRY_RUN_NAME = "bigmachine-dry-run"
"""The name of what dry runs pretend to create."""


@dataclass(frozen=True, slots=True, eq=False)
class DryRun:
    """A request that would launch something; ``offer`` is what RunInstances would purchase."""

    action: str
    parameters: Mapping[str, Any]
    offer: Offer | None = None

    def is_permitted(self, error: AwsError) -> bool:
        """Whether the request would be permitted although its dry run got this error.

        A fleet's launch template does not exist. RunInstances has had the rest checked.
        """
        return self.action == "ec2:CreateFleet" and not error.is_forbidden


@dataclass(frozen=True, slots=True)
class DryRuns:
    """All dry runs of launches of a plan with some options."""

    options: Ec2Options
    plan: LaunchPlan

    def groups(self) -> Iterator[DryRun]:
        """Yield the request for a security group, if the session creates one."""
        if not self.options.security_groups:
            group = group_request(DRY_RUN_NAME, vpc=self.plan.network.vpc, tags=self._tags)
            yield DryRun("ec2:CreateSecurityGroup", group)

    def instances(self) -> Iterator[DryRun]:
        """Yield a request for an instance of each type on each market, in the plan's order."""
        first: dict[tuple[str, str], Offer] = {}
        for offer in self.plan.offers:
            first.setdefault((offer.market, offer.instance_type.name), offer)
        for offer in first.values():
            request = self._specification.run_instances_request(offer)
            yield DryRun("ec2:RunInstances", {"MinCount": 1, "MaxCount": 1, **request}, offer)

    def fleets(self) -> Iterator[DryRun]:
        """Yield the requests for a fleet and its launch template, if the session creates some."""
        offers = next((of for of in fleet_groups(self.plan.offers) if is_for_fleet(of)), None)
        if offers:
            specification = self._specification
            template = specification.launch_template_request(offers[0], name=DRY_RUN_NAME)
            yield DryRun("ec2:CreateLaunchTemplate", template)
            templates = {offer.image.id: DRY_RUN_NAME for offer in offers}
            fleet = specification.create_fleet_request(offers, templates, count=1, token="")
            yield DryRun("ec2:CreateFleet", fleet)

    @property
    def _tags(self) -> dict[str, str]:
        return session_tags("dry-run", Driver.here(), self.options)

    @property
    def _specification(self) -> LaunchSpecification:
        groups = self.options.security_groups
        return LaunchSpecification(self.options, tags=self._tags, groups=groups)


async def dry_run_requests(
    api: Api, o: Ec2Options, plan: LaunchPlan, *, caller_arn: str
) -> LaunchPlan:
    """Have AWS check the requests that `start` will send, by dry runs.

    Returns the plan without offers that are refused while others are not: types, or a market. That
    is logged. ``caller_arn`` is the ARN of the credentials. Raises `AwsError`.
    """
    for one in DryRuns(o, plan).groups():
        await api.dry_run(one.action, **one.parameters)
    plan = await _without_refused(api, o, plan, caller_arn=caller_arn)
    for one in DryRuns(o, plan).fleets():
        try:
            await api.dry_run(one.action, **one.parameters)
        except AwsError as error:
            if not (one.is_permitted(error) or error.is_fleet_refused):
                raise
    return plan


async def _without_refused(
    api: Api, o: Ec2Options, plan: LaunchPlan, *, caller_arn: str
) -> LaunchPlan:
    """Return the plan without the types and markets that dry runs of RunInstances refuse.

    On each market, types are tried in order until one is accepted: what denies one, such as an
    organization's policy, may allow another. Raises `AwsError` if none is accepted.
    """
    accepted: set[str] = set()
    refused: dict[tuple[str, str], AwsError] = {}
    for one in DryRuns(o, plan).instances():
        assert one.offer
        market, name = one.offer.market, one.offer.instance_type.name
        if market in accepted:
            continue
        try:
            await api.dry_run(one.action, **one.parameters)
        except AwsError as error:
            if not error.is_shortage:  # that may be over later, or in another zone
                if scope_of(error, market=market) is Scope.ALL and not error.is_denied:
                    raise
                refused[market, name] = error
                continue
        accepted.add(market)
    if not accepted:
        raise [*refused.values()][-1]
    what = {
        name if market in accepted else f"{market} instances": refusal
        for (market, name), refusal in refused.items()
    }
    for words, refusal in what.items():
        why = explain(refusal, caller_arn=caller_arn)
        logger.warning("this session goes on without %s: %s", words, why)
    offers = [of for of in plan.offers if (of.market, of.instance_type.name) not in refused]
    return dataclasses.replace(plan, offers=tuple(of for of in offers if of.market in accepted))
