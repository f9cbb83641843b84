"""The reference backend: a fake provider in this process, and a correct system.

The provider's resources are VMs, each with a disk, and a firewall for each session. Like a real
provider, its calls take a moment, may be cancelled before or after they took effect, lose
responses, and run out of capacity. The machine in a VM is one of `InProcessSystem`.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from bigmachine import option
from bigmachine.boot import LaunchRequest, MachineSpec
from bigmachine.errors import StartError, StopReason
from bigmachine.system import Instance, Termination, check_options
from bigmachine.testing import InProcessOptions, InProcessSystem

T = TypeVar("T")

ZONES = ("north", "south", "tiny")
SESSION = "bigmachine-session"
MACHINE = "bigmachine-machine"
"""The tags of bigmachine's resources."""

_CLEANUP = 10.0  # seconds: a provider responds sooner
_TRIES = 3  # of a call whose response was lost


@dataclass(frozen=True, slots=True)
class CloudOptions(InProcessOptions):
    """Options of the ``cloud`` system."""

    zone: str = option("north", help="Where machines are: north, south or tiny.")


class CloudSystem(InProcessSystem):
    """Machines in VMs of the fake provider."""

    name = "cloud"
    Options = CloudOptions

    options: CloudOptions

    def _begin(self) -> None:
        super()._begin()
        self._sessions: set[str] = set()

    async def setup(self) -> None:
        """Check the options."""
        await super().setup()
        zone = self.options.zone
        check_options(
            self.options, zone=None if zone in ZONES else f"must be one of {', '.join(ZONES)}"
        )
        await ACCOUNT.describe()  # are the credentials valid?

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Create VMs until there are enough, or the provider has no more."""
        self._sessions.add(request.session)
        orders: list[MachineSpec] = []
        instances: list[Instance] = []
        try:
            await self._prepare(request.session)
            for _ in range(count):
                orders.append(request.new_machine())
                instances.append(await self._launch_vm(request.session, orders[-1]))
        except OutOfCapacity as exc:
            await self._give_back(orders[-1:])
            if not instances:
                raise StartError(f"no machine in zone {self.options.zone!r}: {exc}") from exc
        except BaseException:
            await self._undo(orders)
            raise
        return instances

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Ask the provider, then the machine itself."""
        if not await ACCOUNT.describe({MACHINE: instance.name}):
            return Termination(StopReason.EXITED, "its VM was deleted")
        return await super().keepalive_failed(instance)

    async def stop(self, instance: Instance) -> None:
        """Delete the VM and its disk, whichever system object created them."""
        await self._free(instance)

    async def shutdown(self) -> None:
        """Delete all resources that are tagged with this object's sessions."""
        await super().shutdown()
        for session in tuple(self._sessions):
            await self._delete({SESSION: session})
            self._sessions.discard(session)

    async def instances(self) -> Sequence[Instance]:
        """List the VMs with our tag."""
        return [self._instance(vm) for vm in await ACCOUNT.describe() if self._is_ours(vm)]

    # -- steps, which the broken backends override ----------------------------------

    async def _prepare(self, session: str) -> None:
        """Create what all machines of a session share."""
        await self._create("firewall", token=f"firewall of {session}", tags={SESSION: session})

    async def _launch_vm(self, session: str, order: MachineSpec) -> Instance:
        driver = order.request.driver
        more = {"driver": str(driver), "host": driver.host, "started": _now()}
        tags = {SESSION: session, MACHINE: order.name, **more}
        await self._create("disk", token=f"disk of {order.name}", tags=tags)
        vm = await self._create("vm", token=f"vm of {order.name}", tags=tags)
        await self._power_on(vm, order)
        return self._instance(vm)

    async def _create(self, kind: str, *, token: str, tags: Mapping[str, str]) -> Resource:
        return await _retried(
            lambda: ACCOUNT.create(kind, token=token, tags=tags, zone=self.options.zone)
        )

    async def _power_on(self, vm: Resource, order: MachineSpec) -> None:
        """Start the machine; on a real provider that is a part of `create`."""
        [launched] = await super().start(1, _One(order))
        vm.address = launched.address

    async def _undo(self, orders: Sequence[MachineSpec]) -> None:
        """Delete what a start has created, even if the responses have not arrived yet."""
        with trio.move_on_after(_CLEANUP, shield=True):
            for order in orders:
                await self._free(Instance(name=order.name, address=""))

    async def _give_back(self, orders: Sequence[MachineSpec]) -> None:
        """Delete what was created for VMs that the provider then refused."""
        await self._undo(orders)

    async def _free(self, instance: Instance) -> None:
        await super().stop(instance)
        await self._delete({MACHINE: instance.name})

    async def _delete(self, tags: Mapping[str, str]) -> None:
        """Delete all resources with ``tags``; if it was cancelled, a second call does the rest."""
        for resource in await ACCOUNT.describe(tags, kind=None):
            if resource.address:
                await InProcessSystem.stop(self, self._instance(resource))
            await ACCOUNT.delete(resource.id)

    def _is_ours(self, vm: Resource) -> bool:
        return MACHINE in vm.tags

    def _instance(self, vm: Resource) -> Instance:
        details = {key: vm.tags.get(key, "") for key in ("driver", "host", "started")}
        return Instance(
            name=vm.tags.get(MACHINE, ""),
            address=vm.address,
            id=vm.id,
            cost_per_hour=0.5,
            details={"kind": "instance", "session": vm.tags.get(SESSION, ""), **details},
        )


