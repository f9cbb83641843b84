"""Section CANCEL broken."""

from __future__ import annotations

import trio

from bigmachine.errors import StopReason
from bigmachine.system import Termination
from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks
from tests.conformance.cloud import CloudSystem


async def _hang():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


@breaks("CANCEL-1")
class HoldsItsLock(CloudSystem):
    """`setup` marks that it is at work, and a cancelled one leaves the mark."""

    _is_at_work = False

    async def setup(self):
        if self._is_at_work:
            raise RuntimeError("another setup is at work")
        self._is_at_work = True
        await super().setup()
        self._is_at_work = False


@breaks("CANCEL-2")
class SwallowsCancellation(CloudSystem):
    """`stop` takes whatever comes, cancellation too, for a VM that is gone already."""

    async def stop(self, instance):
        try:
            await super().stop(instance)
        except BaseException:
            return


@breaks("CANCEL-3")
class ForgetsBeforeItFrees(CloudSystem):
    """`shutdown` clears its table, and then deletes what was in it."""

    async def shutdown(self):
        sessions, self._sessions = self._sessions, set()
        await super().shutdown()
        for session in sessions:
            await self._delete({"bigmachine-session": session})


@breaks("CANCEL-4")
class TakesItForGone(CloudSystem):
    """A question that is cut off is remembered as one that the provider couldn't answer."""

    async def keepalive_failed(self, instance):
        lost = self.__dict__.setdefault("_lost", set())
        if instance.name in lost:
            return Termination(StopReason.EXITED, "the provider does not know it")
        try:
            return await super().keepalive_failed(instance)
        except trio.Cancelled:
            lost.add(instance.name)
            raise


@breaks("CANCEL-5")
class EndlessTail(LocalSystem):
    """`tail` ends by a message of its own, which comes when the machine is gone."""

    def tail(self, instance):
        return self._lines(super().tail(instance))

    async def _lines(self, log):
        try:
            async for line in log:
                yield line
        except trio.Cancelled:
            await _hang()


@breaks("CANCEL-6")
class EndlessRead(CloudSystem):
    """`read` waits for the transfer's end even when nobody wants it any more."""

    async def read(self, instance, path):
        try:
            async for chunk in super().read(instance, path):
                yield chunk
        except trio.Cancelled:
            await _hang()


@breaks("CANCEL-7")
class EndlessConsole(CloudSystem):
    """`console`, cut off, waits for an answer that nobody will send again."""

    async def console(self, instance):
        try:
            return await super().console(instance)
        except trio.Cancelled:
            await _hang()


@breaks("CANCEL-8")
class EndlessListing(CloudSystem):
    """`instances` tries again for ever, whatever the reason is that it was cut off."""

    async def instances(self):
        while True:
            try:
                return await super().instances()
            except BaseException:
                await _hang()
