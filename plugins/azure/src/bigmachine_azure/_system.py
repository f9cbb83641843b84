"""The ``azure`` system: machines as Azure virtual machines."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from bigmachine.boot import LaunchRequest
from bigmachine.cloud import CONTACT_SECONDS, CloudSystem
from bigmachine.errors import BigmachineError, StopReason
from bigmachine.system import CheckReport, Instance, Notice, Termination

from .options._options import AzureOptions, check_offline
from .resources._session_resources import SessionResources

if TYPE_CHECKING:
    from .api._api import Api
    from .api._errors import AzureError
    from .catalog._prices import Prices
    from .plan._launch_plan import LaunchPlan
    from .resources._access import Access
    from .resources._account import Account
    from .resources._leftovers import Leftovers
    from .resources._vm import Vm
    from .resources._vms import Vms

logger = logging.getLogger("bigmachine.azure")


class AzureSystem(CloudSystem):
    """Machines as Azure virtual machines, on demand or spot."""

    name = "azure"
    Options = AzureOptions
    provider = "Azure"
    # The time limit of a VM whose driver died before its first call, a slow boot, and up to five
    # minutes for its deletion: its interface may be held for three.
    orphan_timeout = CONTACT_SECONDS + 60.0 + 120.0 + 300.0

    options: AzureOptions
    resources: SessionResources
    access: Access | None

    def __init__(self, options: AzureOptions | None = None) -> None:
        super().__init__(options)
        self.resources = SessionResources(self.options, lambda: self._account)
        self._opened: Account | None = None
        self._plan: LaunchPlan | None = None

    async def setup(self) -> None:
        """Check the options, and with Azure all that they name."""
        from bigmachine.cloud import check_prices, within_max_price

        from .guest._guest_setup import guest_setup
        from .guest._login import login_keys
        from .options._tags import warn_of_unreadable
        from .plan._billing_leak import check_billing_leak
        from .plan._launch_plan import make_launch_plan
        from .resources._access import Access

        check_offline(self.options)
        login_keys(self.options)
        warn_of_unreadable(self.options.own_tags)
        self.guest_setup = guest_setup(self.options)
        with self.readable():
            plan = await make_launch_plan(
                self._api, self.options, address_service_url=self.address_service_url
            )
            await self._prices.fetch(offer.price_key for offer in plan.offers)
        self.access = self.access or Access(
            self._api,
            self.options,
            network=plan.network,
            allow=plan.allow,
            security_group=plan.security_group,
            location=plan.location,
            address_service_url=self.address_service_url,
        )
        # Azure keeps to the limit itself, by a VM's `billingProfile.maxPrice`: it refuses a VM
        # whose price is higher, and evicts it later. So an unknown price is no error.
        offers = within_max_price(
            self._prices, plan.offers, max_price=self.options.max_price, logger=logger
        )
        self._plan = plan = dataclasses.replace(plan, offers=offers)
        check_billing_leak(
            self.options, plan.place, self._prices, plan.offers, identity=plan.identity
        )
        if self.max_session_cost is not None:
            check_prices(self._prices, plan.offers, provider="Azure", failure=self._prices.failure)

    async def check(self) -> CheckReport:
        """Check all permissions that sessions need. This system then changes nothing any more."""
        from ._check import Check

        with self.readable():
            return await Check(self._api, self.options, self._set_up_plan).run()

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch VMs until there are enough, or Azure has no more."""
        from bigmachine.cloud import affordable

        from .launch._instance_addresses import await_addresses
        from .launch._prepare_launch import prepare_launch

        if self._plan is None:
            await self.setup()
        assert self._plan is not None
        assert self.access is not None
        plan, budget = self._plan, request.remaining_budget
        plan.quotas.warn(plan.offers, count=count)
        offers = affordable(self._prices, plan.offers, count=count, budget=budget)
        with self.readable():
            self.resources.session = request.session
            launch = await prepare_launch(
                self._account,
                self.access,
                plan,
                self.options,
                request,
                offers=offers,
                refusals=self.refusals,
            )
            try:
                await launch.run(count)
                await launch.confirm()
                is_public = self.options.public_address
                vms = await await_addresses(self._vms, launch.vms, is_public=is_public)
                if not (plan.identity or self.options.immortal):
                    await self._account.deallocation.schedule(vms, lifetime=self.options.lifetime)
            except BaseException:
                left = await launch.undo()
                self.resources.unconfirmed |= {vm.id for vm in left} | launch.possible_ids
                raise
        self.access.addresses.learn(
            {vm.internal_address: vm.external_address for vm in vms}, allow=self.access.allow
        )
        self.resources.add({vm.name: vm.id for vm in vms})
        # A list may lack a VM that failed and could not be deleted.
        self.resources.unconfirmed |= launch.possible_ids - {vm.id for vm in vms}
        self.resources.markets.update((vm.id, vm.market) for vm in vms)
        return self._priced(vms, port=self.options.port)

    def maxprocs(self) -> int | None:
        """Return how many vCPUs each VM has; None if the sizes differ, or that is unknown."""
        counts = {offer.size.vcpus for offer in self._plan.offers} if self._plan else set()
        return counts.pop() or None if len(counts) == 1 else None

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Return why the VM ended, as Azure tells it; None if it runs, or if that is unknown."""
        from .api._errors import AzureError
        from .resources._terminations import explain_ended, explain_missing

        id = self.resources.id_of(instance)
        if not id:
            return Termination(StopReason.GONE, "it is no VM of this session")
        is_new = self._vms.is_new(id)  # now: the answer may take long
        with trio.move_on_after(self.keepalive().rpc_timeout):
            try:
                vm = await self._vms.describe(id)
            except AzureError as error:
                logger.warning("%s: the state of its VM is unknown: %s", instance.name, error)
                return None
            if vm is not None:
                return explain_ended(vm) if vm.has_ended else None
            if not is_new:
                return explain_missing(market=self.resources.markets.get(id, ""))
        return None

    async def shutdown(self) -> None:
        """Delete all VMs of the session, and all other resources that are tagged with it.

        Immortal VMs and their security group are left. The resource group and the network are
        kept; they cost nothing.
        """
        if self.access is not None and self.access.firewall is not None:
            self.resources.security_group_id = self.access.firewall.id
        await super().shutdown()

    async def close(self) -> None:
        """Close all connections to Azure."""
        if self._opened is not None:
            self._account.deallocation.close()
            await self._api.close()

    def explain(self, error: AzureError) -> BigmachineError:
        """Return the error for the user."""
        from .api._advice import explain

        return explain(error)

    async def console(self, instance: Instance) -> str:
        """Return the output of the VM's serial port, as Azure's boot diagnostics have it."""
        from .resources._console import read_console

        with self.readable():
            await self._api.open()
            return await read_console(self._api, self.resources.id_of(instance))

    async def instances(self) -> Sequence[Instance]:
        """List what is tagged with a session in the subscription: VMs and other resources.

        VMs that have stopped, and are billed all the same, come first.
        """
        with self.readable():
            vms = await self._vms.with_power_states(await self._vms.find())
            vms = await self._vms.with_addresses(vms)
            leftovers, errors = await self._leftovers.find()
            await self._prices.fetch(vm.price_key for vm in vms)
        vms.sort(key=lambda vm: not vm.is_stopped_and_billed)
        return self.report_found([*self._priced(vms), *leftovers], errors)

    # -- on the machine ---------------------------------------------------------------

    def notices(self) -> AsyncIterator[Notice]:
        """Yield Azure's notices to this VM: eviction, deletion, restarts and maintenance."""
        from .guest._notices import read_notices

        return read_notices(self.metadata_url)

    # -- steps ------------------------------------------------------------------------

    @property
    def _account(self) -> Account:
        if self._opened is None:
            from .resources._account import Account

            self._opened = Account(self.options)
        return self._opened

    @property
    def _api(self) -> Api:
        return self._account.api

    @property
    def _vms(self) -> Vms:
        return self._account.vms

    @property
    def _leftovers(self) -> Leftovers:
        return self._account.leftovers

    @property
    def _prices(self) -> Prices:
        return self._account.prices

    async def _set_up_plan(self) -> LaunchPlan:
        await self.setup()
        assert self._plan is not None
        return self._plan

    def _priced(self, vms: Iterable[Vm], *, port: int = 0) -> list[Instance]:
        """Return VMs as instances with their prices; of a deallocated one, it is unknown."""
        return [
            vm.instance(port=port)
            if vm.is_deallocated
            else self._prices.priced(vm.instance(port=port), location=vm.location)
            for vm in vms
        ]
