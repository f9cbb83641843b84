"""Launching by CreateFleet: several types and subnets, on one market, in one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bigmachine.cloud import LaunchResult

from ..api._api import Api
from ..api._errors import AwsError
from ..plan._offers import Offer
from ..resources._vm import Vm
from ._launch_specification import LaunchSpecification
from ._launch_templates import LaunchTemplates
from ._run_instances import MAX_COUNT


class CreateFleet:
    """A `LaunchMethod` with many offers: EC2 chooses among them, in their order.

    The fleet is of type ``instant``: it makes one attempt, which returns instances and says why
    there are no more. It does not manage them afterwards, and needs no deletion.
    """

    max_count = MAX_COUNT

    def __init__(
        self,
        api: Api,
        specification: LaunchSpecification,
        offers: Sequence[Offer],
        templates: LaunchTemplates,
    ) -> None:
        self.offers = offers
        self._api = api
        self._specification = specification
        self._templates = templates

    async def launch(self, count: int, *, token: str) -> LaunchResult[Offer, Vm]:
        """Launch as many as all capacity pools have together."""
        images = {offer.image.id: offer for offer in self.offers}
        templates = {image: await self._templates.name(of) for image, of in images.items()}
        reply = await self._api.write(
            "ec2:CreateFleet",
            ClientToken=token,
            **self._specification.create_fleet_request(
                self.offers, templates, count=count, token=token
            ),
        )
        vms = [vm for raw in reply.get("Instances", ()) for vm in self._vms(raw)]
        self._api.note_new(*(vm.id for vm in vms))
        errors = [self._error(raw) for raw in reply.get("Errors", ())]
        if not vms and not errors:
            unexplained = AwsError("ec2:CreateFleet", "UnfulfillableCapacity", "no reason given")
            errors = [(offer, unexplained) for offer in self.offers]
        return LaunchResult(
            vms,
            errors,
            is_temporary=any(e.is_temporary or self._api.is_about_new(e) for _, e in errors),
        )

    def _vms(self, raw: Mapping[str, Any]) -> list[Vm]:
        offer = self._offer(raw)
        described = {
            "State": {"Name": "pending"},
            "InstanceType": offer.instance_type.name,
            "Placement": {"AvailabilityZone": offer.subnet.zone},
            "InstanceLifecycle": offer.market,
        }
        return [Vm.from_response({**described, "InstanceId": id}) for id in raw["InstanceIds"]]

    def _error(self, raw: Mapping[str, Any]) -> tuple[Offer, AwsError]:
        # A fleet reports for a pool what RunInstances would: a missing permission, for one.
        error = AwsError("ec2:RunInstances", raw["ErrorCode"], raw.get("ErrorMessage", ""))
        return self._offer(raw), error

    def _offer(self, raw: Mapping[str, Any]) -> Offer:
        """Return the offer that an item of the response is about."""
        overrides = raw.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
        pool = overrides.get("InstanceType"), overrides.get("SubnetId")
        matches = (o for o in self.offers if (o.instance_type.name, o.subnet.id) == pool)
        return next(matches, self.offers[0])
