"""The hook spec: `System`, the one class a backend subclasses.

A whole backend, which runs each machine as a child process::

    class Processes(System):
        name = "processes"

        def __init__(self, options=None):
            super().__init__(options)
            self.processes = {}

        async def launch(self, spec):
            with create_server(("127.0.0.1", 0)) as socket:
                process = self.processes[spec.name] = await trio.lowlevel.open_process(
                    [*spec.command, "--listen", f"fd:{socket.fileno()}"],
                    stdin=subprocess.PIPE, pass_fds=[socket.fileno()],
                )
                address = f"127.0.0.1:{socket.getsockname()[1]}"
            await process.stdin.send_all(spec.config)
            return Instance(spec.name, address)

        async def stop(self, instance):
            process = self.processes.pop(instance.name, None)
            if process is not None:
                process.kill()
                await process.wait()

It becomes a system by an entry point, in group ``bigmachine.systems``.
"""

from __future__ import annotations

import enum
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import pluggy

from .._events import Event
from .._identity import Identity
from .._values import Instance, Keepalive, Notice, Termination
from ..errors import NotSupportedError, UsageError
from ._request import LaunchRequest, MachineSpec

if TYPE_CHECKING:
    import httpx
    import trio

hookspec = pluggy.HookspecMarker("bigmachine")
hookimpl = pluggy.HookimplMarker("bigmachine")
"""Marks the methods of an observer or wrapper; a `System`'s own methods need no mark."""


