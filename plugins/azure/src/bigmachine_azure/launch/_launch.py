"""Launching virtual machines of Azure: in the user's order, until enough run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import trio

from bigmachine.cloud import Launch, MachineNames, Refusals, Scope, for_each, poll_intervals
from bigmachine.errors import BigmachineError

from ..api._advice import explain
from ..api._errors import AzureError
from ..plan._offers import Offer
from ..resources._vm import Vm
from ..resources._vms import Vms
from ._create_vms import CreateVms
from ._launch_specification import LaunchSpecification
from ._possible_vms import PossibleVms
from ._scope import scope_of

if TYPE_CHECKING:
    from ..api._api import Api

_FOUND_SECONDS = 5.0  # in which a VM is found that was requested a moment ago


class AzureLaunch(Launch[Offer, Vm, AzureError]):
    """All launch requests of one ``start``, and their results."""

    system = "azure"
    provider = "Azure"
    alternatives = "Name other sizes or zones, allow another market or price, use another location"
    quota_advice = "request a quota increase (Quotas in the Azure portal)"

    def __init__(
        self,
        api: Api,
        vms: Vms,
        specification: LaunchSpecification,
        *,
        offers: Sequence[Offer],
        names: Iterator[str],
        location: str,
        refusals: Refusals,
    ) -> None:
        """``names`` are full names for new machines."""
        super().__init__(place=location, offers=offers, refusals=refusals)
        self._api = api
        self._all_vms = vms
        self._specification = specification
        self._names = MachineNames(names)
        self._possible = PossibleVms()

    def methods(self) -> Iterator[CreateVms]:
        """Yield one for each offer."""
        for offer in self.offers:
            yield CreateVms(
                self._api,
                self._all_vms,
                self._specification,
                offer,
                names=self._names,
                possible=self._possible,
            )

    def scope_of(self, error: AzureError, offer: Offer) -> Scope:
        """Return what an error rules out."""
        return scope_of(error, market=offer.market)

    def explain(self, error: AzureError) -> BigmachineError:
        """Return the error for the user, which tells what to do."""
        return explain(error)

    def needs_advice(self, error: AzureError) -> bool:
        """Whether the subscription, the caller or a policy is why it was refused."""
        return (error.is_forbidden or error.is_policy) and not error.is_shortage

    async def find(self, tokens: Sequence[str]) -> Sequence[Vm]:
        """Return the VMs that the requests with these tokens created, by their names.

        A list may lack what is new (bosh-azure-cpi-release issue 765). One whose request has no
        answer is looked for some seconds longer: Azure may still be at it.
        """
        possible = self._possible.of(tokens)
        found: list[Vm] = []

        async def look(id: str) -> None:
            vm = possible[id]
            with trio.move_on_after(_FOUND_SECONDS):
                for delay in poll_intervals():
                    vm = await self._all_vms.describe(id) or vm
                    if vm is not None:
                        break
                    await trio.sleep(delay)
            if vm is not None:
                found.append(vm)

        await for_each(possible, look)
        return found

    @property
    def possible_ids(self) -> set[str]:
        """The IDs of all VMs that may exist, also those that Azure has not shown yet."""
        return self._possible.ids

    async def terminate(self, vms: Sequence[Vm]) -> None:
        """Delete VMs and all that is theirs; return when all is gone.

        They are new: their operating systems have nothing to end in good order.
        """
        ids = {vm.id for vm in vms}
        await self._all_vms.delete(ids, at_once=ids)