class OutOfCapacity(Exception):
    """The provider has no VM of that kind left."""


@dataclass
class Resource:
    """A resource at the provider."""

    id: str
    kind: str
    zone: str
    tags: Mapping[str, str]
    address: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.id} {dict(self.tags)}"


@dataclass
class Account:
    """The provider, as one customer sees it; resources exist until they are deleted."""

    resources: dict[str, Resource] = field(default_factory=dict)
    capacity: dict[str, int] = field(default_factory=dict)
    """How many more VMs a zone has; a zone that is not listed has any number."""
    lost_responses: int = 0
    """How many of the next VMs are created without a response."""
    _tokens: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def create(
        self, kind: str, *, token: str, tags: Mapping[str, str], zone: str = ""
    ) -> Resource:
        """Create a resource, or return the one that was created with this token.

        Raises `OutOfCapacity`, or `TimeoutError` if the outcome is unknown.
        """
        await _latency()
        made = self.resources.get(self._tokens.get(token, ""))
        if made is None:
            if kind == "vm":
                self._take_place(zone)
            made = self.add(kind, zone=zone, tags=tags)
            self._tokens[token] = made.id
        if kind == "vm" and self.lost_responses:
            self.lost_responses -= 1
            raise TimeoutError(f"no response to create {kind}")
        await _latency()
        return made

    async def delete(self, id: str) -> None:
        """Delete a resource; one that does not exist is no error."""
        await _latency()
        resource = self.resources.pop(id, None)
        if resource is not None and resource.kind == "vm" and resource.zone in self.capacity:
            self.capacity[resource.zone] += 1
        await _latency()

    async def describe(
        self, tags: Mapping[str, str] | None = None, *, kind: str | None = "vm"
    ) -> list[Resource]:
        """List the resources that have all of ``tags``."""
        await _latency()
        wanted = (tags or {}).items()
        return [
            resource
            for resource in tuple(self.resources.values())
            if kind in (None, resource.kind) and wanted <= resource.tags.items()
        ]

    def add(self, kind: str, *, zone: str = "", tags: Mapping[str, str] | None = None) -> Resource:
        """Create a resource at once, as another program might."""
        resource = Resource(f"{kind}-{next(self._numbers)}", kind, zone, dict(tags or {}))
        self.resources[resource.id] = resource
        return resource

    def _take_place(self, zone: str) -> None:
        if zone in self.capacity:
            if not self.capacity[zone]:
                raise OutOfCapacity(f"InsufficientCapacity: zone {zone} has no VM left")
            self.capacity[zone] -= 1


ACCOUNT = Account()
"""The only account of this process."""


class _One:
    """A `LaunchRequest` for one machine that has a name already."""

    def __init__(self, order: MachineSpec) -> None:
        self._order = order

    def new_machine(self) -> MachineSpec:
        return self._order


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _latency() -> None:
    for _ in range(2):
        await trio.lowlevel.checkpoint()


async def _retried(call: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_TRIES - 1):
        try:
            return await call()
        except TimeoutError:
            continue
    return await call()


def leftovers() -> list[str]:
    """Describe every resource that exists."""
    return [str(resource) for resource in ACCOUNT.resources.values()]
