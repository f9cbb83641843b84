"""Launching instances of Compute Engine: in the user's order, until enough run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bigmachine.cloud import Launch, MachineNames, Refusals, Scope, report_down
from bigmachine.errors import BigmachineError

from ..api._advice import explain
from ..api._errors import GcpError, preemption_error
from ..plan._offers import Offer, bulk_groups
from ..resources._bulk_operations import await_launched, await_operations
from ..resources._terminations import Terminations
from ..resources._vm import Vm
from ..resources._vms import Vms
from ._bulk_insert import BulkInsert, RegionalBulkInsert
from ._instance_addresses import await_addresses, why_down
from ._launch_specification import LaunchSpecification
from ._scope import scope_of

if TYPE_CHECKING:
    from ..api._api import Api

_OPERATION_SECONDS = 30.0  # to launch takes less; what comes later is freed with the session


class GcpLaunch(Launch[Offer, Vm, GcpError]):
    """All launch requests of one ``start``, and their results."""

    system = "gcp"
    provider = "Compute Engine"
    quota_advice = "request a quota increase (IAM & Admin, Quotas)"

    def __init__(
        self,
        api: Api,
        vms: Vms,
        specification: LaunchSpecification,
        *,
        offers: Sequence[Offer],
        names: Iterator[str],
        region: str,
        terminations: Terminations,
        refusals: Refusals,
    ) -> None:
        super().__init__(place=region, offers=offers, refusals=refusals)
        self._api = api
        self._all_vms = vms
        self._specification = specification
        self._names = MachineNames(names)
        self._terminations = terminations
        self.unfinished: set[str] = set()
        """The tokens of requests whose operations still ran when they were last looked at."""

    async def machines(self, count: int, *, is_public: bool) -> Sequence[Vm]:
        """Launch ``count`` instances, or as many as there are, and wait for their addresses.

        ``is_public`` is whether they must have external ones, too. Raises `GcpError`, or the error
        for the user if there is no instance.
        """
        while True:
            await self.run(count)
            await self.confirm()
            up, down = await await_addresses(self._all_vms, self.vms, is_public=is_public)
            if not self._may_replace(down):
                report_down(up, down, why=why_down, logger=self.logger)
                return up

    def methods(self) -> Iterator[BulkInsert]:
        """Yield a request for each group of offers; a zonal one for each, if that is refused.

        Compute Engine may give up a request when the zone and type that it has chosen fail. Then
        the offers that have not failed are requested, until there are none.
        """
        for offers in bulk_groups(self.offers):
            left = [offer for offer in offers if not self.ruled_out.covers([offer])]
            while len(left) > 1 and not self.ruled_out.has_method(RegionalBulkInsert):
                method = self._method(RegionalBulkInsert, left)
                yield method
                if not self.ruled_out.has_method(RegionalBulkInsert):
                    left = [o for o in left if o not in method.failed] if method.failed else []
            for offer in left:
                yield self._method(BulkInsert, [offer])

    def _method(self, method: type[BulkInsert], offers: Sequence[Offer]) -> BulkInsert:
        return method(
            self._api,
            self._all_vms,
            self._specification,
            offers,
            self._names,
            self._terminations,
        )

    def scope_of(self, error: GcpError, offer: Offer) -> Scope:
        """Return what an error rules out."""
        return scope_of(error, market=offer.market)

    def explain(self, error: GcpError) -> BigmachineError:
        """Return the error for the user, which tells what to do."""
        return explain(error)

    async def find(self, tokens: Sequence[str]) -> Sequence[Vm]:
        """Return the instances that the requests with these tokens launched.

        While an operation of one of them runs, more may come: it is waited for, not for long.
        """
        zones = [*dict.fromkeys(offer.zone for offer in self.offers)]
        launched: Sequence[Vm] = ()
        try:
            created, unfinished = await await_operations(
                self._api, tokens, zones, seconds=_OPERATION_SECONDS
            )
            self.unfinished = self.unfinished.difference(tokens) | unfinished
            if created:
                launched = await await_launched(self._all_vms, tokens, created)
        except GcpError as error:  # the instances are looked for anyway
            self.logger.debug("operations without an answer are unknown: %s", error)
        listed = await self._all_vms.find(tokens=tokens, zones=zones)
        return [*{vm.id: vm for vm in (*launched, *listed)}.values()]

    def _may_replace(self, down: Sequence[Vm]) -> bool:
        """Whether there are other offers for spot instances that were preempted at once."""
        error = preemption_error("the spot instance was preempted before it had an address")
        lost = [vm for vm in down if vm.has_ended and vm.market == "spot"]
        return self.note_lost([(vm, self._offer(vm), error) for vm in lost])

    def _offer(self, vm: Vm) -> Offer:
        """Return the offer that an instance was launched for."""
        return next((o for o in self.offers if o.price_key == vm.price_key), self.offers[0])

    async def terminate(self, vms: Sequence[Vm]) -> None:
        """Delete instances; return when all are gone."""
        await self._all_vms.delete({vm.id for vm in vms})
