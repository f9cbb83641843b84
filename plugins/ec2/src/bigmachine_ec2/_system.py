"""The ``ec2`` system: machines as instances of Amazon EC2."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import trio

from bigmachine.boot import LaunchRequest
from bigmachine.cloud import CloudError, CloudSystem
from bigmachine.errors import BigmachineError, StopReason
from bigmachine.system import CheckReport, Instance, Notice, Termination

from .options._options import Ec2Options, check_offline
from .resources._session_resources import SessionResources

if TYPE_CHECKING:
    from .api._api import Api
    from .api._errors import AwsError
    from .catalog._prices import Prices
    from .plan._launch_plan import LaunchPlan
    from .resources._access import Access
    from .resources._leftovers import Leftovers
    from .resources._region import Region
    from .resources._vms import Vms

logger = logging.getLogger("bigmachine.ec2")


class Ec2System(CloudSystem):
    """Machines as instances of Amazon EC2, on demand or spot."""

    name = "ec2"
    Options = Ec2Options
    provider = "EC2"

    options: Ec2Options
    resources: SessionResources
    access: Access | None

    def __init__(self, options: Ec2Options | None = None) -> None:
        super().__init__(options)
        self.resources = SessionResources(self.options, lambda: self._region)
        self._opened: Region | None = None
        self._plan: LaunchPlan | None = None
        self._caller_arn = ""

    async def setup(self) -> None:
        """Check the options, and with AWS all that they name and the permissions for it."""
        from bigmachine.cloud import for_each

        from .guest._guest_setup import read_guest_setup
        from .launch._dry_runs import dry_run_requests
        from .plan._budget import check_max_price, check_prices
        from .plan._launch_plan import make_launch_plan
        from .plan._surcharges import warn_of_surcharges
        from .resources._access import Access

        check_offline(self.options)
        self.guest_setup = read_guest_setup(self.options)
        with self.readable():
            self._caller_arn = await self._api.caller_arn()
            plan = await make_launch_plan(
                self._api, self.options, address_service_url=self.address_service_url
            )
            self.access = self.access or Access(
                self._api,
                self.options,
                network=plan.network,
                allow=plan.allow,
                address_service_url=self.address_service_url,
                caller_arn=self._caller_arn,
            )

            async def dry_run() -> None:
                self._plan = await dry_run_requests(
                    self._api, self.options, plan, caller_arn=self._caller_arn
                )

            async def fetch_prices() -> None:
                await self._prices.fetch(offer.price_key for offer in plan.offers)

            await for_each((dry_run, fetch_prices), lambda step: step())
        assert self._plan is not None
        offers = self._plan.offers
        warn_of_surcharges(offers, network=plan.network)
        check_max_price(self._prices, offers, max_price=self.options.max_price)
        if self.max_session_cost is not None:
            check_prices(self._prices, offers, caller_arn=self._caller_arn)
        if any(offer.instance_type.is_metal for offer in offers):
            self.expect_bare_metal()

    async def check(self) -> CheckReport:
        """Try all requests of sessions. This system then changes nothing any more."""
        from ._check import Check
        from .guest._guest_setup import read_guest_setup
        from .plan._launch_plan import make_launch_plan

        check_offline(self.options)  # before any request: with a wrong region, all would fail
        read_guest_setup(self.options)
        url = self.address_service_url
        plan = functools.partial(make_launch_plan, self._api, self.options, address_service_url=url)
        with self.readable():
            return await Check(self._region, self.options, self.setup, plan).run()

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch instances until there are enough, or EC2 has no more."""
        from bigmachine.cloud import affordable

        from .launch._instance_addresses import tag_names
        from .launch._prepare_launch import prepare_launch
        from .plan._quota import warn_of_quotas
        from .resources._network import warn_of_free_addresses
        from .resources._public_names import unusable_names

        if self._plan is None:
            await self.setup()
        assert self._plan is not None
        assert self.access is not None
        names = [request.new_machine().name for _ in range(count)]
        plan, budget = self._plan, request.remaining_budget
        warn_of_quotas(plan.offers, plan.quotas, count=count)
        warn_of_free_addresses(plan.network, count=count)
        await self._prices.fetch(offer.price_key for offer in plan.offers)
        offers = affordable(self._prices, plan.offers, count=count, budget=budget)
        with self.readable():
            self.resources.session = request.session
            launch = await prepare_launch(
                self._region,
                self.access,
                self.options,
                request,
                offers=offers,
                caller_arn=self._caller_arn,
                refusals=self.refusals,
            )
            try:
                is_public, port = self.options.public_address, self.options.port
                vms = await launch.machines(names, is_public=is_public)
                instances = [
                    self._prices.priced(vm.instance(is_public=is_public, port=port), vm)
                    for vm in vms
                ]
                if is_public:
                    hosts = await unusable_names(vms, allow=self.access.allow)
                    self.access.addresses.replace(hosts)
                await tag_names(self._vms, instances)
            except BaseException:
                self.resources.unconfirmed |= {vm.id for vm in await launch.undo()}
                raise
        self.resources.add({instance.name: instance.id for instance in instances})
        return instances

    def maxprocs(self) -> int | None:
        """Return how many vCPUs each instance has; None if the types differ."""
        counts = {offer.instance_type.vcpus for offer in self._plan.offers} if self._plan else set()
        return counts.pop() if len(counts) == 1 else None

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Return why the instance ended, as EC2 describes it; None if it runs."""
        from .api._errors import AwsError

        id = self.resources.id_of(instance)
        if not id:
            return Termination(StopReason.GONE, "it is no instance of this session")
        is_new = self._api.is_new(id)  # now: the answer may take long
        with trio.move_on_after(self.keepalive().rpc_timeout):
            try:
                vm = await self._vms.describe(id)
            except AwsError as error:
                logger.warning("%s: the state of the instance is unknown: %s", instance.name, error)
                return None
            if vm is not None:
                return vm.termination() if vm.has_ended else None
            if id not in self.resources.ids.values() or not is_new:
                return Termination(StopReason.GONE, "EC2 no longer has this instance")
        return None

    async def shutdown(self) -> None:
        """Terminate all instances of the session, and delete all other resources tagged with it.

        Immortal instances and their security group are left.
        """
        if self.access is not None:
            self.resources.group_id = self.access.group_id
        await super().shutdown()

    async def close(self) -> None:
        """Close all connections to AWS."""
        if self._opened is not None:
            await self._api.close()

    def explain(self, error: AwsError) -> BigmachineError:
        """Return the error for the user."""
        from .api._advice import explain

        return explain(error, caller_arn=self._caller_arn)

    async def console(self, instance: Instance) -> str:
        """Return the instance's console output; EC2 keeps 64 KB of it."""
        from .resources._console import read_console

        with self.readable():
            return await read_console(self._api, self.resources.id_of(instance))

    async def instances(self) -> Sequence[Instance]:
        """List what is tagged with a session in the region: instances and other resources."""
        from .resources._leftovers import FREED_AFTER_INSTANCES, FREED_BEFORE_INSTANCES

        is_public = self.options.public_address
        errors: list[CloudError] = []
        with self.readable():
            before = await self._leftovers.find_each(FREED_BEFORE_INSTANCES, errors)
            vms = await self._vms.find()
            after = await self._leftovers.find_each(FREED_AFTER_INSTANCES, errors)
            await self._prices.fetch(vm.price_key for vm in vms)
        instances = (self._prices.priced(vm.instance(is_public=is_public), vm) for vm in vms)
        return self.report_found([*before, *instances, *after], errors)

    # -- on the machine ---------------------------------------------------------------

    def notices(self) -> AsyncIterator[Notice]:
        """Yield EC2's notices to this instance: interruptions, rebalancing and maintenance."""
        from .guest._notices import read_notices

        return read_notices(self.metadata_url)

    # -- steps ------------------------------------------------------------------------

    @property
    def _region(self) -> Region:
        if self._opened is None:
            from .resources._region import Region

            self._opened = Region(self.options)
        return self._opened

    @property
    def _api(self) -> Api:
        return self._region.api

    @property
    def _vms(self) -> Vms:
        return self._region.vms

    @property
    def _leftovers(self) -> Leftovers:
        return self._region.leftovers

    @property
    def _prices(self) -> Prices:
        return self._region.prices
