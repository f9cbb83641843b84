"""The ``ec2`` system: machines as instances of Amazon EC2."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import trio

from bigmachine.boot import LaunchRequest
from bigmachine.errors import BigmachineError, StopReason
from bigmachine.system import (
    Capability,
    CheckReport,
    Event,
    Identity,
    Instance,
    Keepalive,
    Notice,
    System,
    Termination,
    check_options,
)

from ._options import Ec2Options, check_offline
from ._session_resources import SessionResources
from ._user_data import CONTACT_SECONDS, make_user_data

if TYPE_CHECKING:
    import httpx

    from bigmachine.cloud import Refusals

    from ._access import Access
    from ._api import Api
    from ._guest_setup import Ec2GuestSetup
    from ._launch import Launch
    from ._launch_plan import LaunchPlan
    from ._leftovers import Leftovers
    from ._offers import Offer
    from ._prices import Prices
    from ._region import Region
    from ._vms import Vms

logger = logging.getLogger("bigmachine.ec2")

_METAL_BOOT_TIMEOUT = 1800.0  # its firmware takes minutes; AWS does not document how many


class Ec2System(System):
    """Machines as instances of Amazon EC2, on demand or spot."""

    name = "ec2"
    Options = Ec2Options
    capabilities = frozenset({Capability.CONSOLE, Capability.INSTANCES})
    ships_environment = True
    is_billed = True
    # The time limit of an instance whose driver died before its first call, a slow boot, and a
    # minute for the termination.
    orphan_timeout = CONTACT_SECONDS + 60.0 + 120.0 + 60.0
    address_service_url: ClassVar[str] = "https://checkip.amazonaws.com"
    """The URL of AWS's service that returns the caller's public address."""
    metadata_url: ClassVar[str] = "http://169.254.169.254"
    """The URL of the instance metadata service, on an instance."""

    options: Ec2Options

    def __init__(self, options: Ec2Options | None = None) -> None:
        super().__init__(options)
        if self.options.keepalive_timeout > CONTACT_SECONDS:
            self.orphan_timeout += self.options.keepalive_timeout - CONTACT_SECONDS
        self._opened: Region | None = None
        self._plan: LaunchPlan | None = None
        self._access: Access | None = None
        self._resources = SessionResources(self.options, lambda: self._region)
        self._refusals: Refusals | None = None
        self._caller_arn = ""
        self._guest_setup: Ec2GuestSetup | None = None  # read by `setup`, applied on the machine

    @property
    def uses_reaper(self) -> bool:
        """Whether all its resources must be freed when its driver dies."""
        return super().uses_reaper and not self.options.immortal

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_guest_setup": self._guest_setup}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # On a machine, which gets the options and the guest setup, and no state of the driver.
        Ec2System.__init__(self, state["options"])
        self._guest_setup = state["_guest_setup"]

    async def setup(self) -> None:
        """Check the options, and with AWS all that they name and the permissions for it."""
        from bigmachine.cloud import for_each

        from ._access import Access
        from ._budget import check_max_price, check_prices
        from ._dry_runs import dry_run_requests
        from ._guest_setup import read_guest_setup
        from ._launch_plan import make_launch_plan
        from ._surcharges import warn_of_surcharges

        check_offline(self.options)
        self._guest_setup = read_guest_setup(self.options)
        with self._readable():
            self._caller_arn = await self._api.caller_arn()
            plan = await make_launch_plan(
                self._api, self.options, address_service_url=self.address_service_url
            )
            self._access = self._access or Access(
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
            self.boot_timeout = _METAL_BOOT_TIMEOUT
            check_options(self.options, **self.options.problems(boot_timeout=_METAL_BOOT_TIMEOUT))

    async def check(self) -> CheckReport:
        """Try all requests of sessions. This system then changes nothing any more."""
        from ._check import Check
        from ._launch_plan import make_launch_plan

        url = self.address_service_url
        plan = functools.partial(make_launch_plan, self._api, self.options, address_service_url=url)
        with self._readable():
            return await Check(self._region, self.options, self.setup, plan).run()

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch instances until there are enough, or EC2 has no more."""
        from ._budget import affordable
        from ._instance_addresses import tag_names
        from ._network import warn_of_free_addresses
        from ._quota import warn_of_quotas

        if self._plan is None:
            await self.setup()
        assert self._plan is not None
        assert self._access is not None
        data = make_user_data(request, self.options)
        names = [request.new_machine().name for _ in range(count)]
        plan, budget = self._plan, request.remaining_budget
        warn_of_quotas(plan.offers, plan.quotas, count=count)
        warn_of_free_addresses(plan.network, count=count)
        await self._prices.fetch(offer.price_key for offer in plan.offers)
        offers = affordable(self._prices, plan.offers, count=count, budget=budget)
        with self._readable():
            launch = await self._prepare(request, data, offers)
            try:
                is_public, port = self.options.public_address, self.options.port
                vms = await launch.machines(names, is_public=is_public)
                instances = [
                    self._prices.priced(vm.instance(is_public=is_public, port=port), vm.price_key)
                    for vm in vms
                ]
                if is_public:
                    await self._access.names.settle(vms, allow=self._access.allow)
                await tag_names(self._vms, instances)
            except BaseException:
                await launch.undo()
                raise
        self._resources.add({instance.name: instance.id for instance in instances})
        return instances

    def maxprocs(self) -> int | None:
        """Return how many vCPUs each instance has; None if the types differ."""
        counts = {offer.instance_type.vcpus for offer in self._plan.offers} if self._plan else set()
        return counts.pop() if len(counts) == 1 else None

    def keepalive(self) -> Keepalive:
        """Return the timings of the options."""
        return self.options.keepalive()

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Return why the instance ended, as EC2 describes it; None if it runs."""
        from ._errors import AwsError

        with trio.move_on_after(self.keepalive().rpc_timeout):
            try:
                vm = await self._vms.describe(instance.id)
            except AwsError as error:
                logger.warning("%s: the state of the instance is unknown: %s", instance.name, error)
                return None
            if vm is not None:
                return vm.termination() if vm.has_ended else None
            if instance.id not in self._resources.ids.values() or not self._api.is_new(instance.id):
                return Termination(StopReason.GONE, "EC2 no longer has this instance")
        return None

    async def restore_access(self, instances: Sequence[Instance]) -> None:
        """Let the driver in at its present address, as after a change of networks."""
        if self._access is not None:
            await self._access.restore()

    def event(self, event: Event) -> None:
        """Take note of the machines that the driver has ended."""
        self._resources.note(event)

    async def stop(self, instance: Instance) -> None:
        """Terminate the instance, or delete another resource, and wait until that is done.

        Immortal instances of this session are left running.
        """
        from ._leftovers import is_leftover

        if self._resources.is_immortal(instance):
            return
        with self._readable():
            if is_leftover(instance.id):  # one of `instances`
                await self._leftovers.free_ours(instance.id)
                return
            id = self._resources.id_of(instance)
            if id not in self._resources.ids.values():
                id = await self._vms.find_ours(instance)
            if id:
                await self._resources.terminate([id])
        self._resources.ids.pop(instance.name, None)

    async def shutdown(self) -> None:
        """Terminate all instances of the session, and delete all other resources tagged with it.

        Immortal instances and their security group are left.
        """
        session, access = self._resources.session, self._access
        try:
            with self._readable():
                if session:
                    self._resources.group_id = access.group_id if access is not None else ""
                    await self._resources.free()
                    if access is not None:
                        access.forget_group()
        except BigmachineError as error:
            raise BigmachineError(
                f"session {session} may still have instances or a security group on EC2: list "
                f"them with `bigmachine ps ec2`, and free them with `bigmachine reap ec2 "
                f"{session}`. {error}"
            ) from error
        finally:
            if self._opened is not None:
                await self._api.close()

    async def console(self, instance: Instance) -> str:
        """Return the instance's console output; EC2 keeps 64 KB of it."""
        from ._console import read_console

        with self._readable():
            return await read_console(self._api, self._resources.id_of(instance))

    async def instances(self) -> Sequence[Instance]:
        """List what is tagged with a session in the region: instances and other resources."""
        from ._leftovers import FREED_AFTER_INSTANCES, FREED_BEFORE_INSTANCES

        is_public = self.options.public_address
        with self._readable():
            before = await self._leftovers.find(FREED_BEFORE_INSTANCES)
            vms = await self._vms.find()
            after = await self._leftovers.find(FREED_AFTER_INSTANCES)
            await self._prices.fetch(vm.price_key for vm in vms)
        instances = (
            self._prices.priced(vm.instance(is_public=is_public), vm.price_key) for vm in vms
        )
        return [*before, *instances, *after]

    def http_client(self, identity: Identity) -> httpx.AsyncClient:
        """Return a client that reaches machines where this computer can: see `MachineNames`."""
        from bigmachine.rpc import http_client

        if self._access is None:  # on a machine
            return http_client(identity)
        return http_client(identity, connect=self._access.names.connect)

    # -- on the machine ---------------------------------------------------------------

    def notices(self) -> AsyncIterator[Notice]:
        """Yield EC2's notices to this instance: interruptions, rebalancing and maintenance."""
        from ._notices import read_notices

        return read_notices(self.metadata_url)

    def main(self, serve: Callable[[], Awaitable[None]]) -> NoReturn:
        """Set the machine up, then serve; log why and exit if the setup fails."""
        from bigmachine.cloud import GuestError

        try:
            if self._guest_setup is not None:
                self._guest_setup.apply(metadata_url=self.metadata_url)
        except GuestError as error:
            logger.error("the machine's setup failed: %s", error)
            self.exit(1)
        super().main(serve)

    # -- steps ------------------------------------------------------------------------

    @property
    def _region(self) -> Region:
        if self._opened is None:
            from ._region import Region

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

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Raise AWS's errors as errors that tell the user what to do."""
        from ._advice import explain
        from ._errors import AwsError

        try:
            yield
        except AwsError as error:
            raise explain(error, caller_arn=self._caller_arn) from error

    async def _prepare(
        self, request: LaunchRequest, data: bytes, offers: Sequence[Offer]
    ) -> Launch:
        from bigmachine.cloud import Refusals

        from ._launch import Launch
        from ._launch_specification import LaunchSpecification
        from ._tags import session_tags

        assert self._access is not None
        self._resources.session = session = request.session
        self._refusals = self._refusals or Refusals()
        tags = session_tags(session, request.driver, self.options)
        groups = await self._access.open(session=session, tags=tags)
        return Launch(
            self._api,
            self._vms,
            LaunchSpecification(self.options, tags=tags, groups=groups, user_data=data),
            offers=offers,
            session=session,
            caller_arn=self._caller_arn,
            refusals=self._refusals,
        )
