"""Buying by CreateFleet: several types and subnets, on one market, in one request."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import trio

from ._api import Api
from ._errors import AwsError
from ._machines import Vm
from ._offers import Offer
from ._order import Bought, Order

logger = logging.getLogger("bigmachine.ec2")

_MOST = 500  # of the 1,000 that EC2 grants at once: "Request throttling for the Amazon EC2 API"
_DELETE_TIMEOUT = 30.0


class Fleet:
    """A `Way` with many offers: EC2 chooses among them, by their order.

    The fleet is of type ``instant``: one attempt, which gives instances, and says why there are
    no more. What it made is no longer the fleet's business, and there is nothing to delete.
    """

    most = _MOST

    def __init__(
        self, api: Api, order: Order, offers: Sequence[Offer], templates: Templates
    ) -> None:
        self.offers = offers
        self._api = api
        self._order = order
        self._templates = templates

    async def buy(self, count: int, *, request: str) -> Bought:
        """Buy as many as there are in all pools together."""
        images = {offer.image.id: offer for offer in self.offers}
        templates = {image: await self._templates.name(of) for image, of in images.items()}
        reply = await self._api.write(
            "ec2:CreateFleet",
            ClientToken=request,
            **self._order.fleet_request(self.offers, templates, count=count, request=request),
        )
        vms = [vm for raw in reply.get("Instances", ()) for vm in self._vms(raw)]
        refusals = [self._refusal(raw) for raw in reply.get("Errors", ())]
        if not vms and not refusals:
            unsaid = AwsError("ec2:CreateFleet", "UnfulfillableCapacity", "none, without a reason")
            refusals = [(offer, unsaid) for offer in self.offers]
        return Bought(
            vms,
            refusals,
            is_passing=any(e.is_temporary or e.is_unknown_template for _, e in refusals),
        )

    def _vms(self, raw: Mapping[str, Any]) -> list[Vm]:
        offer = self._offer(raw)
        described = {
            "State": {"Name": "pending"},
            "InstanceType": offer.kind.name,
            "Placement": {"AvailabilityZone": offer.subnet.zone},
            "InstanceLifecycle": offer.market,
        }
        return [Vm.of({**described, "InstanceId": id}) for id in raw["InstanceIds"]]

    def _refusal(self, raw: Mapping[str, Any]) -> tuple[Offer, AwsError]:
        # What a fleet tells of a pool is what RunInstances would: the right to it, for one.
        error = AwsError("ec2:RunInstances", raw["ErrorCode"], raw.get("ErrorMessage", ""))
        return self._offer(raw), error

    def _offer(self, raw: Mapping[str, Any]) -> Offer:
        """Return the offer that an item of the answer is about."""
        overrides = raw.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
        place = overrides.get("InstanceType"), overrides.get("SubnetId")
        named = (o for o in self.offers if (o.kind.name, o.subnet.id) == place)
        return next(named, self.offers[0])


class Templates:
    """The launch templates of one start, which fleets need: made when asked for, gone at its end.

    Use it as an async context manager. What can't be deleted is left to `Leftovers`.
    """

    def __init__(self, api: Api, order: Order, *, session: str) -> None:
        self._api = api
        self._order = order
        self._session = session
        self._made: dict[tuple[str, str], str] = {}

    async def __aenter__(self) -> Templates:
        return self

    async def __aexit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.move_on_after(_DELETE_TIMEOUT, shield=True):
            try:
                for name in self._made.values():
                    await self._delete(name)
            except AwsError as error:
                logger.warning("a launch template is left until the session ends: %s", error)

    async def name(self, offer: Offer) -> str:
        """Return the name of the template for this market and image. Raises `AwsError`."""
        key = offer.market, offer.image.id
        if key not in self._made:
            token = secrets.token_hex(8)
            # Known before it exists, so that it is deleted even when its answer was lost.
            name = self._made[key] = f"bigmachine-{self._session}-{token}"
            request = self._order.template_request(offer, name=name)
            await self._api.write("ec2:CreateLaunchTemplate", ClientToken=token, **request)
        return self._made[key]

    async def _delete(self, name: str) -> None:
        try:
            await self._api.write("ec2:DeleteLaunchTemplate", LaunchTemplateName=name)
        except AwsError as error:
            if not error.is_missing:  # whose request was refused, or its answer lost
                raise
