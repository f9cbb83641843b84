"""The service that every machine has: its driver installs services, keeps it alive and ends it."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping

import trio

from .._values import DiskInfo, KeepaliveReply, LoadInfo, MachineInfo, MemoryInfo, Notice
from .._version import __version__ as __version__
from ..boot.vm.common import CHUNK_BYTES
from ..boot.vm.log import read_log
from ..errors import NotSupportedError, UsageError
from ..rpc import Services, load_service
from . import _resources
from ._notices import Notices

logger = logging.getLogger("bigmachine.machine")

UNHEALTHY_MEMORY = 0.95
"""A machine that uses this much of its host's memory is about to be killed for it."""

SetUp = Callable[[object], Awaitable[None]]


class Supervisor:
    """Serves ``Supervisor.*`` on a machine, and ends the machine if no keepalive comes.

    ``set_up`` calls a new service's own ``setup`` with a session, in a task of ``nursery``;
    ``flush`` sends the pending replies, in at most so many seconds; ``heard`` is called at each
    keepalive; ``exit`` ends the machine. ``notices`` are those of its provider, if the system
    has them, and ``log`` is the folder of the boot program's log, if there is one.
    """

    def __init__(
        self,
        services: Services,
        *,
        name: str,
        maxprocs: int,
        timeout: float,
        nursery: trio.Nursery,
        set_up: SetUp,
        flush: Callable[[float], Awaitable[None]],
        heard: Callable[[], object],
        exit: Callable[[int], object],
        notices: Notices | None = None,
        log: str = "",
    ) -> None:
        self._services = services
        self._name = name
        self._maxprocs = maxprocs
        self._nursery = nursery
        self._set_up = set_up
        self._installations: dict[str, _Installation] = {}
        self._flush = flush
        self._heard = heard
        self._exit = exit
        self._notices = notices
        self._log = log
        self._deadline = trio.current_time() + timeout
        self._ending = trio.Event()

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
        )

    async def register(self, name: str, pickled: bytes) -> None:
        """Install a service, then run its ``setup`` if it has one.

        May be called again with the same bytes, by a driver that has lost the reply: it joins an
        installation that is going on, or has succeeded. One that failed is tried again.
        """
        digest = await trio.to_thread.run_sync(_digest, pickled)
        installation = self._installations.get(name)
        if installation is None:
            installation = self._installations[name] = _Installation(digest)
            # A task of its own: when a connection ends, the calls that came over it are cancelled.
            self._nursery.start_soon(self._install, installation, name, pickled)
        elif installation.digest != digest:
            raise UsageError(f"a service named {name!r} is installed already")
        await installation.is_done.wait()
        if installation.error is not None:
            raise installation.error

    async def _install(self, installation: _Installation, name: str, pickled: bytes) -> None:
        try:
            # In a thread: unpickling imports the service's modules, which may take seconds,
            # and keepalives must be answered meanwhile.
            service = await trio.to_thread.run_sync(load_service, name, pickled)
            self._services.add(name, service, pickled=pickled)
            try:
                await self._set_up(service)
            except BaseException:
                self._services.remove(name)
                raise
        except trio.Cancelled:
            raise
        except BaseException as exc:  # SystemExit too: it is the service's, not the machine's
            installation.error = exc
            del self._installations[name]
        finally:
            installation.is_done.set()

    async def keepalive(self, timeout: float) -> KeepaliveReply:
        """Stay alive for ``timeout`` seconds more."""
        self._deadline = max(self._deadline, trio.current_time() + timeout)
        self._heard()
        memory = _resources.memory()
        return KeepaliveReply(next=timeout, healthy=memory.used_fraction < UNHEALTHY_MEMORY)

    async def memory(self) -> MemoryInfo:
        """Measure the memory in use."""
        return _resources.memory()

    async def disk(self) -> DiskInfo:
        """Measure the space on the disk of the temporary directory."""
        return await trio.to_thread.run_sync(_resources.disk)

    async def load(self) -> LoadInfo:
        """Measure the load averages."""
        return _resources.load()

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
            await trio.sleep(_LOG_POLL_SECONDS)

    async def notices(self, after: int) -> list[Notice]:
        """Wait until the provider has given more than ``after`` notices; return the later ones."""
        if self._notices is None:
            raise NotSupportedError("this machine's system gives its machines no notices")
        return await self._notices.after(after)

    async def mark(self, text: str) -> None:
        """Print a line, after everything that was printed so far."""
        await trio.to_thread.run_sync(_print_mark, text, abandon_on_cancel=True)

    async def shutdown(self) -> None:
        """End the machine, once this call's reply is sent."""
        self._ending.set()

    async def watch(self) -> None:
        """End the machine on `shutdown`, or if no keepalive comes in time."""
        while trio.current_time() < self._deadline:
            with trio.move_on_at(self._deadline):
                await self._ending.wait()
                await trio.sleep(_ROUND_SECONDS)
                await self._flush(_PARTING_SECONDS)
                logger.debug("shutting down, as requested")
                self._exit(0)
                return
        logger.error("no keepalive came in time: this machine ends itself")
        self._exit(1)


_ROUND_SECONDS = 0.002  # the reply to a POST is not counted, but sent within this time
_PARTING_SECONDS = 1.0  # to send replies, if the network is slow or the peer does not read
_LOG_POLL_SECONDS = 0.1


def _print_mark(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a service has closed it
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.write(2, text.encode() + b"\n")


class _Installation:
    """A service that is being installed, or was."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.is_done = trio.Event()
        self.error: BaseException | None = None


def _digest(pickled: bytes) -> bytes:
    return hashlib.sha256(pickled).digest()


def has_async_setup(service: object) -> bool:
    """Whether a service's ``setup`` is ``async def`` (and so gets the async session)."""
    return inspect.iscoroutinefunction(getattr(service, "setup", None))