class Capability(enum.StrEnum):
    """What a system may be able to do beyond starting machines; declare what it can."""

    TAIL = "tail"
    READ = "read"
    CONSOLE = "console"
    INSTANCES = "instances"


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a system that has none."""


class System:
    """A backend: where machines come from, how they are reached, how they go away.

    A subclass sets ``name``, may set ``Options`` (a frozen dataclass, each field
    made by `bigmachine.option`) and ``capabilities``, and overrides the hooks it
    needs; only `start`, or `launch`, must be. What it overrides *is* its hook implementation,
    so arguments keep the names they have here, and those that aren't needed may
    be left out.

    One instance serves one session, on the driver, and another one, unpickled,
    serves each machine: what isn't needed there stays out of ``__getstate__``.
    """

    name: ClassVar[str] = ""
    Options: ClassVar[type[Any]] = NoOptions  # Any: each system has its own dataclass
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    start_timeout: ClassVar[float] = 900.0
    """How long `start` may take, in seconds; then it is cancelled, and undoes what it began."""
    boot_timeout: float = 600.0
    """How long after `start` returned a machine may take to answer, in seconds.

    `setup` may set it, where it depends on the options. The ``setup`` of services may take longer:
    by then keepalives tell whether the machine lives.
    """
    ships_environment: ClassVar[bool] = False
    """Whether machines have nothing of the driver's, and come up by `bigmachine.boot.user_data`.

    Then the session captures its environment before `start`, and sends it to each machine.
    """
    build_timeout: ClassVar[float] = 600.0
    """How long a machine may take to build that environment, in seconds."""
    orphan_timeout: ClassVar[float] = 180.0
    """How long after the driver's death anything it made may be left, in seconds.

    A promise, which the conformance kit holds the system to by killing drivers. The
    default leaves room for the default keepalives and for a VM to power off.
    """
    is_billed: ClassVar[bool] = False
    """Whether machines cost money: then the conformance kit starts none unless told to."""

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options}

    @property
    def max_session_cost(self) -> float | None:
        """The most that a session may cost, in US dollars; None for no limit.

        This is the option of that name, where the system has one: a system that tells the
        `Instance.cost_per_hour` of what it starts need do no more. One that knows it beforehand
        must start nothing whose first minute costs more than `LaunchRequest.remaining_budget`.
        """
        limit: float | None = getattr(self.options, "max_session_cost", None)
        return limit

    @property
    def uses_reaper(self) -> bool:
        """Whether a process beside the driver frees what this leaves, should the driver be killed.

        It does so by `instances` and `stop`, of another object with the same options. By default
        it's so where machines cost money, and are listed.
        """
        return self.is_billed and Capability.INSTANCES in self.capabilities

    def warm_up(self) -> None:
        """Begin what may come up on the side while the driver still imports its modules.

        Called when a session opens, before `setup`, in any thread; it must not wait.
        """

    # -- on the driver --------------------------------------------------------

    @hookspec(firstresult=True)
    async def setup(self) -> None:
        """Check options and credentials, before anything is bought. Called once or more."""

    @hookspec(firstresult=True)
    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch up to ``count`` machines and return one `Instance` each.

        Fewer is fine; none at all, or a refusal, is a `StartError` in the
        provider's own words. When cancelled, nothing launched may be left.

        The default calls `launch` for each machine, up to 32 at once.
        """
        from ._launch import launch_each

        machines = [request.new_machine() for _ in range(count)]
        return await launch_each(machines, launch=self.launch, stop=self.stop)

    async def launch(self, spec: MachineSpec) -> Instance:
        """Launch one machine; for backends that need not override `start`. Not a hook.

        Note what you make under ``machine.name`` as soon as it exists: if this raises, or
        is cancelled, `stop` is called with an `Instance` of that name, its address empty.
        """
        raise NotSupportedError(f"system {self.name!r} can't launch machines")

    @hookspec(firstresult=True)
    def maxprocs(self) -> int | None:
        """Return how many processors each machine has, or None if it varies."""
        return None

    @hookspec(firstresult=True)
    def keepalive(self) -> Keepalive:
        """Return how often, and for how long, driver and machine look for each other."""
        return Keepalive()

    @hookspec(firstresult=True)
    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Say why ``instance`` is gone, or None if it isn't known to be.

        Called when a machine's connection broke or a keepalive went unanswered;
        calls that were in flight wait for the answer, so it should come fast.
        """
        return None

    @hookspec(firstresult=True)
    async def stop(self, instance: Instance) -> None:
        """Free one machine and return when it is gone. Fine to call again.

        So may be freed whatever `instances` lists, machine or not, by any driver, without `setup`.
        """

    @hookspec(firstresult=True)
    async def shutdown(self) -> None:
        """Release everything the session made. Fine to call again."""

    @hookspec(firstresult=True)
    def tail(self, instance: Instance) -> AsyncIterator[bytes]:
        """Follow what the machine prints, line by line, until it is gone."""
        raise self._lacks(Capability.TAIL)

    @hookspec(firstresult=True)
    def read(self, instance: Instance, path: str) -> AsyncIterator[bytes]:
        """Read a file of the machine's host in chunks; `FileNotFoundError` if there is none."""
        raise self._lacks(Capability.READ)

    @hookspec(firstresult=True)
    async def console(self, instance: Instance) -> str:
        """Return what the machine's boot console shows, for boots that fail early."""
        raise self._lacks(Capability.CONSOLE)

    @hookspec(firstresult=True)
    async def instances(self) -> Sequence[Instance]:
        """List everything of ours that still exists, of any session; works without `setup`.

        Each has in its ``details`` what it is and whose, see `Instance`. What must be gone
        before something else can be freed is listed first: machines before what they use.
        """
        raise self._lacks(Capability.INSTANCES)

    @hookspec
    def event(self, event: Event) -> None:
        """Observe. A plugin that raises here is logged and dropped."""

    # -- on the driver and on machines ----------------------------------------

    @hookspec(firstresult=True)
    def http_client(self, identity: Identity) -> httpx.AsyncClient:
        """Return a client that reaches machines by their `Instance.address`.

        The only networking a backend must supply, and the default serves where
        an address can be dialled. The machine dialled is named by the request's
        ``sni_hostname`` extension.
        """
        from ..rpc import http_client

        return http_client(identity)

    # -- on the machine -------------------------------------------------------

    @hookspec(firstresult=True)
    async def listen(self, address: str) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        """Open listeners at ``address``: ``HOST:PORT``, or ``fd:N`` for a passed socket."""
        from ..rpc import open_listeners

        return await open_listeners(address)

    @hookspec(firstresult=True)
    def main(self, serve: Callable[[], Awaitable[None]]) -> NoReturn:
        """Take over the machine's process: run ``serve`` in trio, then exit."""
        import trio

        trio.run(serve)
        self.exit(0)

    @hookspec(firstresult=True)
    def exit(self, code: int) -> NoReturn:
        """End the machine: its process and, where it has one of its own, its VM."""
        os._exit(code)

    @hookspec(firstresult=True)
    async def notices(self) -> AsyncIterator[Notice]:
        """Tell what the provider says about this machine's future, as soon as it does.

        Followed for the machine's life, beside its services, so it must not block; begun
        anew, after a pause, if it raises. What it gives again is passed on once.
        """
        nothing: tuple[Notice, ...] = ()
        for notice in nothing:
            yield notice

    def _lacks(self, capability: Capability) -> NotSupportedError:
        return NotSupportedError(f"system {self.name!r} has no {capability!r} capability")


def gives_notices(system: System) -> bool:
    """Whether the system overrides the hook `System.notices`: otherwise nobody follows it."""
    return type(system).notices is not System.notices


def check_options(options: object, **problems: str | None) -> None:
    """Raise a `UsageError` that lists ``problems``, option by option; None means fine.

    For a backend's ``setup``: ``check_options(o, maxprocs=None if o.maxprocs > 0 else
    "must be at least 1")``.
    """
    found = [f"{name}: {text}" for name, text in problems.items() if text]
    if found:
        raise UsageError(f"{type(options).__name__}: " + "; ".join(found))
