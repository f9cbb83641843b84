"""Section START broken."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

import trio

from bigmachine.system import Instance
from tests.conformance.broken import breaks
from tests.conformance.broken._plain import PlainSystem
from tests.conformance.cloud import ACCOUNT, CloudSystem, _latency, _retried

_HELD_SECONDS = 1.3  # a hook may block the event loop for one second at most


@breaks({"START-1": "`stop` of m0 has not returned"})
class EndlessStop(CloudSystem):
    """`stop` waits for ever for the provider."""

    async def stop(self, instance):
        await super().stop(instance)
        await trio.sleep_forever()


@breaks({"START-1": "SystemExit('no credentials')"})
class ExitsInStart(CloudSystem):
    """`start` ends the driver if the provider refuses."""

    async def start(self, count, request):
        await trio.lowlevel.checkpoint()
        raise SystemExit("no credentials")


@breaks(
    {
        "START-2": "but `instances` lists it",
        "START-6": "InsufficientCapacity",
        "START-8": "but `instances` lists it",
        "INSTANCES-7": "but `instances` lists it",
    }
)
class LaunchesTwice(CloudSystem):
    """`start` launches each machine twice, and returns one of the two."""

    async def start(self, count, request):
        twins = await super().start(count, request)
        try:
            instances = await super().start(count, request)
        except BaseException:
            with trio.CancelScope(shield=True):
                for twin in twins:
                    await self._free(twin)
            raise
        pairs = zip(instances, twins, strict=False)
        self.__dict__.setdefault("_twins", {}).update((one.name, twin) for one, twin in pairs)
        return instances

    async def stop(self, instance):
        await super().stop(instance)
        if twin := self.__dict__.get("_twins", {}).get(instance.name):
            await super().stop(twin)


@breaks({"START-2": "machines, got"})
class StartsOneTooMany(CloudSystem):
    """`start` launches and returns one machine more than requested."""

    async def start(self, count, request):
        return await super().start(count + 1, request)


@breaks({"START-3": "addresses are not unique:", "START-4": "certificate verify failed"})
class RepeatsAddresses(CloudSystem):
    """`start` gives the machines of each batch the addresses of the first batch."""

    boot_timeout = 5.0  # it is waited for: until then, another machine may have its old address

    async def start(self, count, request):
        instances = await super().start(count, request)
        if count == 1:
            return instances
        self._batch = getattr(self, "_batch", [i.address for i in instances])
        return [replace(i, address=a) for i, a in zip(instances, self._batch, strict=False)]


@breaks({"START-5": "did not boot; it failed in phase connect: BigmachineError:"})
class ReturnsDeletedMachine(CloudSystem):
    """`start` of many machines deletes the last one and returns it with the others."""

    async def start(self, count, request):
        instances = list(await super().start(count, request))
        if count > 10:
            await self._free(instances[-1])
        return instances


@breaks({"START-6": "still there after"})
class LeavesDiskOfRefusedVm(CloudSystem):
    """`start` leaves the disk of a VM that the provider then refuses to create."""

    async def _give_back(self, orders):
        pass


@breaks({"START-7": "still there after"})
class UnshieldedCleanup(CloudSystem):
    """The cleanup of a cancelled `start` is cancelled as well."""

    async def _undo(self, orders):
        for order in orders:
            await self._free(Instance(name=order.name, address=""))


@breaks({"START-7": "still there after"})
class LeavesUnconfirmedVms(CloudSystem):
    """A cancelled `start` deletes only VMs whose creation was confirmed."""

    async def _launch_vm(self, session, order):
        instance = await super()._launch_vm(session, order)
        self._answered = {*getattr(self, "_answered", ()), order.name}
        return instance

    async def _undo(self, orders):
        answered = getattr(self, "_answered", set())
        await super()._undo([order for order in orders if order.name in answered])

    async def _give_back(self, orders):
        await super()._undo(orders)


@breaks({"START-7": "still there after"})
class DeletesLastOnly(CloudSystem):
    """A cancelled `start` deletes only the last VM that it created."""

    async def _undo(self, orders):
        await super()._undo(orders[-1:])


@breaks({"START-7": "neither recorded nor killed is what it launched: process"})
class RecordsLate(PlainSystem):
    """`launch` records a process after it has sent the configuration, when it may be cancelled."""

    async def opened(self, spec, process):
        await process.stdin.send_all(spec.config)
        await _latency()
        self.processes[spec.name] = process


@breaks({"START-8": "but `instances` lists it"})
class NewTokenPerRetry(CloudSystem):
    """Each retry of a VM's creation has a new idempotency token."""

    async def _create(self, kind, *, token, tags):
        if kind != "vm":
            return await super()._create(kind, token=token, tags=tags)
        return await _retried(
            lambda: ACCOUNT.create(
                kind, token=secrets.token_hex(8), tags=tags, zone=self.options.zone
            )
        )


@breaks({"START-9": "blocked trio's loop for"})
class BlockingWait(CloudSystem):
    """`start` waits for its VMs in `time.sleep`, which blocks the event loop."""

    async def start(self, count, request):
        if count == 2:
            time.sleep(_HELD_SECONDS)
        return await super().start(count, request)


@breaks({"START-11": "still there after"})
class LeavesFailedBoots(CloudSystem):
    """`stop` does nothing for a machine whose boot failed."""

    async def stop(self, instance):
        machine = self._machines.get(instance.name)
        if machine is None or not machine.console:
            await super().stop(instance)
