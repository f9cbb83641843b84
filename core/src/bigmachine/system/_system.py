"""The hook spec: `System`, the class that every backend subclasses.

This is a complete backend, which runs each machine as a child process::

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

        async def shutdown(self):
            for name in [*self.processes]:
                await self.stop(Instance(name, address=""))

An entry point in the group ``bigmachine.systems`` gives it its name.
"""

from __future__ import annotations

import enum
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import pluggy

from .._events import CallEnded, CallStarted, Event
from .._identity import Identity
from .._values import Instance, Keepalive, Notice, Termination
from ..errors import NotSupportedError
from ._check import CheckedRequest, CheckReport, Verdict
from ._httpx import import_httpx
from ._options import NoOptions
from ._request import LaunchRequest, MachineSpec

if TYPE_CHECKING:
    import httpx
    import trio

hookspec = pluggy.HookspecMarker("bigmachine")
hookimpl = pluggy.HookimplMarker("bigmachine")
"""Marks the hooks of an observer or a wrapper; the methods of a `System` need no mark."""


class Capability(enum.StrEnum):
    """An optional hook that a system may declare; its value is the name of the hook."""

    TAIL = "tail"
    READ = "read"
    CONSOLE = "console"
    INSTANCES = "instances"


class System:
    """A backend: it starts machines, connects to them and stops them.

    A subclass sets ``name``. It may set ``Options`` (a frozen dataclass, whose fields are
    made by `bigmachine.option`) and ``capabilities``. It must override `start` or `launch`,
    and overrides whichever other hooks it needs. A method that overrides a hook implements
    it without a mark. Its arguments must have the names that they have here; those that are
    not needed may be left out.

    On the driver, one object serves one session. On each machine, there is another object,
    which was unpickled there; ``__getstate__`` leaves out what machines do not need.
    """

    name: ClassVar[str] = ""
    Options: ClassVar[type[Any]] = NoOptions  # Any: each system has its own dataclass
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    start_timeout: ClassVar[float] = 900.0
    """How long `start` may take, in seconds; then it is cancelled, and frees what it created."""
    boot_timeout: float = 600.0
    """How long a machine may take to answer after `start` has returned, in seconds.

    `setup` may set it, if it depends on the options. It does not limit the ``setup`` of
    services: by then, keepalives show whether the machine is alive.
    """
    ships_environment: ClassVar[bool] = False
    """Whether machines have none of the driver's code, and boot with `bigmachine.boot.user_data`.

    If so, the session captures its environment before `start`, and sends it to each machine.
    """
    owns_hosts: ClassVar[bool] = True
    """Whether the hosts of machines that ship the environment belong to the system.

    If so, the boot program powers a host off when its machine has ended. If not, as for
    computers that others use as well, the boot program ends, and the host stays on.
    """
    build_timeout: ClassVar[float] = 600.0
    """How long a machine may take to build that environment, in seconds."""
    orphan_timeout: float = 180.0
    """How long resources may exist after the driver's death, in seconds.

    This is a promise: the conformance kit kills drivers and checks it. The default is enough
    for the default keepalives and for a VM to power off.
    """
    open_files_per_machine: ClassVar[int] = 1
    """How many files the driver has open for each machine, by the default one connection.

    Before `start`, the session raises the driver's limit on open files for so many more; if it
    can't, it raises `StartError`, and nothing is started.
    """
    is_billed: ClassVar[bool] = False
    """Whether machines cost money. If so, the conformance kit starts them only on request."""

    login_user: str = ""
    """On a machine that people may log in to by ssh: as whom. Set before ``main`` serves."""

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options}

    @property
    def max_session_cost(self) -> float | None:
        """The most that a session may cost, in US dollars; None means no limit.

        By default, this is the option of that name, if the system has it. If a system sets the
        `Instance.cost_per_hour` of its machines, it needs to do no more. If it knows the price
        before it starts a machine, it must not start one whose first minute costs more than
        `LaunchRequest.remaining_budget`.
        """
        limit: float | None = getattr(self.options, "max_session_cost", None)
        return limit

    @property
    def idle_timeout(self) -> float | None:
        """After how many idle seconds the session's machines are stopped; None means never.

        By default, this is the option of that name, if the system has it, as each system of
        `CloudOptions` does. A system needs to do nothing for it.
        """
        timeout: float | None = getattr(self.options, "idle_timeout", None)
        return timeout

    @property
    def verifies_boot(self) -> bool:
        """Whether a new machine is trusted only if its key's fingerprint is on its console.

        By default, this is the option ``verify_boot``, if the system has it. It concerns systems
        that ship the environment. It needs the capability ``CONSOLE``, and a console that shows
        what the boot program prints within `boot_timeout`.
        """
        return bool(getattr(self.options, "verify_boot", False))

    @property
    def uses_reaper(self) -> bool:
        """Whether a process beside the driver frees the resources if the driver is killed.

        This process, the reaper, calls `instances` and `stop` of another object with the same
        options. The default is true if the system ``is_billed`` and has the capability
        ``INSTANCES``.
        """
        return self.is_billed and Capability.INSTANCES in self.capabilities

    def warm_up(self) -> None:
        """Start what can start in the background while the driver imports its modules.

        Called when a session opens, before `setup`, in any thread. It must not wait. It is not
        a hook.
        """

    async def check(self) -> CheckReport:
        """Try the requests that sessions make, and create nothing: for ``bigmachine check``.

        A provider that has dry runs can answer each request without carrying it out. The default
        calls `setup` alone. Raises what `setup` raises. It is not a hook.
        """
        await self.setup()
        return CheckReport([CheckedRequest.of_setup(Verdict.OK)])

    def is_busy(self, instance: Instance) -> bool:
        """Whether a machine that does not answer is known to compute.

        Native code may hold the interpreter for long. A machine that is busy is stopped only
        after six times the keepalive timeout. Called after `keepalive_failed` returned None; it
        must not wait. It is not a hook.
        """
        return False

    async def restore_access(self, instances: Sequence[Instance]) -> None:
        """Let the driver in again, if its address has changed since it last reached its machines.

        Called while machines of this session are silent, though they are not known to be gone:
        at once when the first one is, then at growing intervals, up to a minute. By default it
        does nothing. It is for systems whose firewall lets in the driver's address alone; see
        `bigmachine.system.public_address`. If it raises an exception, this is logged. It is not
        a hook.
        """

    # -- on the driver --------------------------------------------------------

    @hookspec(firstresult=True)
    async def setup(self) -> None:
        """Validate options and credentials, before anything is purchased.

        Raises `UsageError` for an invalid option. It may be called more than once.
        """

    @hookspec(firstresult=True)
    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch up to ``count`` machines; return an `Instance` for each one launched.

        Call `LaunchRequest.new_machine` once for each machine. Fewer than ``count`` are
        allowed. If none can be launched, it raises `StartError` with the provider's message.
        If it is cancelled, it must free everything that it has created.

        The default calls `launch` for each machine, up to 32 at once.
        """
        from ._launch import launch_each

        machines = [request.new_machine() for _ in range(count)]
        return await launch_each(machines, launch=self.launch, stop=self.stop)

    async def launch(self, spec: MachineSpec) -> Instance:
        """Launch one machine, for backends that do not override `start`. It is not a hook.

        As soon as a resource exists, record it under ``spec.name``: if this raises an
        exception or is cancelled, `stop` is called with an `Instance` of that name and an
        empty address.
        """
        raise NotSupportedError(f"system {self.name!r} cannot launch machines")

    @hookspec(firstresult=True)
    def maxprocs(self) -> int | None:
        """Return the number of processors of each machine, or None if it varies."""
        return None

    @hookspec(firstresult=True)
    def keepalive(self) -> Keepalive:
        """Return the timings of keepalives, in seconds."""
        return Keepalive()

    @hookspec(firstresult=True)
    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Return why ``instance`` is gone, or None if it is not known to be gone.

        Called when the connection to a machine is lost or a keepalive is not answered. Pending
        calls wait for the result, so it should be fast.
        """
        return None

    @hookspec(firstresult=True)
    async def stop(self, instance: Instance) -> None:
        """Free one machine, and return when it is gone. It may be called again.

        It must also free every other resource that `instances` lists, of any driver, without
        a call of `setup` before.
        """

    @hookspec(firstresult=True)
    async def shutdown(self) -> None:
        """Free everything that the session has created. It may be called again."""

    @hookspec(firstresult=True)
    def tail(self, instance: Instance) -> AsyncIterator[bytes]:
        """Yield the output of the machine, line by line, until the machine is gone.

        Capability ``TAIL``; without it, `NotSupportedError`.
        """
        raise self._lacks(Capability.TAIL)

    @hookspec(firstresult=True)
    def read(self, instance: Instance, path: str) -> AsyncIterator[bytes]:
        """Yield the content of a file on the machine's host, in chunks.

        Raises `FileNotFoundError` if there is no such file. Capability ``READ``; without it,
        `NotSupportedError`.
        """
        raise self._lacks(Capability.READ)

    @hookspec(firstresult=True)
    async def console(self, instance: Instance) -> str:
        """Return the text of the machine's boot console, for boots that fail early.

        Capability ``CONSOLE``; without it, `NotSupportedError`.
        """
        raise self._lacks(Capability.CONSOLE)

    @hookspec(firstresult=True)
    async def instances(self) -> Sequence[Instance]:
        """List every resource of this system that exists, of any session, without `setup`.

        The ``details`` of each say what it is and whose, see `Instance`. The order is the one
        in which they can be freed: machines before the resources that they use. If the provider
        can't list some of them now, raise `IncompleteListError` with the others. Capability
        ``INSTANCES``; without it, `NotSupportedError`.
        """
        raise self._lacks(Capability.INSTANCES)

    @hookspec
    def event(self, event: Event) -> None:
        """Observe an event. An observer that raises an exception is logged and removed."""

    @hookspec
    def call_started(self, call: CallStarted) -> Mapping[str, str] | None:
        """Observe that a call starts, in the thread or task of its caller.

        What it returns is sent along, as a trace context is: see `spans`.
        """

    @hookspec
    def call_ended(self, call: CallEnded) -> None:
        """Observe that a call has ended, in the session's event loop."""

    @hookspec
    def spans(self, machine: str, spans: Sequence[Mapping[str, Any]]) -> None:
        """Take the OpenTelemetry spans that have ended on a machine, as plain data.

        Machines trace calls only if an observer has this hook.
        """

    # -- on the driver and on machines ----------------------------------------

    @hookspec(firstresult=True)
    def http_client(self, identity: Identity) -> httpx.AsyncClient:
        """Return a client that connects to machines at their `Instance.address`.

        This is the only networking that a backend must supply, and the default is enough if
        the driver can connect to the address. The ``sni_hostname`` extension of a request
        is the name of the machine.
        """
        import_httpx()
        from ..rpc import http_client

        return http_client(identity)

    # -- on the machine -------------------------------------------------------

    @hookspec(firstresult=True)
    async def listen(self, address: str) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        """Open listeners at ``address``: ``HOST:PORT``, or ``fd:N`` for an inherited socket."""
        from ..rpc import open_listeners

        return await open_listeners(address)

    @hookspec(firstresult=True)
    def main(self, serve: Callable[[], Awaitable[None]]) -> NoReturn:
        """Take over the machine's process: run ``serve`` in trio, then call `exit`."""
        import trio

        trio.run(serve)
        self.exit(0)

    @hookspec(firstresult=True)
    def exit(self, code: int) -> NoReturn:
        """End the machine: its process and, if the machine has its own VM, the VM."""
        os._exit(code)

    @hookspec(firstresult=True)
    async def notices(self) -> AsyncIterator[Notice]:
        """Yield what the provider announces about this machine's future, without delay.

        It runs for the machine's whole life, in the loop of its services, so it must not block.
        If it raises an exception, it is called again after a pause. A notice that is
        yielded again is passed on once.
        """
        nothing: tuple[Notice, ...] = ()
        for notice in nothing:
            yield notice

    def _lacks(self, capability: Capability) -> NotSupportedError:
        return NotSupportedError(f"system {self.name!r} has no capability '{capability}'")


def gives_notices(system: System) -> bool:
    """Return whether the system overrides the hook `System.notices`; else it need not run."""
    return type(system).notices is not System.notices
