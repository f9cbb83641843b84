"""Section START broken."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import replace

from bigmachine.system import Instance
from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks
from tests.conformance.cloud import ACCOUNT, CloudSystem, _retried

_HELD_SECONDS = 1.3  # more than the second that a hook may take


@breaks("START-1")
class HangingSetup(CloudSystem):
    """`setup` waits for a provider that isn't reached, and has the whole loop wait."""

    async def setup(self):
        time.sleep(3600)


@breaks("START-2")
class OneTooMany(CloudSystem):
    """One machine more is launched, to have a spare, and returned with the others."""

    async def start(self, count, request):
        return await super().start(count + 1, request)


@breaks("START-3", "START-4")
class BatchAddresses(CloudSystem):
    """The machines of a batch are taken to be at the addresses numbered from the first on."""

    async def start(self, count, request):
        instances = await super().start(count, request)
        if count == 1:
            return instances
        self._batch = getattr(self, "_batch", [i.address for i in instances])
        return [replace(i, address=a) for i, a in zip(instances, self._batch, strict=False)]


@breaks("START-5")
class CountedTwice(CloudSystem):
    """Of three machines the last was refused, and is returned like the others."""

    async def start(self, count, request):
        instances = list(await super().start(count, request))
        if count == 3:
            await self._free(instances[-1])
        return instances


@breaks("START-6")
class DiskOfNobody(CloudSystem):
    """The disk is made before its VM, and left there if that isn't to be had."""

    async def _give_back(self, orders):
        pass


@breaks("START-7")
class UnshieldedCleanup(CloudSystem):
    """A cancelled start deletes what it made, in calls that are cancelled, too."""

    async def _undo(self, orders):
        for order in orders:
            await self._free(Instance(name=order.name, address=""))


@breaks("START-7")
class ForgetsTheUnanswered(CloudSystem):
    """A cancelled start deletes the VMs that it was told of, not those it had asked for."""

    async def _launch_vm(self, session, order):
        instance = await super()._launch_vm(session, order)
        self._answered = {*getattr(self, "_answered", ()), order.name}
        return instance

    async def _undo(self, orders):
        answered = getattr(self, "_answered", set())
        await super()._undo([order for order in orders if order.name in answered])

    async def _give_back(self, orders):
        await super()._undo(orders)


@breaks("START-7")
class UndoesTheLastOnly(CloudSystem):
    """A cancelled start deletes the VM that it was making, not those that were made before."""

    async def _undo(self, orders):
        await super()._undo(orders[-1:])


@breaks("START-8")
class RetryWithoutToken(CloudSystem):
    """Each try to make a VM has a token of its own."""

    async def _create(self, kind, *, token, tags):
        if kind != "vm":
            return await super()._create(kind, token=token, tags=tags)
        return await _retried(
            lambda: ACCOUNT.create(
                kind, token=secrets.token_hex(8), tags=tags, zone=self.options.zone
            )
        )


@breaks("START-9")
class BlockingPause(CloudSystem):
    """A batch waits for its VMs in `time.sleep`."""

    async def start(self, count, request):
        if count == 2:
            time.sleep(_HELD_SECONDS)
        return await super().start(count, request)


@breaks("START-10", options={"fork": False})
class KeyInTheEnvironment(LocalSystem):
    """The machine's key goes to its process by an environment variable."""

    async def start(self, count, request):
        try:
            return await super().start(count, _Exporting(request))
        finally:
            os.environ.pop("MACHINE_KEY", None)


class _Exporting:
    def __init__(self, request):
        self._boot = request

    def new_machine(self):
        made = self._boot.new_machine()
        begin = made.config.find(b"-----BEGIN PRIVATE KEY-----")
        with contextlib.suppress(UnicodeDecodeError):
            os.environ["MACHINE_KEY"] = made.config[begin : begin + 220].decode()
        return made


@breaks("START-11")
class LeavesTheFailed(CloudSystem):
    """`stop` looks for VMs that run, and one whose boot failed does not."""

    async def stop(self, instance):
        machine = self._machines.get(instance.name)
        if machine is None or not machine.console:
            await super().stop(instance)
