"""Launching by RunInstances: one type, on one market, in one subnet."""

from __future__ import annotations

from bigmachine.cloud import LaunchResult

from ..api._api import Api
from ..plan._offers import Offer
from ..resources._vm import Vm
from ._launch_specification import LaunchSpecification

MAX_COUNT = 500
"""How many instances one request asks for.

EC2 grants 1,000 at once ("Request throttling for the Amazon EC2 API").
"""


class RunInstances:
    """A `LaunchMethod` with one offer."""

    max_count = MAX_COUNT

    def __init__(self, api: Api, specification: LaunchSpecification, offer: Offer) -> None:
        self.offers = [offer]
        self._api = api
        self._specification = specification

    async def launch(self, count: int, *, token: str) -> LaunchResult[Offer, Vm]:
        """Launch as many as EC2 has."""
        reply = await self._api.write(
            "ec2:RunInstances",
            MinCount=1,
            MaxCount=count,
            ClientToken=token,
            **self._specification.run_instances_request(self.offers[0], token=token),
        )
        vms = [Vm.from_response(raw) for raw in reply["Instances"]]
        self._api.note_new(*(vm.id for vm in vms))
        return LaunchResult(vms)
