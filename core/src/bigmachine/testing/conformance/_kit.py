"""What all tests of a suite use: systems and sessions of the backend, and its traces.

The tests of a suite run in one trio loop in a thread of its own. So tests that only call
machines can share two machines that stay up, and if a backend blocks the loop, only one
test fails: the kit abandons the loop and continues in another.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bigmachine._identity import Identity
from bigmachine.errors import BigmachineError, RpcError
from bigmachine.machine._async import AsyncMachine
from bigmachine.reaper._process import ReaperProcess
from bigmachine.rpc import dial
from bigmachine.session._async import AsyncSession
from bigmachine.system import Instance, System
from bigmachine.system._plugins import Plugins

from ._bounds import HookBounds
from ._clauses import Clause, Tier
from ._driver_process import DriverJob, DriverProcess, run_driver
from ._guarded_loop import GuardedLoop
from ._guardian import marking
from ._hook_checks import check_hooks
from ._probe import Place, Probe
from ._processes import HostProcess, find, marked
from ._shared import SERVICES, SharedMachines
from ._waiting import POLL, Waiting
from ._wrappers import LogRecorder

if TYPE_CHECKING:
    from ._budget import Budget
    from ._config import SuiteConfig

Test = Callable[[], Awaitable[None]]

HOOKS = "HOOKS-1"
"""If this clause is broken, nothing else can be tested."""
BASICS = "START-1"
"""If this clause is broken, nothing else that needs machines can be tested."""

_HOOKS_AT_END = (
    3  # hooks that each may take the suite's timeout: `stop` and `shutdown`, and one more
)
_OWN_END = 20.0  # what a session itself may take to end, in seconds
_DIAL_TIMEOUT = 2.0  # if nothing answers for so long, nobody is there


class Kit(Waiting):
    """One backend under test: the fixture ``kit`` of every test of a `Suite`."""

    def __init__(self, config: SuiteConfig, system: System, budget: Budget) -> None:
        self.config = config
        self.system_class = type(system)
        self.options = system.options
        self.capabilities = system.capabilities
        self.boot_timeout = system.boot_timeout
        self.orphan_timeout = system.orphan_timeout
        self.is_billed = system.is_billed
        self.timeout = config.timeout
        self.mark = ""  # of all processes that the current test starts
        self.folder = ""  # for their temporary files
        self._budget = budget
        self._loop: GuardedLoop | None = None
        self._shared: SharedMachines | None = None
        self._broken_hooks, self.hook_warnings = check_hooks(self.system_class)
        self._are_basics_proven = False
        self._suspect = BASICS  # the clause whose test may have left a fault behind
        self._blocked = ""  # why no other test can run
        self._used_marks: list[str] = []

    # -- running tests ------------------------------------------------------------

    def run(self, clause: Clause, test: Test) -> None:
        """Run one test in the loop, if its clause applies here.

        If it fails, the next one that needs machines runs only if a machine still works.
        """
        if clause.id != HOOKS and self._broken_hooks:
            pytest.skip(f"blocked by {HOOKS}: {self._broken_hooks}")
        if clause.needs is not None and clause.needs not in self.capabilities:
            pytest.skip(f"capability {clause.needs.value!r} is not declared")
        if clause.tier is not Tier.OFFLINE:
            self._budget.admit()
        if self._blocked:
            pytest.skip(self._blocked)
        if clause.tier is not Tier.OFFLINE and clause.id != BASICS:
            self._demand_basics()
        try:
            self._run_in_loop(test)
        except Exception as exc:
            self._take_failure(clause, exc)
            raise
        self._are_basics_proven |= clause.id == BASICS

    def close(self) -> None:
        """End the shared machines, and kill all processes that the tests have left."""
        if self._loop is not None and not self._loop.is_abandoned:
            self._loop.close(self._close_shared)
        self._loop = None
        for process in marked(*self._used_marks) if self._used_marks else ():
            process.kill()

    def _run_in_loop(self, test: Test) -> None:
        with self._marked():
            if self._loop is None or self._loop.is_abandoned:
                self._loop, self._shared = GuardedLoop(self.timeout), None
            elif not self._are_basics_proven and self._shared is not None:
                # The test that failed may have left a fault in their system object.
                self._loop.run(self._close_shared)
            self._loop.run(test)

    def _take_failure(self, clause: Clause, exc: Exception) -> None:
        self._are_basics_proven = False
        self._suspect = clause.id
        is_abandoned = self._loop is None or self._loop.is_abandoned
        # Every other test would hang in the same hook, or fail in the same way.
        if clause.id == BASICS or (is_abandoned and clause.tier is Tier.OFFLINE):
            self._blocked = f"blocked by {clause.id}: {_first_line(exc)}"

    def _demand_basics(self) -> None:
        if self._are_basics_proven:
            return
        try:
            self._run_in_loop(self.check_basics)
        except Exception as exc:
            after = "" if self._suspect == BASICS else ", after which no machine can be started"
            self._blocked = f"blocked by {self._suspect}{after}: {_first_line(exc)}"
            pytest.skip(self._blocked)
        self._are_basics_proven = True

    def check_hooks(self) -> None:
        """Raise `AssertionError` if a session would refuse the class."""
        assert not self._broken_hooks, self._broken_hooks

    async def check_basics(self) -> None:
        """Start a machine, call it, and end it."""
        async with self.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            assert await machine.call("Probe.echo", "hello") == "hello"

    # -- systems, sessions, machines ------------------------------------------------

    def system(self) -> System:
        """Create another system like the one under test, as a session does."""
        return self.system_class(self.options)

    @contextlib.asynccontextmanager
    async def session(
        self, *plugins: object, system: System | None = None, name: str | None = None
    ) -> AsyncIterator[AsyncSession]:
        """Open a new session for one test; ``name`` is its full name, if the test chooses it.

        Its hooks and its end are bounded: one that is late fails the test.
        """
        bounds = HookBounds(
            timeout=self.timeout,
            start_timeout=self.boot_timeout + self.timeout,
            limiting=self.limiting,
        )
        session = AsyncSession(
            system or self.system(),
            name="conformance",
            # The last one is the outermost wrapper.
            plugins=[self._budget.observer(), *plugins, bounds],
        )
        if name is not None:
            session._name = name
            session._reaper = ReaperProcess(session.system, session=name)
        with contextlib.ExitStack() as ending:
            async with session:
                try:
                    yield session
                finally:
                    within = _HOOKS_AT_END * self.timeout + _OWN_END
                    ending.enter_context(self.limiting("the end of a session", within))
        if bounds.late:
            raise AssertionError(bounds.late[0])

    @contextlib.asynccontextmanager
    async def unopened(self) -> AsyncIterator[System]:
        """Create another system, not set up yet; yield its hooks."""
        hooks = Plugins(self.system()).hooks
        try:
            yield hooks
        finally:
            async with self.promptly("`shutdown`"):
                await hooks.shutdown()

    @contextlib.asynccontextmanager
    async def visitor(self) -> AsyncIterator[System]:
        """Create and set up another system, as another driver would; yield its hooks."""
        async with self.unopened() as hooks:
            await hooks.setup()
            yield hooks

    @contextlib.asynccontextmanager
    async def client(self, identity: Identity) -> AsyncIterator[Any]:
        """Create the backend's HTTP client for ``identity``."""
        async with self.visitor() as hooks, hooks.http_client(identity=identity) as http:
            yield http

    @contextlib.asynccontextmanager
    async def driver(self, count: int, **settings: Any) -> AsyncIterator[DriverProcess]:
        """Run a driver with ``count`` machines in a process of its own; see `DriverJob`."""
        job = DriverJob(system=self.system_class, options=self.options, count=count, **settings)
        async with run_driver(job, budget=self._budget) as process:
            yield process

    async def machines(self) -> list[AsyncMachine]:
        """Return two running machines that tests share, and must not change."""
        shared = self._shared
        if shared is None or not await shared.is_well():
            await self._close_shared()
            shared = self._shared = SharedMachines(self.session, timeout=self.timeout)
            await shared.open()
        return shared.machines

    async def shared_session(self) -> AsyncSession:
        """Return the session of the shared `machines`."""
        session = (await self._opened()).session
        assert session is not None
        return session

    async def shared_identity(self) -> Identity:
        """Return the driver's identity in the shared session."""
        identity = (await self._opened()).recorder.identity
        assert identity is not None
        return identity

    async def shared_log(self) -> LogRecorder:
        """Return what the shared machines have printed."""
        return (await self._opened()).log

    async def _opened(self) -> SharedMachines:
        if self._shared is None:
            await self.machines()
        assert self._shared is not None
        return self._shared

    async def _close_shared(self) -> None:
        shared, self._shared = self._shared, None
        if shared is not None:
            async with self.promptly("the end of the shared session", _HOOKS_AT_END * self.timeout):
                await shared.close()

    # -- traces -----------------------------------------------------------------------

    def traces(self) -> set[str]:
        """List what exists now: processes that this test started, and the suite's leftovers."""
        return self.processes() | self.leftovers()

    def processes(self) -> set[str]:
        """List the processes of this computer that this test started, and that exist now.

        One that is killed, but not gone yet, is not among them.
        """
        return {str(process) for process in marked(self.mark) if not process.is_dying}

    def files(self) -> set[str]:
        """List the temporary files that exist now, on this computer."""
        return {
            os.path.join(folder, name)
            for folder, _, names in os.walk(self.folder)
            for name in names
        }

    def leftovers(self) -> set[str]:
        """List what exists at the provider, as the suite says."""
        return set(self.config.leftovers())

    async def settled(self, before: Iterable[str], within: float | None = None) -> None:
        """Wait until all that exists existed ``before``; fail after ``within`` seconds."""
        before = set(before)
        seconds = self.timeout if within is None else within
        left: set[str] = set()
        with trio.move_on_after(seconds):
            while left := self.traces() - before:
                await trio.sleep(POLL)
            return
        raise AssertionError(f"still there after {seconds:g} s: {', '.join(sorted(left))}")

    async def process_of(self, machine: AsyncMachine) -> HostProcess | None:
        """Return a machine's own process on this computer; None if it has none."""
        there: Place = await machine.call("Probe.place")
        here = Probe().place()
        is_visible = there.host == here.host and there.pid != here.pid
        return find(there.pid) if is_visible else None

    async def is_in_process(self, machine: AsyncMachine) -> bool:
        """Whether the machine is a part of this process."""
        there: Place = await machine.call("Probe.place")
        return there == Probe().place()

    async def answers(self, session: AsyncSession, instance: Instance) -> bool:
        """Whether the backend's client can connect to a machine."""
        assert session._http is not None
        return await answers(session._http, instance)

    async def check_alive(self, machines: Iterable[AsyncMachine], after: str) -> None:
        """Fail if one of ``machines`` does not answer, ``after`` something that is no reason."""
        for machine in machines:
            name = machine.instance.name
            try:
                async with self.promptly(f"an answer of {name}, after {after}"):
                    assert await machine.call("Probe.echo", 1) == 1
            except BigmachineError as exc:
                raise AssertionError(f"{name} is gone as well, after {after}: {exc}") from exc

    async def is_silent(self, session: AsyncSession, instance: Instance) -> None:
        """Wait until the backend's client cannot connect to a machine any more."""

        async def is_so() -> bool:
            return not await self.answers(session, instance)

        await self.eventually(f"{instance.address} stops answering", is_so)

    @contextlib.contextmanager
    def _marked(self) -> Iterator[None]:
        """Mark all processes that are started in the block; their temporary files are ours."""
        self.mark = secrets.token_hex(8)
        self._used_marks.append(self.mark)
        with marking(self.mark, grace=self.orphan_timeout) as self.folder:
            yield


async def answers(http: Any, instance: Instance) -> bool:  # Any: an httpx.AsyncClient
    """Whether ``http`` can connect to the machine at its address."""
    with trio.move_on_after(_DIAL_TIMEOUT):
        try:
            async with dial(http, instance.addr):
                return True
        except (RpcError, OSError):
            return False
    return False


def _first_line(exc: Exception) -> str:
    line = str(exc).partition("\n")[0]
    return line if isinstance(exc, AssertionError) else f"{type(exc).__name__}: {line}"
