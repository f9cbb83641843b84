"""Sections KEEPALIVE, STOP, SHUTDOWN and FOREIGN broken."""

from __future__ import annotations

import os
import signal

import trio

from bigmachine.errors import StopReason
from bigmachine.system import Keepalive, Termination
from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks
from tests.conformance.broken._helper import Helper
from tests.conformance.cloud import ACCOUNT, MACHINE, SESSION, CloudSystem


@breaks({"KEEPALIVE-1": "still there after"})
class ForgetsSilentMachine(CloudSystem):
    """`keepalive_failed` drops the machine from the table that `stop` uses."""

    async def keepalive_failed(self, instance):
        gone = await super().keepalive_failed(instance)
        if gone is None:
            self._dropped = {*getattr(self, "_dropped", ()), instance.name}
        return gone

    async def stop(self, instance):
        if instance.name not in getattr(self, "_dropped", ()):
            await super().stop(instance)


@breaks(
    {
        "KEEPALIVE-3": "runs, but keepalive_failed returns:",
        "STOP-6": "runs, but keepalive_failed returns:",
    }
)
class AlwaysReportsEnd(CloudSystem):
    """`keepalive_failed` reports every machine as ended."""

    async def keepalive_failed(self, instance):
        await trio.lowlevel.checkpoint()
        return Termination(StopReason.EXITED, "it does not answer")


@breaks({"KEEPALIVE-4": "KeyError"})
class CheckAfterStopFails(CloudSystem):
    """`keepalive_failed` raises KeyError for a machine that was stopped."""

    async def stop(self, instance):
        await super().stop(instance)
        self._freed = {*getattr(self, "_freed", ()), instance.name}

    async def keepalive_failed(self, instance):
        if instance.name in getattr(self, "_freed", ()):
            raise KeyError(instance.name)
        return await super().keepalive_failed(instance)


@breaks({"KEEPALIVE-5": "ended with status 7, but the error says"})
class LosesExitStatus(LocalSystem):
    """`keepalive_failed` says that a process has ended, but not how."""

    async def keepalive_failed(self, instance):
        gone = await super().keepalive_failed(instance)
        return gone and Termination(gone.reason, "its process ended")


@breaks(
    {
        "STOP-1": "is gone as well, after `stop` of m1",
        "STOP-6": "is gone as well, after `stop` of m1",
    }
)
class StopsNeighbours(CloudSystem):
    """`stop` also stops all machines that were started after the given one."""

    async def stop(self, instance):
        names = list(self._machines)
        if instance.name in names:
            for name in names[names.index(instance.name) + 1 :]:
                await super().stop(self._machines[name].instance)
        await super().stop(instance)


@breaks(
    {
        "STOP-1": "still there after",
        "START-11": "still there after",
        "KEEPALIVE-1": "still there after",
        "STOP-7": "more resources at the provider",
        "CANCEL-2": "still there after",
    }
)
class LeavesDisk(CloudSystem):
    """`stop` deletes the VM, but leaves its disk until `shutdown`."""

    async def stop(self, instance):
        await super(CloudSystem, self).stop(instance)
        for vm in await ACCOUNT.describe({MACHINE: instance.name}):
            await ACCOUNT.delete(vm.id)


@breaks({"STOP-2": "still answers after stop"})
class StopsLater(CloudSystem):
    """`stop` returns once the provider has accepted the request, before the VM is gone."""

    async def stop(self, instance):
        await trio.lowlevel.checkpoint()
        trio.lowlevel.spawn_system_task(self._stop_later, instance)

    async def _stop_later(self, instance):
        await trio.sleep(0.3)
        await super().stop(instance)


@breaks({"STOP-3": "KeyError"})
class StopsOnce(CloudSystem):
    """A second `stop` of the same machine raises KeyError."""

    async def stop(self, instance):
        freed = self.__dict__.setdefault("_freed", set())
        if instance.name in freed:
            raise KeyError(instance.name)
        await super().stop(instance)
        freed.add(instance.name)


