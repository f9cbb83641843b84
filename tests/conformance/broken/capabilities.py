"""Sections READ, CONSOLE and INSTANCES broken."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from bigmachine.system import Instance
from tests.conformance.broken import breaks
from tests.conformance.cloud import ACCOUNT, SESSION, CloudSystem


@breaks("READ-1")
class FirstChunkOnly(CloudSystem):
    """`read` returns what the first answer holds."""

    async def read(self, instance, path):
        async for chunk in super().read(instance, path):
            yield chunk
            return


@breaks("READ-2")
class MissingIsEmpty(CloudSystem):
    """A file that isn't there reads as an empty one."""

    async def read(self, instance, path):
        try:
            async for chunk in super().read(instance, path):
                yield chunk
        except FileNotFoundError:
            return


@breaks("CONSOLE-1")
class ConsoleOfTheLiving(CloudSystem):
    """The console is of VMs that run, and one whose boot failed does not."""

    async def console(self, instance):
        await super().console(instance)
        return ""


@breaks("CONSOLE-2")
class NoConsoleYet(CloudSystem):
    """A console that has nothing to show is None."""

    async def console(self, instance):
        return await super().console(instance) or None


@breaks("INSTANCES-1")
class ListsWithoutIds(CloudSystem):
    """`instances` has names and addresses, and no ids."""

    async def instances(self):
        return [replace(instance, id="") for instance in await super().instances()]


@breaks("INSTANCES-2", "INSTANCES-4")
class ListsItsOwn(CloudSystem):
    """`instances` lists what this object has started."""

    def _is_ours(self, vm):
        return vm.tags.get(SESSION) in self._sessions


@breaks("INSTANCES-3")
class ListsTheGone(CloudSystem):
    """`instances` lists terminated VMs with those that run."""

    _ever: ClassVar[list[Instance]] = []

    async def start(self, count, request):
        instances = await super().start(count, request)
        self._ever.extend(instances)
        return instances

    async def instances(self):
        await super().instances()
        return list(self._ever)


@breaks("INSTANCES-4")
class StopsItsOwn(CloudSystem):
    """`stop` does nothing for a machine that this object didn't start."""

    async def stop(self, instance):
        if instance.name in self._machines:
            await super().stop(instance)


@breaks("INSTANCES-5")
class ListsEverything(CloudSystem):
    """`instances` lists all VMs of the account."""

    async def instances(self):
        return [self._instance(vm) for vm in await ACCOUNT.describe()]


@breaks("INSTANCES-6")
class ListsNobodys(CloudSystem):
    """What is listed doesn't say which driver it is of."""

    def _instance(self, vm):
        instance = super()._instance(vm)
        details = {key: value for key, value in instance.details.items() if key != "driver"}
        return replace(instance, details=details)


@breaks("INSTANCES-2", "INSTANCES-4")
class ListsOnceSetUp(CloudSystem):
    """`instances` lists nothing before `setup` has looked up the account."""

    _is_set_up = False

    async def setup(self):
        await super().setup()
        self._is_set_up = True

    async def instances(self):
        found = await super().instances()
        return found if self._is_set_up else []
