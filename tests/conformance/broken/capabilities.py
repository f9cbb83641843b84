"""Sections READ, CONSOLE and INSTANCES broken."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from bigmachine.system import Instance
from tests.conformance.broken import breaks
from tests.conformance.cloud import ACCOUNT, SESSION, CloudSystem


@breaks("READ-1")
class FirstChunkOnly(CloudSystem):
    """`read` yields only the first chunk of a file."""

    async def read(self, instance, path):
        async for chunk in super().read(instance, path):
            yield chunk
            return


@breaks("READ-2")
class MissingFileIsEmpty(CloudSystem):
    """`read` of a missing file yields nothing and raises nothing."""

    async def read(self, instance, path):
        try:
            async for chunk in super().read(instance, path):
                yield chunk
        except FileNotFoundError:
            return


@breaks("CONSOLE-1")
class NoConsoleAfterFailedBoot(CloudSystem):
    """`console` returns no output for a machine whose boot failed."""

    async def console(self, instance):
        await super().console(instance)
        return ""


@breaks("CONSOLE-2")
class NoneForEmptyConsole(CloudSystem):
    """`console` returns None if there is no output yet."""

    async def console(self, instance):
        return await super().console(instance) or None


@breaks("INSTANCES-1")
class ListsWithoutIds(CloudSystem):
    """`instances` returns names and addresses, but no ids."""

    async def instances(self):
        return [replace(instance, id="") for instance in await super().instances()]


@breaks("INSTANCES-2", "INSTANCES-4")
class ListsOwnOnly(CloudSystem):
    """`instances` lists only what this object has started."""

    def _is_ours(self, vm):
        return vm.tags.get(SESSION) in self._sessions


@breaks("INSTANCES-3")
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


@breaks("INSTANCES-4")
class StopsOwnOnly(CloudSystem):
    """`stop` ignores a machine that this object has not started."""

    async def stop(self, instance):
        if instance.name in self._machines:
            await super().stop(instance)


@breaks("INSTANCES-5")
class ListsWholeAccount(CloudSystem):
    """`instances` lists all VMs of the account."""

    async def instances(self):
        return [self._instance(vm) for vm in await ACCOUNT.describe()]


@breaks("INSTANCES-6")
class ListsWithoutDriver(CloudSystem):
    """`instances` does not say which driver a machine belongs to."""

    def _instance(self, vm):
        instance = super()._instance(vm)
        details = {key: value for key, value in instance.details.items() if key != "driver"}
        return replace(instance, details=details)


@breaks("INSTANCES-2", "INSTANCES-4")
class ListsOnlyAfterSetup(CloudSystem):
    """`instances` returns nothing before `setup` has run."""

    _is_set_up = False

    async def setup(self):
        await super().setup()
        self._is_set_up = True

    async def instances(self):
        found = await super().instances()
        return found if self._is_set_up else []
