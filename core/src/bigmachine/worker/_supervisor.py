"""The service that every machine has: its driver installs services, keeps it alive and ends it.

All public methods can be called by the driver, and by the other machines of the session.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from .._values import DiskInfo, KeepaliveReply, LoadInfo, MachineInfo, MemoryInfo, Notice
from .._version import __version__
from ..boot.vm.common import CHUNK_BYTES
from ..boot.vm.log import read_log
from ..errors import NotSupportedError
from ..logs._settings import LogSettings, set_levels
from ..rpc import method_of
from . import _resources
from ._debugger_methods import DebuggerMethods
from ._ending import Ending
from ._installer import Installer
from ._notices import Notices
from ._service_methods import ServiceMethods
from ._service_store import Dial
from ._shortage import UNHEALTHY_MEMORY, Shortage

if TYPE_CHECKING:
    from ..debugger._breakpoints import Breakpoints
    from ..otel._buffer import SpanBuffer
    from ..profiling import Profile, ThreadDump
    from ..profiling._request import ProfileRequest

LOG_POLL_SECONDS = 0.1
"""How often `Supervisor.tail` looks at the log."""


class Supervisor(ServiceMethods, DebuggerMethods):
    """Serves ``Supervisor.*`` on a machine.

    ``installer`` and ``dial_peer`` are those of `ServiceMethods`, ``breakpoints`` of
    `DebuggerMethods`. ``ending`` ends the machine, and ``shortage`` watches its memory.
    ``activity`` is `Server.activity`; ``measure`` returns the machine's metrics, and
    ``profile_processes`` is `Services.profile_processes`. ``notices`` are those of its provider, if
    the system has them, and ``spans`` those of its traces, if it is traced. ``log`` is the folder
    of the boot program's log, if there is one, and ``login_user`` is `System.login_user`.
    """

    def __init__(
        self,
        installer: Installer,
        *,
        dial_peer: Dial,
        ending: Ending,
        shortage: Shortage,
        name: str,
        maxprocs: int,
        activity: Callable[[], tuple[int, bool]],
        measure: Callable[[], Awaitable[dict[str, Any]]],
        profile_processes: Callable[[ProfileRequest], Awaitable[list[Profile]]],
        notices: Notices | None = None,
        spans: SpanBuffer | None = None,
        breakpoints: Breakpoints | None = None,
        log: str = "",
        login_user: str = "",
    ) -> None:
        ServiceMethods.__init__(self, installer, dial_peer=dial_peer)
        DebuggerMethods.__init__(self, breakpoints)
        self._ending = ending
        self._shortage = shortage
        self._name = name
        self._maxprocs = maxprocs
        self._activity = activity
        self._measure = measure
        self._profile_processes = profile_processes
        self._notices = notices
        self._spans = spans
        self._log = log
        self._login_user = login_user

    async def ping(self, sequence: int = 0) -> int:
        """Return ``sequence``."""
        return sequence

    async def pid(self) -> int:
        """Return the machine's process id."""
        return os.getpid()

    async def info(self) -> MachineInfo:
        """Describe this machine."""
        return MachineInfo(
            name=self._name,
            pid=os.getpid(),
            python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
            platform=sys.platform,
            machine=platform.machine(),
            hostname=platform.node(),
            maxprocs=self._maxprocs,
            version=__version__,
            login_user=self._login_user,
        )

    async def keepalive(self, timeout: float) -> KeepaliveReply:
        """Stay alive for ``timeout`` seconds more."""
        self._ending.postpone(timeout)
        memory = _resources.memory()
        return KeepaliveReply(next=timeout, healthy=memory.used_fraction < UNHEALTHY_MEMORY)

    async def activity(self) -> tuple[int, bool]:
        """Return how many calls of services have begun so far, and whether any method runs now."""
        return self._activity()

    async def memory(self) -> MemoryInfo:
        """Measure the memory in use."""
        return _resources.memory()

    async def disk(self) -> DiskInfo:
        """Measure the space on the disk of the temporary directory."""
        return await trio.to_thread.run_sync(_resources.disk)

    async def load(self) -> LoadInfo:
        """Measure the load averages."""
        return _resources.load()

    async def variables(self) -> dict[str, Any]:
        """Return the machine's metrics, as `Variables.to_dict` does."""
        return await self._measure()

    async def profile(self, seconds: float, hz: float) -> Profile:
        """Sample the stacks of this machine for ``seconds``; see `AsyncMachine.profile`."""
        from ..profiling._request import ProfileRequest  # most machines are never asked

        return await self._profile(ProfileRequest("cpu", seconds, hz))

    async def set_log_levels(self, settings: LogSettings) -> None:
        """Set the levels of loggers as the driver has them now."""
        set_levels(settings)

    async def await_shortage(self) -> None:
        """Wait until nearly all memory is used: the driver may want to know before it asks."""
        await self._shortage.wait()

    async def memory_report(self) -> tuple[Profile | None, dict[str, Any]]:
        """Return what is in memory, and the metrics.

        None if there is too little memory left to find that out.
        """
        from ..profiling._heap import MAX_OBJECTS, OBJECT_BYTES
        from ..profiling._request import ProfileRequest

        room = _resources.memory().available_bytes - _HEAP_BYTES
        if room < 0:
            return None, await self._measure()
        max_objects = min(MAX_OBJECTS, room // OBJECT_BYTES)
        request = ProfileRequest("heap", 0.0, max_objects=max_objects)
        async with _turn(_counting):
            return await self._profile(request), await self._measure()

    async def heap(self, seconds: float) -> Profile:
        """Return what this machine has in memory; see `AsyncMachine.heap`."""
        from ..profiling._request import ProfileRequest

        # To count objects keeps other threads waiting.
        async with contextlib.nullcontext() if seconds else _turn(_counting):
            return await self._profile(ProfileRequest("heap", seconds))

    async def _profile(self, request: ProfileRequest) -> Profile:
        from ..profiling import Profile

        request.check()
        profiles: list[Profile] = []

        async def ask_processes() -> None:
            profiles.extend(await self._profile_processes(request))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_processes)
            profiles.append(await request.run())
        return Profile.merge(profiles)

    async def threads(self) -> ThreadDump:
        """Return what each thread and each task of this process does."""
        from ..profiling._threads import dump_threads

        async with _turn(_dumping):
            return await dump_threads(method_of)

    async def environment(self, update: Mapping[str, str] | None = None) -> dict[str, str]:
        """Set the variables of ``update``, if any; return all of them."""
        os.environ.update(update or {})
        return dict(os.environ)

    async def tail(self, offset: int) -> tuple[int, bytes]:
        """Wait until there is more in the log than ``offset`` bytes; return where, and what.

        That is later than ``offset`` if that part of the log is gone: about 16 MiB are kept.
        """
        if not self._log:
            raise NotSupportedError("this machine has no log: its system knows what it prints")
        is_late = False
        while True:
            at, data = read_log(self._log, offset)
            # A method that prints line by line should not cost a call for each line.
            if data and (is_late or len(data) == CHUNK_BYTES):
                return at, data
            is_late = True
            # Another process writes the file, and there is no portable way to wait for that.
            await trio.sleep(LOG_POLL_SECONDS)

    async def notices(self, after: int) -> list[Notice]:
        """Wait until the provider has given more than ``after`` notices; return the later ones."""
        if self._notices is None:
            raise NotSupportedError("this machine's system gives its machines no notices")
        return await self._notices.after(after)

    async def spans(self, taken: int, waits: bool = True) -> tuple[int, list[dict[str, Any]]]:
        """Return the spans from number ``taken`` on; see `SpanBuffer.after`."""
        if self._spans is None:
            raise NotSupportedError("this machine does not trace calls")
        return await self._spans.after(taken, waits=waits)

    async def mark(self, text: str) -> None:
        """Print a line, after everything that was printed so far."""
        await trio.to_thread.run_sync(_print_mark, text, abandon_on_cancel=True)

    async def shutdown(self) -> None:
        """End the machine in good order; return when all but its exit is done."""
        self._ending.begin(0)
        await self._ending.has_finished.wait()


# Machines inside one process show the whole process: they take turns, so that those who ask for
# hundreds of them can give up meanwhile.
_counting: trio.lowlevel.RunVar[trio.Lock] = trio.lowlevel.RunVar("counting objects")
_dumping: trio.lowlevel.RunVar[trio.Lock] = trio.lowlevel.RunVar("dumping threads")
_HEAP_BYTES = 16 << 20  # that a heap takes itself, without its objects: mostly for its modules


def _turn(lock: trio.lowlevel.RunVar[trio.Lock]) -> trio.Lock:
    try:
        return lock.get()
    except LookupError:
        lock.set(made := trio.Lock())
        return made


def _print_mark(text: str) -> None:
    _flush_streams()
    with contextlib.suppress(OSError):  # a service has closed it
        os.write(2, text.encode() + b"\n")


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # a service has closed it
            stream.flush()
