"""State that grows: clauses STOP-7 and SHUTDOWN-4 broken."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
import threading
from typing import ClassVar

from tests.conformance.broken import breaks
from tests.conformance.cloud import CloudSystem


@breaks({"STOP-7": "more entries in", "SHUTDOWN-4": "more entries in"})
class RemembersAllMachines(CloudSystem):
    """A table of the class has an entry for each machine that ever was."""

    _addresses: ClassVar[dict[str, str]] = {}

    async def start(self, count, request):
        instances = await super().start(count, request)
        self._addresses.update((i.name, i.address) for i in instances)
        return instances


@breaks(
    {
        "STOP-7": "more open descriptors of the driver",
        "SHUTDOWN-4": "more open descriptors of the driver",
    }
)
class LeavesDescriptors(CloudSystem):
    """Each start leaves an open file."""

    async def start(self, count, request):
        os.open(os.devnull, os.O_RDONLY)
        return await super().start(count, request)


@breaks({"STOP-7": "more threads of the driver", "SHUTDOWN-4": "more threads of the driver"})
class LeavesThreads(CloudSystem):
    """Each start leaves a thread that waits for ever."""

    async def start(self, count, request):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return await super().start(count, request)


@breaks(
    {
        "STOP-7": "more temporary files",
        "SHUTDOWN-4": "more temporary files",
        "SHUTDOWN-2": "still there after shutdown:",
    }
)
class LeavesFiles(CloudSystem):
    """Each start leaves a temporary file."""

    async def start(self, count, request):
        os.close(tempfile.mkstemp()[0])
        return await super().start(count, request)


@breaks({"SHUTDOWN-4": "RegistersAtExit"})
class RegistersAtExit(CloudSystem):
    """`setup` registers a method of the system for the end of the process, and keeps it alive."""

    async def setup(self):
        atexit.register(self._machines.clear)
        atexit.register(self.maxprocs)
        await super().setup()


@breaks({"SHUTDOWN-4": "cached results of"})
class CachesByObject(CloudSystem):
    """A cache keeps each system object alive."""

    async def setup(self):
        await super().setup()
        self._prices()

    @functools.cache  # noqa: B019
    def _prices(self):
        return {"small": 0.5}