@breaks({"STOP-3": "it is being stopped"})
class StopsOneAtATime(CloudSystem):
    """A `stop` of a machine that another call is stopping raises RuntimeError."""

    async def stop(self, instance):
        stopping = self.__dict__.setdefault("_stopping", set())
        if instance.name in stopping:
            raise RuntimeError("it is being stopped")
        stopping.add(instance.name)
        try:
            await super().stop(instance)
        finally:
            stopping.discard(instance.name)


@breaks({"FOREIGN-1": "gone with another session: firewall"})
class DeletesAllFirewalls(CloudSystem):
    """`shutdown` deletes the firewalls of all sessions."""

    async def shutdown(self):
        await super().shutdown()
        for firewall in await ACCOUNT.describe(kind="firewall"):
            await ACCOUNT.delete(firewall.id)


@breaks({"STOP-4": "`stop` of a machine that hangs"})
class StopsBySigtermOnly(LocalSystem):
    """`stop` sends SIGTERM, and gives up on a machine that does not end."""

    def main(self, serve):
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        super().main(serve)

    def keepalive(self):
        return Keepalive(period=10.0, timeout=120.0, rpc_timeout=1.0)

    async def stop(self, instance):
        process = self._processes.get(instance.name)
        if process is None:
            return
        if not process._has_exited:
            os.kill(process.pid, signal.SIGTERM)
        with trio.move_on_after(3.0):
            await process.wait()
            self._forget(instance.name)


@breaks({"SHUTDOWN-1": "answers after shutdown", "CANCEL-3": "stops answering"})
class ShutdownLeavesMachines(CloudSystem):
    """`shutdown` deletes the firewall, but not the machines."""

    async def shutdown(self):
        for session in self._sessions:
            for firewall in await ACCOUNT.describe({SESSION: session}, kind="firewall"):
                await ACCOUNT.delete(firewall.id)


@breaks({"SHUTDOWN-2": "still there after shutdown: process"})
class LeavesHelperProcess(CloudSystem):
    """`shutdown` leaves a helper process, which ends only with the driver."""

    async def start(self, count, request):
        if not hasattr(self, "_shipper"):
            self._shipper = Helper(tied=True)
        return await super().start(count, request)


@breaks(
    {
        "SHUTDOWN-2": "still there after shutdown: firewall",
        "SHUTDOWN-4": "more resources at the provider",
    }
)
class LeavesFirewall(CloudSystem):
    """`shutdown` deletes the machines, but not the firewall that they share."""

    async def _delete(self, tags):
        for resource in await ACCOUNT.describe(tags, kind=None):
            if resource.kind != "firewall":
                await super()._delete({MACHINE: resource.tags[MACHINE]})


@breaks(
    {
        "SHUTDOWN-3": "object has no attribute",
        "OPTIONS-3": "object has no attribute",
        "INSTANCES-2": "object has no attribute",
        "INSTANCES-4": "object has no attribute",
    }
)
class ShutdownNeedsSetup(CloudSystem):
    """`shutdown` fails unless `setup` has run."""

    async def setup(self):
        await super().setup()
        self._account = ACCOUNT

    async def shutdown(self):
        await self._account.describe()
        await super().shutdown()


@breaks(
    {
        "FOREIGN-1": "is gone as well, after the end of another session",
        "STOP-6": "is gone as well, after the end of session",
    }
)
class DeletesAllSessions(CloudSystem):
    """`shutdown` deletes the machines of all sessions."""

    async def shutdown(self):
        for vm in await ACCOUNT.describe():
            if MACHINE in vm.tags:
                await self._free(self._instance(vm))
        await super().shutdown()


@breaks({"FOREIGN-2": "a foreign resource was deleted with a session"})
class DeletesForeignDisks(CloudSystem):
    """`shutdown` deletes every disk that belongs to no machine of bigmachine."""

    async def shutdown(self):
        await super().shutdown()
        for disk in await ACCOUNT.describe(kind="disk"):
            if MACHINE not in disk.tags:
                await ACCOUNT.delete(disk.id)
