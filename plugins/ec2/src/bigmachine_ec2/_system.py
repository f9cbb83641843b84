"""The ``ec2`` system: machines as instances of Amazon EC2."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import trio

from bigmachine.boot import LaunchRequest, user_data
from bigmachine.errors import BigmachineError, StartError, StopReason
from bigmachine.system import Capability, Instance, Notice, System, Termination

from ._immortal import warn_of_end, warn_of_start
from ._options import Ec2Options, check_offline

if TYPE_CHECKING:
    from ._api import Api
    from ._guest import Guest
    from ._launch import Launch
    from ._leftovers import Leftovers
    from ._machines import Machines
    from ._network import SessionGroup
    from ._offers import Offer
    from ._plan import Plan
    from ._prices import Prices
    from ._region import Region

logger = logging.getLogger("bigmachine.ec2")

_METAL_BOOT_TIMEOUT = 1800.0  # its firmware takes minutes; AWS does not say how many
_CONTACT_SECONDS = 300.0  # the driver calls each second; only a dead one is silent that long


class Ec2System(System):
    """Machines as instances of Amazon EC2, on demand or spot."""

    name = "ec2"
    Options = Ec2Options
    capabilities = frozenset({Capability.CONSOLE, Capability.INSTANCES})
    ships_environment = True
    is_billed = True
    # The guard of an instance whose driver died before it called, a slow boot, and a minute
    # for the instance to go.
    orphan_timeout = _CONTACT_SECONDS + 60.0 + 120.0 + 60.0
    look_up: ClassVar[str] = "https://checkip.amazonaws.com"
    """The URL of AWS's service that tells a computer its public address."""
    metadata: ClassVar[str] = "http://169.254.169.254"
    """The URL of the instance metadata service, on an instance."""

    options: Ec2Options

    def __init__(self, options: Ec2Options | None = None) -> None:
        super().__init__(options)
        self._opened: Region | None = None
        self._plan: Plan | None = None
        self._group: SessionGroup | None = None
        self._session = ""  # once it may have something at AWS
        self._ids: dict[str, str] = {}  # of instances that are not freed, by the machine's name
        self._who = ""
        self._guest: Guest | None = None  # made by `setup`, and carried out on the machine

    @property
    def uses_reaper(self) -> bool:
        """Whether nothing of it is meant to outlive its driver."""
        return super().uses_reaper and not self.options.immortal

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_guest": self._guest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # On a machine, where peers are asked for what only the driver's knows.
        Ec2System.__init__(self, state["options"])
        self._guest = state["_guest"]

    async def setup(self) -> None:
        """Check the options, and with AWS all that they name, and the right to use it."""
        from ._batch import for_each
        from ._guest import Guest
        from ._plan import make_plan, rehearse

        check_offline(self.options)
        self._guest = Guest.read(self.options)
        with self._readable():
            self._who = await self._api.identity()
            plan = self._plan = await make_plan(self._api, self.options, look_up=self.look_up)
            steps = (
                functools.partial(rehearse, self._api, self.options, plan),
                functools.partial(self._prices.ask, [offer.good for offer in plan.offers]),
            )
            await for_each(steps, lambda step: step())
        self._prices.check_max_price(plan.offers)
        if self.max_session_cost is not None:
            self._prices.check(plan.offers, who=self._who)
        if any(offer.kind.is_metal for offer in plan.offers):
            self.boot_timeout = _METAL_BOOT_TIMEOUT

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Buy instances until there are enough, or no more to be had."""
        from ._quota import warn_of_quotas
        from ._settling import settle, tell_names

        if self._plan is None:
            await self.setup()
        assert self._plan is not None
        data = user_data(
            request,
            contact_seconds=_CONTACT_SECONDS,
            lifetime_seconds=self.options.lifetime or 0.0,
            is_immortal=self.options.immortal,
        )
        names = [request.new_machine().name for _ in range(count)]
        warn_of_quotas(self._plan.offers, self._plan.quotas, count=count)
        offers = self._affordable(count, request.remaining_budget)
        with self._readable():
            launch = await self._prepare(request, data, offers)
            try:
                await launch.buy(count)
                await launch.confirm(who=self._who)
                is_public = self.options.public_address
                found = await settle(self._machines, launch.vms, names=names, is_public=is_public)
                instances = [*map(self._prices.priced, found)]
                await tell_names(self._machines, instances)
            except BaseException:
                await launch.undo()
                raise
        new = {instance.name: instance.id for instance in instances}
        self._ids.update(new)
        if self.options.immortal:
            warn_of_start(new, session=self._session, lifetime=self.options.lifetime)
        return instances

    def maxprocs(self) -> int | None:
        """Return how many vCPUs each instance has, if all types that may be bought agree."""
        counts = {offer.kind.vcpus for offer in self._plan.offers} if self._plan else set()
        return counts.pop() if len(counts) == 1 else None

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Say what EC2 says of the instance."""
        from ._errors import AwsError

        with trio.move_on_after(self.keepalive().rpc_timeout):
            try:
                vm = await self._machines.look(instance.id)
            except AwsError as error:
                logger.warning("%s: EC2 can't be asked: %s", instance.name, error)
                return None
            if vm is not None:
                return vm.gone() if vm.is_gone else None
            if instance.id not in self._ids.values() or not self._machines.is_new(instance.id):
                return Termination(StopReason.GONE, "EC2 knows no such instance any more")
        return None

    async def stop(self, instance: Instance) -> None:
        """Terminate the instance and wait until it is terminated; or free what else is ours.

        Immortal instances of one's own live on.
        """
        from ._leftovers import is_leftover

        if self.options.immortal and instance.name in self._ids:
            return
        with self._readable():
            if is_leftover(instance.id):  # one of `instances`
                await self._leftovers.free_ours(instance.id)
                return
            id = instance.id or self._ids.get(instance.name, "")
            if id not in self._ids.values():
                id = await self._machines.find_ours(instance)
            if id:
                await self._machines.free([id])
        self._ids.pop(instance.name, None)

    async def shutdown(self) -> None:
        """Terminate all instances of the session, and delete all else that is tagged as its own.

        Immortal instances live on, and their security group does.
        """
        try:
            with self._readable():
                if self._session:
                    await self._release(self._session)
        except BigmachineError as error:
            raise BigmachineError(
                f"session {self._session} may still have instances, or its security group, on "
                f"EC2: see `bigmachine ps ec2`, and free them by `bigmachine reap ec2 "
                f"{self._session}`. {error}"
            ) from error
        finally:
            if self._opened is not None:
                await self._api.close()

    async def console(self, instance: Instance) -> str:
        """Return what the instance's console shows; EC2 keeps 64 KB of it."""
        from ._errors import AwsError

        id = instance.id or self._ids.get(instance.name, "")
        with self._readable():
            try:
                reply = await self._api.read("ec2:GetConsoleOutput", InstanceId=id, Latest=True)
            except AwsError as error:
                if error.code not in ("UnsupportedOperation", "InvalidParameterCombination"):
                    raise
                # Only Nitro instances show it as it grows; others from time to time.
                reply = await self._api.read("ec2:GetConsoleOutput", InstanceId=id)
        return str(reply.get("Output") or "")

    async def instances(self) -> Sequence[Instance]:
        """List what has our tag in the region: instances, and what is made besides."""
        from ._leftovers import AFTER, BEFORE

        is_public = self.options.public_address
        with self._readable():
            before = await self._leftovers.find(BEFORE)
            vms = await self._machines.find()
            after = await self._leftovers.find(AFTER)
            await self._prices.ask(vm.good for vm in vms)
        instances = (self._prices.priced(vm.instance(is_public=is_public)) for vm in vms)
        return [*before, *instances, *after]

    # -- on the machine ---------------------------------------------------------------

    def notices(self) -> AsyncIterator[Notice]:
        """Give what EC2 tells its instance: interruptions, rebalancing and maintenance."""
        from ._notices import read_notices

        return read_notices(self.metadata)

    def main(self, serve: Callable[[], Awaitable[None]]) -> NoReturn:
        """Set the machine up, then serve; end it where that can't be done, and say why."""
        from ._commands import GuestError

        try:
            if self._guest is not None:
                self._guest.set_up()
        except GuestError as error:
            logger.error("the machine can't be set up: %s", error)
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
    def _machines(self) -> Machines:
        return self._region.machines

    @property
    def _leftovers(self) -> Leftovers:
        return self._region.leftovers

    @property
    def _prices(self) -> Prices:
        return self._region.prices

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Raise what AWS refuses as the error that a user can do something about."""
        from ._advice import explain
        from ._errors import AwsError

        try:
            yield
        except AwsError as error:
            raise explain(error, who=self._who) from error

    def _affordable(self, count: int, dollars: float | None) -> Sequence[Offer]:
        assert self._plan is not None
        if dollars is None:
            return self._plan.offers
        return self._prices.within(self._plan.offers, count=count, dollars=dollars)

    async def _prepare(
        self, request: LaunchRequest, data: bytes, offers: Sequence[Offer]
    ) -> Launch:
        from ._launch import USER_DATA_LIMIT, Launch
        from ._network import SessionGroup
        from ._order import Order
        from ._tags import IMMORTAL, session_tags

        plan, api = self._plan, self._api
        assert plan is not None
        if len(data) > USER_DATA_LIMIT:
            raise StartError(
                f"the boot program's user data has {len(data)} bytes, and EC2 takes "
                f"{USER_DATA_LIMIT}: that is a fault of bigmachine"
            )
        self._session = session = request.session
        tags = session_tags(session, request.driver, self.options.own_tags)
        if self.options.immortal:
            tags[IMMORTAL] = "yes"
        groups = self.options.security_groups
        if not groups:
            self._group = self._group or SessionGroup(api, session=session, vpc=plan.network.vpc)
            groups = (await self._group.open(allow=plan.allow, tags=tags),)
        return Launch(
            api,
            self._machines,
            Order(self.options, tags=tags, groups=groups, user_data=data),
            offers=offers,
            session=session,
        )

    async def _release(self, session: str) -> None:
        from ._leftovers import AFTER, BEFORE

        try:
            if "spot" in self.options.markets:
                requests = await self._leftovers.find(BEFORE, session=session)
                await self._leftovers.free(request.id for request in requests)
        finally:  # whatever became of those, and most likely there are none
            found = await self._machines.find(session=[session])
            living = {vm.id for vm in found if self.options.immortal and not vm.is_gone}
            kept = {name: id for name, id in self._ids.items() if id in living}
            ids = {*self._ids.values(), *(vm.id for vm in found)} - {*kept.values()}
            await self._machines.free(ids)
        self._ids.clear()
        if kept:
            warn_of_end(kept, session=session, lifetime=self.options.lifetime)
            self._group, self._session = None, ""
            return
        # Looked up as well: its answer may have been lost for good.
        left = {thing.id for thing in await self._leftovers.find(AFTER, session=session)}
        if self._group is not None and self._group.id:
            left.add(self._group.id)
        await self._leftovers.free(left)
        self._group = None
        self._session = ""
