"""Sections READ, CONSOLE and INSTANCES broken."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import trio

from bigmachine.system import Capability, Instance
from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks
from tests.conformance.cloud import ACCOUNT, SESSION, CloudSystem


@breaks({"READ-1": "not the file", "CANCEL-6": "`read` returns other bytes"})
class FirstChunkOnly(CloudSystem):
    """`read` yields only the first chunk of a file."""

    async def read(self, instance, path):
        async for chunk in super().read(instance, path):
            yield chunk
            return


@breaks({"READ-1": "FileNotFoundError"})
class ReadsByShell(CloudSystem):
    """`read` gives the path to a shell, without quotes."""

    async def read(self, instance, path):
        words = path.split()
        if len(words) > 1:
            raise FileNotFoundError(words[0])
        async for chunk in super().read(instance, path):
            yield chunk


@breaks({"READ-2": "DID NOT RAISE"})
class MissingFileIsEmpty(CloudSystem):
    """`read` of a missing file yields nothing and raises nothing."""

    async def read(self, instance, path):
        try:
            async for chunk in super().read(instance, path):
                yield chunk
        except FileNotFoundError:
            return


@breaks({"CONSOLE-1": "`console` does not return why the boot failed: it returns"})
class NoConsoleAfterFailedBoot(CloudSystem):
    """`console` returns no output for a machine whose boot failed."""

    async def console(self, instance):
        await super().console(instance)
        return ""


@breaks({"CONSOLE-1": "`console` does not return why the boot failed: it returns"})
class ConsoleIsOnlyInTail(LocalSystem):
    """`console` is empty; the user sees why a boot failed in what `tail` shows."""

    capabilities = LocalSystem.capabilities | {Capability.CONSOLE}

    async def console(self, instance):
        await trio.lowlevel.checkpoint()
        return ""


@breaks({"CONSOLE-2": "console returns None", "CANCEL-7": "console returns None"})
class NoneForEmptyConsole(CloudSystem):
    """`console` returns None if there is no output yet."""

    async def console(self, instance):
        return await super().console(instance) or None


@breaks({"INSTANCES-1": "with the id ''"})
class ListsWithoutIds(CloudSystem):
    """`instances` returns names and addresses, but no ids."""

    async def instances(self):
        return [replace(instance, id="") for instance in await super().instances()]


@breaks({"INSTANCES-2": "another system object does not list", "INSTANCES-4": "is listed 0 times"})
class ListsOwnOnly(CloudSystem):
    """`instances` lists only what this object has started."""

    def _is_ours(self, vm):
        return vm.tags.get(SESSION) in self._sessions


@breaks(
    {
        "INSTANCES-3": "a stopped machine is not listed",
        "STOP-6": "is no longer listed",
        "STOP-7": "more entries in",
        "SHUTDOWN-4": "more entries in",
    }
)
class ListsTerminated(CloudSystem):
    """`instances` lists terminated VMs as well."""

    _ever: ClassVar[list[Instance]] = []

    async def start(self, count, request):
        instances = await super().start(count, request)
        self._ever.extend(instances)
        return instances

    async def instances(self):
        await super().instances()
        return list(self._ever)


@breaks({"INSTANCES-4": "stops answering"})
class StopsOwnOnly(CloudSystem):
    """`stop` ignores a machine that this object has not started."""

    async def stop(self, instance):
        if instance.name in self._machines:
            await super().stop(instance)


@breaks(
    {
        "INSTANCES-1": "is listed with the id 'disk-",
        "INSTANCES-7": "but `instances` lists it",
        "START-2": "but `instances` lists it",
        "START-6": "but `instances` lists it",
        "START-8": "but `instances` lists it",
        "INSTANCES-4": "is listed 2 times",
    }
)
class ListsDisksAsMachines(CloudSystem):
    """`instances` lists a machine's disk as one more machine."""

    async def instances(self):
        disks = [disk for disk in await ACCOUNT.describe(kind="disk") if self._is_ours(disk)]
        return [*await super().instances(), *map(self._instance, disks)]


@breaks({"INSTANCES-5": "listed, but not created by bigmachine:"})
class ListsWholeAccount(CloudSystem):
    """`instances` lists all VMs of the account."""

    async def instances(self):
        return [self._instance(vm) for vm in await ACCOUNT.describe()]


@breaks({"INSTANCES-6": "must be str(request.driver)"})
class ListsWithoutDriver(CloudSystem):
    """`instances` does not say which driver a machine belongs to."""

    def _instance(self, vm):
        instance = super()._instance(vm)
        details = {key: value for key, value in instance.details.items() if key != "driver"}
        return replace(instance, details=details)


@breaks({"INSTANCES-2": "another system object does not list", "INSTANCES-4": "is listed 0 times"})
class ListsOnlyAfterSetup(CloudSystem):
    """`instances` returns nothing before `setup` has run."""

    _is_set_up = False

    async def setup(self):
        await super().setup()
        self._is_set_up = True

    async def instances(self):
        found = await super().instances()
        return found if self._is_set_up else []
