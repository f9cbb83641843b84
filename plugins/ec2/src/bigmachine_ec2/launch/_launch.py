"""Launching instances of EC2, by fleets or one offer after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bigmachine import cloud
from bigmachine.errors import BigmachineError

from ..api._advice import explain
from ..api._api import Api
from ..api._errors import AwsError
from ..plan._offers import Offer, fleet_groups, is_for_fleet
from ..resources._vm import Vm
from ..resources._vms import Vms
from ._create_fleet import CreateFleet
from ._instance_addresses import await_addresses, why_down
from ._launch_specification import LaunchSpecification
from ._launch_templates import LaunchTemplates
from ._run_instances import RunInstances
from ._scope import scope_of


class Launch(cloud.Launch[Offer, Vm, AwsError]):
    """All launch requests of one ``start``, and their results."""

    system = "ec2"
    provider = "EC2"
    alternatives = "Name other types or subnets, allow another market or price, use another region"
    quota_advice = "request a quota increase (Service Quotas, Amazon EC2)"

    def __init__(
        self,
        api: Api,
        vms: Vms,
        specification: LaunchSpecification,
        *,
        offers: Sequence[Offer],
        session: str,
        caller_arn: str,
        refusals: cloud.Refusals,
    ) -> None:
        """``caller_arn`` is the ARN of the credentials, for errors."""
        super().__init__(place=api.region, offers=offers, refusals=refusals)
        self._api = api
        self._region_vms = vms
        self._specification = specification
        self._caller_arn = caller_arn
        self._templates = LaunchTemplates(api, specification, session=session)

    async def machines(self, names: Sequence[str], *, is_public: bool) -> Sequence[Vm]:
        """Launch an instance for each name, or as many as EC2 has, and wait for their addresses.

        ``is_public`` selects the public or the private address. Raises `AwsError`, or the error
        for the user if there is no instance.
        """
        while True:
            await self.run(len(names))
            await self.confirm()
            up, down = await await_addresses(
                self._region_vms, self.vms, names=names, is_public=is_public
            )
            if not self._may_replace(down):
                cloud.report_down(up, down, why=why_down, logger=self.logger)
                return up

    async def run(self, count: int) -> None:
        """Launch ``count`` instances, or as many as EC2 has."""
        async with self._templates:
            await super().run(count)

    def methods(self) -> Iterator[CreateFleet | RunInstances]:
        """Yield the fleets, and what is launched without one."""
        for offers in fleet_groups(self.offers):
            if is_for_fleet(offers) and not self.ruled_out.has_method(CreateFleet):
                yield CreateFleet(self._api, self._specification, offers, self._templates)
                if not self.ruled_out.has_method(CreateFleet):
                    continue
            for offer in offers:
                yield RunInstances(self._api, self._specification, offer)

    def scope_of(self, error: AwsError, offer: Offer) -> cloud.Scope:
        """Return what an error rules out that a launch of this offer had."""
        return scope_of(error, market=offer.market)

    def explain(self, error: AwsError) -> BigmachineError:
        """Return the error for the user."""
        return explain(error, caller_arn=self._caller_arn)

    async def find(self, tokens: Sequence[str]) -> Sequence[Vm]:
        """Return the live instances that the requests with these tokens launched."""
        return await self._region_vms.find(request=tokens)

    async def terminate(self, vms: Sequence[Vm]) -> None:
        """Terminate instances; return when all are terminated."""
        await self._region_vms.terminate({vm.id for vm in vms})

    def needs_advice(self, error: AwsError) -> bool:
        """Whether it is refused to this account or this caller, or for a disk's key."""
        is_refused = error.is_forbidden or bool(error.outside_free_plan) or error.is_of_key
        return is_refused and not error.is_shortage

    def _may_replace(self, down: Sequence[Vm]) -> bool:
        """Whether there are other offers for instances that spot's role could not launch.

        EC2 asks for the key of a disk only while it launches an instance. Then spot is ruled out.
        """
        lost = [vm for vm in down if vm.market == "spot" and vm.error.is_of_key]
        return self.note_lost([(vm, self._offer(vm), vm.error) for vm in lost])

    def _offer(self, vm: Vm) -> Offer:
        """Return the offer that an instance was launched for, or another one on its market."""
        offers = [offer for offer in self.offers if offer.market == vm.market]
        keys = [offer for offer in offers if offer.price_key == vm.price_key]
        return (keys or offers)[0]
