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


@breaks({"CANCEL-1": "another setup is at work"})
class KeepsLockAfterCancel(CloudSystem):
    """A cancelled `setup` leaves its lock held, so that the next one fails."""

    _is_at_work = False

    async def setup(self):
        if self._is_at_work:
            raise RuntimeError("another setup is at work")
        self._is_at_work = True
        await super().setup()
        self._is_at_work = False


@breaks({"CANCEL-2": "still there after"})
class SwallowsCancellation(CloudSystem):
    """`stop` suppresses every exception, cancellation included."""

    async def stop(self, instance):
        try:
            await super().stop(instance)
        except BaseException:
            return


@breaks({"CANCEL-3": "still there after"})
class ForgetsBeforeFreeing(CloudSystem):
    """`shutdown` clears its table before it deletes the resources in it."""

    async def shutdown(self):
        sessions, self._sessions = self._sessions, set()
        await super().shutdown()
        for session in sessions:
            await self._delete({"bigmachine-session": session})


@breaks({"CANCEL-4": "after a cancelled call it returns:"})
class CancelledCheckMeansGone(CloudSystem):
    """A cancelled `keepalive_failed` makes the next one report the machine as ended."""

    async def keepalive_failed(self, instance):
        lost = self.__dict__.setdefault("_lost", set())
        if instance.name in lost:
            return Termination(StopReason.EXITED, "the provider does not know it")
        try:
            return await super().keepalive_failed(instance)
        except trio.Cancelled:
            lost.add(instance.name)
            raise


@breaks({"CANCEL-5": "a hook that was cancelled has not ended after"})
class EndlessTail(LocalSystem):
    """A cancelled `tail` waits for an end of the log that never comes."""

    def tail(self, instance):
        return self._lines(super().tail(instance))

    async def _lines(self, log):
        try:
            async for line in log:
                yield line
        except trio.Cancelled:
            await _hang()


@breaks({"CANCEL-6": "a hook that was cancelled has not ended after"})
class EndlessRead(CloudSystem):
    """A cancelled `read` waits for an end of the transfer that never comes."""

    async def read(self, instance, path):
        try:
            async for chunk in super().read(instance, path):
                yield chunk
        except trio.Cancelled:
            await _hang()


@breaks({"CANCEL-7": "a hook that was cancelled has not ended after"})
class EndlessConsole(CloudSystem):
    """A cancelled `console` waits for a response that never comes."""

    async def console(self, instance):
        try:
            return await super().console(instance)
        except trio.Cancelled:
            await _hang()


@breaks({"CANCEL-8": "a hook that was cancelled has not ended after"})
class EndlessListing(CloudSystem):
    """`instances` retries after every exception, cancellation included."""

    async def instances(self):
        while True:
            try:
                return await super().instances()
            except BaseException:
                await _hang()
