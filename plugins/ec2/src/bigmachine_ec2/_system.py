"""The ``ec2`` system: machines as instances of Amazon EC2."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import trio

from bigmachine.boot import Boot, user_data
from bigmachine.errors import BigmachineError, StartError, StopReason
from bigmachine.system import Capability, Gone, Instance, Notice, System

from ._options import Ec2Options, check_offline

if TYPE_CHECKING:
    from ._api import Api
    from ._launch import Launch, Offer
    from ._machines import Machines, Vm
    from ._network import SessionGroup
    from ._plan import Plan
    from ._prices import Prices

logger = logging.getLogger("bigmachine.ec2")

_CONTACT_SECONDS = 300.0  # the driver calls each second; only a dead one is silent that long
_UNDO_TIMEOUT = 150.0  # EC2 takes a minute or so to terminate an instance
_ADDRESS_TIMEOUT = 120.0  # an address comes within seconds of the launch


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
        self._opened: tuple[Api, Machines, Prices] | None = None
        self._plan: Plan | None = None
        self._group: SessionGroup | None = None
        self._session = ""  # once it may have something at AWS
        self._ids: dict[str, str] = {}  # of instances that are not freed, by the machine's name
        self._who = ""

    async def setup(self) -> None:
        """Check the options, and with AWS all that they name, and the right to use it."""
        from ._batch import for_each
        from ._plan import make_plan, rehearse

        check_offline(self.options)
        with self._readable():
            self._who = await self._api.identity()
            plan = self._plan = await make_plan(self._api, self.options, look_up=self.look_up)
            steps = (
                functools.partial(rehearse, self._api, self.options, plan),
                functools.partial(self._prices.ask, [offer.good for offer in plan.offers]),
            )
            await for_each(steps, lambda step: step())
        if self.max_session_cost is not None:
            self._prices.check(plan.offers, who=self._who)

    async def start(self, count: int, boot: Boot) -> Sequence[Instance]:
        """Buy instances until there are enough, or no more to be had."""
        if self._plan is None:
            await self.setup()
        data = user_data(
            boot,
            contact_seconds=_CONTACT_SECONDS,
            lifetime_seconds=self.options.lifetime or 0.0,
        )
        names = [boot.machine().name for _ in range(count)]
        launch: Launch | None = None
        with self._readable():
            try:
                offers = self._affordable(count, boot.dollars_left)
                launch = await self._prepare(boot.session, data, offers)
                await launch.buy(names)
                await self._forget_unknown(launch)
                instances = [*map(self._prices.priced, await self._settle(launch))]
            except BaseException:
                await self._undo(launch)
                raise
        self._ids.update((instance.name, instance.id) for instance in instances)
        return instances

    def maxprocs(self) -> int | None:
        """Return how many vCPUs each instance has, if all types that may be bought agree."""
        counts = {offer.kind.vcpus for offer in self._plan.offers} if self._plan else set()
        return counts.pop() if len(counts) == 1 else None

    async def keepalive_failed(self, instance: Instance) -> Gone | None:
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
                return Gone(StopReason.GONE, "EC2 knows no such instance any more")
        return None

    async def stop(self, instance: Instance) -> None:
        """Terminate the instance and wait until it is terminated."""
        from ._network import delete_group, find_groups

        with self._readable():
            if instance.id.startswith("sg-"):  # one of `instances`
                if instance.id in {group.id for group in await find_groups(self._api)}:
                    await delete_group(self._api, instance.id)
                return
            id = instance.id or self._ids.get(instance.name, "")
            if id not in self._ids.values():
                id = await self._find_ours(instance)
            if id:
                await self._machines.free([id])
        self._ids.pop(instance.name, None)

    async def shutdown(self) -> None:
        """Terminate all instances of the session; delete its security group."""
        try:
            with self._readable():
                if self._session:
                    await self._release(self._session)
        except BigmachineError as error:
            raise BigmachineError(
                f"session {self._session} may still have instances, or its security group, on "
                f"EC2: see those with the tag bigmachine:session. {error}"
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
        """List what has our tag in the region: instances, and sessions' security groups."""
        from ._network import find_groups

        is_public = self.options.public_address
        with self._readable():
            vms = await self._machines.find()
            groups = await find_groups(self._api)
            living = [vm for vm in vms if vm.state != "shutting-down"]
            await self._prices.ask(vm.good for vm in living)
        own = (self._prices.priced(vm.instance(is_public=is_public)) for vm in living)
        return [*own, *groups]

    # -- on the machine ---------------------------------------------------------------

    def notices(self) -> AsyncIterator[Notice]:
        """Give what EC2 tells its instance: interruptions, rebalancing and maintenance."""
        from ._notices import read_notices

        return read_notices(self.metadata)

    # -- steps ------------------------------------------------------------------------

    @property
    def _api(self) -> Api:
        return self._parts()[0]

    @property
    def _machines(self) -> Machines:
        return self._parts()[1]

    @property
    def _prices(self) -> Prices:
        return self._parts()[2]

    def _parts(self) -> tuple[Api, Machines, Prices]:
        if self._opened is None:
            from ._api import Api
            from ._machines import Machines
            from ._prices import Prices

            api = Api(self.options)
            self._opened = api, Machines(api), Prices(api, self.options)
        return self._opened

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Raise what AWS refuses as the error that a user can do something about."""
        from ._errors import AwsError, explain

        try:
            yield
        except AwsError as error:
            raise explain(error, who=self._who) from error

    def _affordable(self, count: int, dollars: float | None) -> Sequence[Offer]:
        assert self._plan is not None
        if dollars is None:
            return self._plan.offers
        return self._prices.within(self._plan.offers, count=count, dollars=dollars)

    async def _prepare(self, session: str, data: bytes, offers: Sequence[Offer]) -> Launch:
        from ._launch import USER_DATA_LIMIT, Launch
        from ._network import SessionGroup
        from ._tags import session_tags

        plan, api = self._plan, self._api
        assert plan is not None
        if len(data) > USER_DATA_LIMIT:
            raise StartError(
                f"the boot program's user data has {len(data)} bytes, and EC2 takes "
                f"{USER_DATA_LIMIT}: that is a fault of bigmachine"
            )
        self._session = session
        tags = session_tags(session, self.options.own_tags)
        groups = self.options.security_groups
        if not groups:
            self._group = self._group or SessionGroup(api, session=session, vpc=plan.network.vpc)
            groups = (await self._group.open(allow=plan.allow, tags=tags),)
        return Launch(
            api,
            self._machines,
            options=self.options,
            offers=offers,
            tags=tags,
            groups=groups,
            user_data=data,
        )

    async def _forget_unknown(self, launch: Launch) -> None:
        """Free what was made by requests that had no answer; fail if that was all."""
        for token in [*launch.tokens]:
            made = await self._machines.find_made(token)
            await self._machines.free(vm.id for vm in made)
            launch.tokens.remove(token)
        if not launch.vms:
            raise launch.failure(who=self._who)
        if story := launch.story():
            logger.warning("not all machines were to be had:\n%s", story)

    async def _settle(self, launch: Launch) -> list[Instance]:
        """Wait until the instances have addresses; return those that do, and free the others."""
        from ._batch import for_each

        settled: dict[str, Vm] = {}

        async def settle(vm: Vm) -> None:
            await self._await_address(vm, settled)

        with trio.move_on_after(_ADDRESS_TIMEOUT):
            await for_each(launch.vms, settle)
        instances = []
        failures = []
        for bought in launch.vms:
            vm = settled.get(bought.id, bought)
            instance = vm.instance(is_public=self.options.public_address)
            if instance.address and not vm.is_gone:
                instances.append(instance)
            else:
                why = vm.gone().detail if vm.is_gone else "EC2 gives it no address"
                failures.append(f"{vm.name} ({vm.id}) did not come up: {why}")
        known = {instance.id for instance in instances}
        await self._machines.free(vm.id for vm in launch.vms if vm.id not in known)
        if not instances:
            raise StartError("; ".join(failures))
        for failure in failures:
            logger.warning("%s", failure)
        return instances

    async def _await_address(self, vm: Vm, settled: dict[str, Vm]) -> None:
        from ._pace import polls

        for pause in polls():
            found = await self._machines.look(vm.id)
            if found is not None:
                settled[vm.id] = found
                instance = found.instance(is_public=self.options.public_address)
                if instance.address or found.is_gone:
                    return
            await trio.sleep(pause)

    async def _undo(self, launch: Launch | None) -> None:
        """Free what a start has made that nobody will ever hold."""
        if launch is None:
            return
        with trio.move_on_after(_UNDO_TIMEOUT, shield=True) as scope:
            try:
                made = [
                    vm for token in launch.tokens for vm in await self._machines.find_made(token)
                ]
                await self._machines.free({vm.id for vm in (*launch.vms, *made)})
            except Exception:
                logger.exception("instances of a start that failed may run until the session ends")
        if scope.cancelled_caught:
            logger.error("instances are not confirmed to be gone after %g s", _UNDO_TIMEOUT)

    async def _find_ours(self, instance: Instance) -> str:
        """Return the id of an instance that this object did not make, if it is a session's."""
        if instance.id:
            vm = await self._machines.look(instance.id)
            return vm.id if vm is not None and vm.is_ours else ""
        session = instance.name.partition(".")[2]
        if not session:
            return ""
        found = await self._machines.find(session=[session])
        return next((vm.id for vm in found if vm.name == instance.name), "")

    async def _release(self, session: str) -> None:
        from ._network import delete_group, find_groups

        found = await self._machines.find(session=[session])
        await self._machines.free({*self._ids.values(), *(vm.id for vm in found)})
        self._ids.clear()
        # Looked up as well: its answer may have been lost for good.
        groups = {group.id for group in await find_groups(self._api, session=session)}
        if self._group is not None and self._group.id:
            groups.add(self._group.id)
        for id in groups:
            await delete_group(self._api, id)
        self._group = None
        self._session = ""
