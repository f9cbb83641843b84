"""What comes after a failure: clauses START-12 to START-14, and CANCEL, broken."""

from __future__ import annotations

import os
import tempfile

import trio

from bigmachine.errors import StartError
from tests.conformance.broken import breaks
from tests.conformance.cloud import ACCOUNT, MACHINE, CloudSystem


def _lock(system):
    return system.__dict__.setdefault("_lock", trio.Semaphore(1))


@breaks(
    {
        "START-12": "a start after one that was cancelled after",
        "START-6": "the error of a start without capacity",
    }
)
class KeepsLockAfterFailedStart(CloudSystem):
    """A start that failed or was cancelled leaves its lock held, so that the next one waits."""

    async def start(self, count, request):
        await _lock(self).acquire()
        instances = await super().start(count, request)
        _lock(self).release()
        return instances


@breaks({"START-13": "a start after other drivers were killed"})
class WaitsForDeadDriver(CloudSystem):
    """A start waits until a file is gone that the start of another driver deletes at its end."""

    async def start(self, count, request):
        lock = os.path.join(tempfile.gettempdir(), "cloud.lock")
        while True:
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                await trio.sleep(0.01)
        try:
            return await super().start(count, request)
        finally:
            os.unlink(lock)


@breaks({"START-14": "but the error says: no machine could be started"})
class HidesRefusal(CloudSystem):
    """The error of a refused start does not say what the provider has said."""

    async def start(self, count, request):
        try:
            return await super().start(count, request)
        except StartError:
            raise StartError("no machine could be started") from None


@breaks({"CANCEL-6": "`read`, after one that was cancelled"})
class KeepsLockAfterCancelledRead(CloudSystem):
    """A `read` that was cancelled leaves its lock held."""

    async def read(self, instance, path):
        await _lock(self).acquire()
        async for chunk in super().read(instance, path):
            yield chunk
        _lock(self).release()


@breaks({"CANCEL-7": "`console`, after one that was cancelled"})
class KeepsLockAfterCancelledConsole(CloudSystem):
    """A `console` that was cancelled leaves its lock held."""

    async def console(self, instance):
        await _lock(self).acquire()
        await ACCOUNT.describe({MACHINE: instance.name})
        text = await super().console(instance)
        _lock(self).release()
        return text


@breaks({"CANCEL-8": "`instances`, after one that was cancelled"})
class KeepsLockAfterCancelledListing(CloudSystem):
    """A call of `instances` that was cancelled leaves its lock held."""

    async def instances(self):
        await _lock(self).acquire()
        found = await super().instances()
        _lock(self).release()
        return found


@breaks({"CANCEL-4": "`keepalive_failed`, after one that was cancelled"})
class KeepsLockAfterCancelledCheck(CloudSystem):
    """A `keepalive_failed` that was cancelled leaves its lock held."""

    async def keepalive_failed(self, instance):
        await _lock(self).acquire()
        gone = await super().keepalive_failed(instance)
        _lock(self).release()
        return gone
