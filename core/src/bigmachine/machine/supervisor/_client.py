"""What a driver can ask of a machine: the methods of `worker._supervisor.Supervisor`, typed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from ..._values import DiskInfo, KeepaliveReply, LoadInfo, MachineInfo, MemoryInfo, Notice
from ...logs._settings import LogSettings
from ...rpc import Connection, PickledCall, PickledService, pickle_call

if TYPE_CHECKING:
    from ...debugger._protocol import Reply, Stop
    from ...profiling import Profile, ThreadDump

# A reply is whatever the wire brings. A test compares these methods with the supervisor's own.
# mypy: no-warn-return-any


class SupervisorClient:
    """Calls the supervisor of one machine by ``call``, which takes a method and its arguments.

    `register` and `receive_service` are functions here, since their calls are large: they are
    pickled once, or not kept by any variable. Only machines ask each other for `send_service`.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call

    # -- the machine ----------------------------------------------------------

    async def ping(self, sequence: int = 0) -> int:
        """Return ``sequence``."""
        return await self._call("Supervisor.ping", sequence)

    async def pid(self) -> int:
        """Return the machine's process id."""
        return await self._call("Supervisor.pid")

    async def info(self) -> MachineInfo:
        """Describe the machine."""
        return await self._call("Supervisor.info")

    async def environment(self, update: Mapping[str, str] | None = None) -> dict[str, str]:
        """Set the variables of ``update``, if any; return all of them."""
        return await self._call("Supervisor.environment", update)

    async def set_log_levels(self, settings: LogSettings) -> None:
        """Set the levels of loggers."""
        await self._call("Supervisor.set_log_levels", settings)

    async def shutdown(self) -> None:
        """End the machine in good order; return when all but its exit is done."""
        await self._call("Supervisor.shutdown")

    # -- how it is ------------------------------------------------------------

    async def keepalive(self, timeout: float) -> KeepaliveReply:
        """Have it stay alive for ``timeout`` seconds more."""
        return await self._call("Supervisor.keepalive", timeout)

    async def activity(self) -> tuple[int, bool]:
        """Return how many calls of services have begun so far, and whether any method runs now."""
        return await self._call("Supervisor.activity")

    async def memory(self) -> MemoryInfo:
        """Measure the memory in use."""
        return await self._call("Supervisor.memory")

    async def disk(self) -> DiskInfo:
        """Measure the space on the disk of the temporary directory."""
        return await self._call("Supervisor.disk")

    async def load(self) -> LoadInfo:
        """Measure the load averages."""
        return await self._call("Supervisor.load")

    async def variables(self) -> dict[str, Any]:
        """Return the machine's metrics, as `Variables.to_dict` does."""
        return await self._call("Supervisor.variables")

    async def profile(self, seconds: float, hz: float) -> Profile:
        """Sample its stacks for ``seconds``."""
        return await self._call("Supervisor.profile", seconds, hz)

    async def heap(self, seconds: float) -> Profile:
        """Return what it has in memory."""
        return await self._call("Supervisor.heap", seconds)

    async def threads(self) -> ThreadDump:
        """Return what each of its threads and tasks does."""
        return await self._call("Supervisor.threads")

    async def await_shortage(self) -> None:
        """Wait until nearly all memory is used."""
        await self._call("Supervisor.await_shortage")

    async def memory_report(self) -> tuple[Profile | None, dict[str, Any]]:
        """Return what is in memory, or None if too little is left to find out; and the metrics."""
        return await self._call("Supervisor.memory_report")

    # -- what it has to tell --------------------------------------------------

    async def tail(self, offset: int) -> tuple[int, bytes]:
        """Wait until there is more in the log than ``offset`` bytes; return where, and what."""
        return await self._call("Supervisor.tail", offset)

    async def mark(self, text: str) -> None:
        """Print a line, after everything that was printed so far."""
        await self._call("Supervisor.mark", text)

    async def notices(self, after: int) -> list[Notice]:
        """Wait until the provider has given more than ``after`` notices; return the later ones."""
        return await self._call("Supervisor.notices", after)

    async def spans(self, taken: int, waits: bool = True) -> tuple[int, list[dict[str, Any]]]:
        """Return the spans from number ``taken`` on, and the number of the first."""
        return await self._call("Supervisor.spans", taken, waits)

    # -- its services ---------------------------------------------------------

    async def register_received(self, key: str) -> bool:
        """Install a service, with the arguments of `register` that have come in pieces."""
        return await self._call("Supervisor.register_received", key)

    async def expect_service(self, key: str, sizes: Sequence[int]) -> int:
        """Prepare for a service whose parts have these ``sizes``; return how much is there."""
        return await self._call("Supervisor.expect_service", key, sizes)

    async def fetch_service(self, key: str, addr: str) -> str:
        """Have it take what is missing from another machine; return why that failed, or ""."""
        return await self._call("Supervisor.fetch_service", key, addr)

    async def drop_services(self) -> None:
        """Have it keep no pieces for other machines any more."""
        await self._call("Supervisor.drop_services")

    # -- debugging its methods ------------------------------------------------

    async def breakpoints(self, after: int) -> list[Stop]:
        """Wait until methods have stopped in the debugger, later than ``after``; return those."""
        return await self._call("Supervisor.breakpoints", after)

    async def debug_attach(self, number: int, sources: Mapping[str, str]) -> Reply:
        """Begin to debug a method that has stopped, with the text of files that it lacks."""
        return await self._call("Supervisor.debug_attach", number, sources)

    async def debug_send(self, number: int, line: str) -> Reply:
        """Answer the debugger's prompt; return its next reply."""
        return await self._call("Supervisor.debug_send", number, line)

    async def debug_complete(
        self, number: int, text: str, line: str, begin: int, end: int
    ) -> list[str]:
        """Return what ``text`` may be the beginning of, at the debugger's prompt."""
        return await self._call("Supervisor.debug_complete", number, text, line, begin, end)

    async def debug_decline(self) -> None:
        """Let methods go on that wait in the debugger, and stop no others."""
        await self._call("Supervisor.debug_decline")

    async def post_mortem(self, failure: str) -> Stop:
        """Begin to debug a call that has failed, if its frames are kept."""
        return await self._call("Supervisor.post_mortem", failure)


def supervisor(connection: Connection) -> SupervisorClient:
    """Return the client of the machine that a connection leads to."""
    return SupervisorClient(lambda method, *args: connection.call_supervisor(method, args, {}))


def register(name: str, pickled: PickledService) -> PickledCall:
    """Return the call that installs a service, and returns if that has a ``teardown``."""
    return pickle_call("Supervisor.register", (name, pickled), {})


def receive_service(key: str, offset: int, pieces: AsyncIterator[PickleBuffer]) -> PickledCall:
    """Return the call that gives a machine all pieces of a service from ``offset`` on."""
    return pickle_call("Supervisor.receive_service", (key, offset, pieces), {})
