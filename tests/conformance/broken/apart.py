"""Machines beside each other: clauses STOP-5 and STOP-6 broken."""

from __future__ import annotations

import time

import trio

from bigmachine.testing.conformance._processes import find
from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks
from tests.conformance.cloud import ACCOUNT, MACHINE, CloudSystem

_HELD_SECONDS = 1.3  # a hook may block the event loop for one second at most


def _hangs(system, instance):
    process = find(int(instance.id)) if instance.name in system._processes else None
    return process is not None and process.is_frozen


@breaks({"STOP-5": "`keepalive_failed` of a machine, while another one hangs"})
class OneLockForAllMachines(LocalSystem):
    """`keepalive_failed` waits for the machine's answer, under one lock for all machines."""

    async def keepalive_failed(self, instance):
        async with self.__dict__.setdefault("_lock", trio.Semaphore(1)):
            while _hangs(self, instance):
                await trio.sleep(0.05)
            return await super().keepalive_failed(instance)


@breaks({"STOP-5": "s while a machine hung"})
class BlocksForMachineThatHangs(LocalSystem):
    """`keepalive_failed` blocks the event loop until the machine answers, or a timeout."""

    async def keepalive_failed(self, instance):
        if _hangs(self, instance):
            time.sleep(_HELD_SECONDS)
        return await super().keepalive_failed(instance)


class _StopsMatches(CloudSystem):
    def matches(self, name, given):
        raise NotImplementedError

    async def stop(self, instance):
        await super().stop(instance)
        for vm in await ACCOUNT.describe():
            if self.matches(vm.tags.get(MACHINE, ""), instance.name):
                await super().stop(self._instance(vm))


@breaks({"STOP-6": "is gone as well, after `stop` of instances that do not exist"})
class StopsByPrefix(_StopsMatches):
    """`stop` frees all machines whose names begin with the given one."""

    def matches(self, name, given):
        return name.startswith(given)


@breaks({"STOP-6": "is gone as well, after `stop` of instances that do not exist"})
class StopsBySubstring(_StopsMatches):
    """`stop` frees all machines whose names contain the given one, as a filter of a list does."""

    def matches(self, name, given):
        return given in name


@breaks(
    {
        "STOP-6": "is gone as well, after `stop` of instances that do not exist",
        "FOREIGN-1": "is gone as well, after the end of another session",
    }
)
class StopsByShortName(_StopsMatches):
    """`stop` frees all machines whose names are the same up to the first dot."""

    def matches(self, name, given):
        return name.partition(".")[0] == given.partition(".")[0]


@breaks({"STOP-6": "is gone as well, after `stop` of"})
class TruncatesNames(_StopsMatches):
    """`stop` compares as much of a name as a label of the provider can hold."""

    def matches(self, name, given):
        return name[:30] == given[:30]
