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
from bigmachine.errors import PluginError, RpcError
from bigmachine.machine._async import AsyncMachine
from bigmachine.rpc import dial
from bigmachine.session._async import AsyncSession
from bigmachine.system import Instance, System
from bigmachine.system._plugins import Plugins, check_system

from ._clauses import Clause, Tier
from ._driver_process import DriverJob, DriverProcess, run_driver
from ._guarded_loop import GuardedLoop
from ._probe import Place, Probe
from ._processes import MARK, HostProcess, find, marked
from ._shared import SERVICES, SharedMachines

if TYPE_CHECKING:
    from ._budget import Budget
    from ._config import SuiteConfig

Test = Callable[[], Awaitable[None]]

HOOKS = "HOOKS-1"
"""If this clause is broken, nothing else can be tested."""
BASICS = "START-1"
"""If this clause is broken, nothing else that needs machines can be tested."""

_POLL = 0.02  # between two checks of what sends no event
_DIAL_TIMEOUT = 2.0  # if nothing answers for so long, nobody is there


class Kit:
    """One backend under test: the fixture ``kit`` of every test of a `Suite`."""

    def __init__(self, config: SuiteConfig, system: System, budget: Budget) -> None:
        self.config = config
        self.system_class = type(system)
        self.options = system.options
        self.capabilities = system.capabilities
        self.boot_timeout = system.boot_timeout
        self.orphan_timeout = system.orphan_timeout
        self.timeout = config.timeout
        self.mark = ""  # of all processes that the current test starts
        self._budget = budget
        self._loop: GuardedLoop | None = None
        self._shared: SharedMachines | None = None
        self._broken_hooks = _fault_in_hooks(self.system_class)
        self._basics: str | None = None  # why machines can't be tested; "" if they can
        self._used_marks: list[str] = []

    # -- running tests ------------------------------------------------------------

    def run(self, clause: Clause, test: Test) -> None:
        """Run one test in the loop, if its clause applies here."""
        if clause.id != HOOKS and self._broken_hooks:
            pytest.skip(f"blocked by {HOOKS}: {self._broken_hooks}")
        if clause.needs is not None and clause.needs not in self.capabilities:
            pytest.skip(f"capability {clause.needs.value!r} is not declared")
        if clause.tier is not Tier.OFFLINE:
            self._budget.admit()
            if clause.id != BASICS:
                self._demand_basics()
        with self._marked():
            self._run_in_loop(test)

    def giving_up(self) -> contextlib.AbstractContextManager[None]:
        """Abandon the loop if the block, which may ignore cancellation, takes too long."""
        assert self._loop is not None
        return self._loop.giving_up()

    def close(self) -> None:
        """End the shared machines, and kill all processes that the tests have left."""
        if self._loop is not None and not self._loop.is_abandoned:
            self._loop.close(self._close_shared)
        self._loop = None
        for mark in self._used_marks:
            for process in marked(mark):
                process.kill()

    def _run_in_loop(self, test: Test) -> None:
        if self._loop is None or self._loop.is_abandoned:
            self._loop, self._shared = GuardedLoop(self.timeout), None
        self._loop.run(test)

    def _demand_basics(self) -> None:
        if self._basics is None:
            with self._marked():
                try:
                    self._run_in_loop(self.check_basics)
                    self._basics = ""
                except Exception as exc:
                    self._basics = f"blocked by {BASICS}: {type(exc).__name__}: {exc}"
        if self._basics:
            pytest.skip(self._basics.partition("\n")[0])

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
        self, *plugins: object, system: System | None = None
    ) -> AsyncIterator[AsyncSession]:
        """Open a new session for one test."""
        system = system or self.system()
        async with AsyncSession(
            system, name="conformance", plugins=[self._budget.observer(), *plugins]
        ) as session:
            yield session

    @contextlib.asynccontextmanager
    async def unopened(self) -> AsyncIterator[System]:
        """Create another system, not set up yet; yield its hooks."""
        hooks = Plugins(self.system()).hooks
        try:
            yield hooks
        finally:
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
        if self._shared is None:
            await self.machines()
        assert self._shared is not None
        assert self._shared.session is not None
        return self._shared.session

    async def shared_identity(self) -> Identity:
        """Return the driver's identity in the shared session."""
        if self._shared is None:
            await self.machines()
        assert self._shared is not None
        assert self._shared.recorder.identity is not None
        return self._shared.recorder.identity

    async def _close_shared(self) -> None:
        shared, self._shared = self._shared, None
        if shared is not None:
            await shared.close()

    # -- traces -----------------------------------------------------------------------

    def traces(self) -> set[str]:
        """List what exists now: processes that this test started, and the suite's leftovers."""
        return {str(process) for process in marked(self.mark)} | self.leftovers()

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
                await trio.sleep(_POLL)
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

    async def is_silent(self, session: AsyncSession, instance: Instance) -> None:
        """Wait until the backend's client cannot connect to a machine any more."""

        async def is_so() -> bool:
            return not await self.answers(session, instance)

        await self.eventually(f"{instance.address} stops answering", is_so)

    async def eventually(
        self, what: str, is_so: Callable[[], Awaitable[bool] | bool], within: float | None = None
    ) -> None:
        """Wait until ``is_so``; fail after ``within`` seconds (default: the suite's timeout)."""
        seconds = self.timeout if within is None else within
        with trio.move_on_after(seconds):
            while True:
                outcome = is_so()
                if await outcome if isinstance(outcome, Awaitable) else outcome:
                    return
                await trio.sleep(_POLL)
        raise AssertionError(f"not within {seconds:g} s: {what}")

    @contextlib.asynccontextmanager
    async def promptly(self, what: str, within: float | None = None) -> AsyncIterator[None]:
        """Fail if the block takes longer than ``within`` seconds (default: timeout)."""
        seconds = self.timeout if within is None else within
        try:
            with trio.fail_after(seconds):
                yield
        except trio.TooSlowError:
            raise AssertionError(f"not done after {seconds:g} s: {what}") from None

    @contextlib.contextmanager
    def _marked(self) -> Iterator[None]:
        """Mark all processes that are started in the block."""
        outer = os.environ.get(MARK)
        self.mark = os.environ[MARK] = secrets.token_hex(8)
        self._used_marks.append(self.mark)
        try:
            yield
        finally:
            if outer is None:
                del os.environ[MARK]
            else:
                os.environ[MARK] = outer


async def answers(http: Any, instance: Instance) -> bool:  # Any: an httpx.AsyncClient
    """Whether ``http`` can connect to the machine at its address."""
    with trio.move_on_after(_DIAL_TIMEOUT):
        try:
            async with dial(http, instance.addr):
                return True
        except (RpcError, OSError):
            return False
    return False


def _fault_in_hooks(system: type[System]) -> str:
    """Return why a session would refuse the class; "" if it would not."""
    try:
        check_system(system)
    except PluginError as exc:
        return str(exc)
    return ""
