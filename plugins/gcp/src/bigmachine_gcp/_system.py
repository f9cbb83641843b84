"""The ``gcp`` system: machines as instances of Google Compute Engine."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import trio

from bigmachine.boot import LaunchRequest
from bigmachine.cloud import CONTACT_SECONDS, CloudError, CloudSystem, note_errors
from bigmachine.errors import BigmachineError, IncompleteListError, StopReason
from bigmachine.system import CheckReport, Instance, Notice, Termination

from .guest._self_deletion import warn_of_disks
from .options._options import GcpOptions, check_offline
from .resources._session_resources import SessionResources

if TYPE_CHECKING:
    from .api._api import Api
    from .api._errors import GcpError
    from .catalog._prices import Prices
    from .plan._launch_plan import LaunchPlan
    from .resources._access import Access
    from .resources._leftovers import Leftovers
    from .resources._project import Project
    from .resources._vms import Vms

logger = logging.getLogger("bigmachine.gcp")


class GcpSystem(CloudSystem):
    """Machines as instances of Google Compute Engine, on demand or spot."""

    name = "gcp"
    Options = GcpOptions
    provider = "Google Cloud"
    # The time limit of an instance whose driver died before its first call, a slow boot, and
    # up to two minutes for the shutdown of its operating system, as of a deletion.
    orphan_timeout = CONTACT_SECONDS + 60.0 + 120.0 + 120.0

    options: GcpOptions
    resources: SessionResources
    access: Access | None

    def __init__(self, options: GcpOptions | None = None) -> None:
        super().__init__(options)
        self.resources = SessionResources(self.options, lambda: self._project)
        self._opened: Project | None = None
        self._plan: LaunchPlan | None = None
        self._has_launched = False

    async def setup(self) -> None:
        """Check the options, and with Google all that they name."""
        from bigmachine.cloud import check_prices

        from .guest._guest_setup import guest_setup
        from .plan._budget import within_max_price
        from .plan._launch_plan import make_launch_plan
        from .resources._access import Access

        check_offline(self.options)
        self.guest_setup = guest_setup(self.options)
        with self.readable():
            plan = await make_launch_plan(
                self._api, self.options, address_service_url=self.address_service_url
            )
            self.access = self.access or Access(
                self._api,
                self.options,
                network=plan.network,
                allow=plan.allow,
                address_service_url=self.address_service_url,
            )
            await self._prices.fetch(offer.price_key for offer in plan.offers)
        offers = within_max_price(self._prices, plan.offers, max_price=self.options.max_price)
        self._plan = plan = dataclasses.replace(plan, offers=offers)
        if self.max_session_cost is not None:
            check_prices(self._prices, plan.offers, provider="Google", failure=self._prices.failure)
        if any(offer.machine_type.is_metal for offer in plan.offers):
            self.expect_bare_metal()

    async def check(self) -> CheckReport:
        """Check all permissions that sessions need. This system then changes nothing any more."""
        from ._check import Check

        with self.readable():
            return await Check(self._api, self.options, self._set_up_plan).run()

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch instances until there are enough, or Compute Engine has no more."""
        from bigmachine.cloud import affordable

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
            self.resources.zones = [*dict.fromkeys(offer.zone for offer in plan.offers)]
            launch = await prepare_launch(
                self._project,
                self.access,
                plan,
                self.options,
                request,
                offers=offers,
                refusals=self.refusals,
            )
            try:
                vms = await launch.machines(count, is_public=self.options.public_address)
            except BaseException:
                self.resources.unconfirmed |= {vm.id for vm in await launch.undo()}
                self.resources.unfinished |= launch.unfinished
                raise
        external = {vm.internal_address: vm.external_address for vm in vms}
        self.access.addresses.learn(external, allow=self.access.allow)
        if not self._has_launched:
            self._has_launched = True
            warn_of_disks(self.options, session=request.session)
        self.resources.add({vm.name: vm.id for vm in vms})
        return [self._prices.priced(vm.instance(port=self.options.port)) for vm in vms]

    def maxprocs(self) -> int | None:
        """Return how many vCPUs each instance has; None if the types differ."""
        counts = {offer.machine_type.vcpus for offer in self._plan.offers} if self._plan else set()
        return counts.pop() if len(counts) == 1 else None

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Return why the instance ended, as Compute Engine tells it; None if it runs."""
        from .api._errors import GcpError

        id = self.resources.id_of(instance)
        if not id:
            return Termination(StopReason.GONE, "it is no instance of this session")
        vm, is_new = None, self._vms.is_new(id)  # now: the answer may take long
        with trio.move_on_after(self.keepalive().rpc_timeout) as scope:
            try:
                vm = await self._vms.describe(id)
            except GcpError as error:
                logger.warning("%s: the state of the instance is unknown: %s", instance.name, error)
                return None
        if scope.cancelled_caught or (vm is not None and not vm.has_ended):
            return None
        with trio.move_on_after(self.keepalive().rpc_timeout):
            url = self._vms.url(id)
            return await self._project.terminations.explain(id, vm, url=url, is_new=is_new)
        if vm is None and is_new:
            return None
        return Termination(StopReason.GONE, "Compute Engine no longer has its instance")

    async def shutdown(self) -> None:
        """Delete all instances of the session, and all other resources that are labelled with it.

        Immortal instances and their firewall rule are left.
        """
        if self.access is not None:
            self.resources.rule = self.access.rule
        await super().shutdown()

    async def close(self) -> None:
        """Close all connections to Google."""
        if self._opened is not None:
            await self._api.close()

    def explain(self, error: GcpError) -> BigmachineError:
        """Return the error for the user."""
        from .api._advice import explain

        return explain(error)

    async def console(self, instance: Instance) -> str:
        """Return the output of the first serial port; Compute Engine keeps 1 MB of it."""
        from .resources._console import read_console

        with self.readable():
            return await read_console(self._api, self.resources.id_of(instance))

    async def instances(self) -> Sequence[Instance]:
        """List what is labelled with a session in the project: instances and other resources."""
        disks: Sequence[Instance] = ()
        rules: Sequence[Instance] = ()
        more_unseen: Sequence[str] = ()
        errors: list[CloudError] = []
        with self.readable():
            vms, unseen = await self._vms.find_reachable()
            with note_errors(errors):
                disks, more_unseen = await self._leftovers.find_reachable_disks()
            with note_errors(errors):
                rules = await self._leftovers.find_rules()
            await self._prices.fetch(vm.price_key for vm in vms)
        found = [*(self._prices.priced(vm.instance()) for vm in vms), *disks, *rules]
        if places := sorted({*unseen, *more_unseen}):
            raise IncompleteListError(
                f"Google can't reach {', '.join(places)} now, so it is unknown what sessions have "
                f"there",
                found=found,
            )
        return self.report_found(found, errors)

    # -- on the machine ---------------------------------------------------------------

    def notices(self) -> AsyncIterator[Notice]:
        """Yield Google's notices to this instance: preemption, and maintenance of its host."""
        from .guest._notices import read_notices

        return read_notices(self.metadata_url)

    # -- steps ------------------------------------------------------------------------

    @property
    def _project(self) -> Project:
        if self._opened is None:
            from .resources._project import Project

            self._opened = Project(self.options)
        return self._opened

    @property
    def _api(self) -> Api:
        return self._project.api

    @property
    def _vms(self) -> Vms:
        return self._project.vms

    @property
    def _leftovers(self) -> Leftovers:
        return self._project.leftovers

    @property
    def _prices(self) -> Prices:
        return self._project.prices

    async def _set_up_plan(self) -> LaunchPlan:
        await self.setup()
        assert self._plan is not None
        return self._plan
