"""What the tests of the kit share: systems and sessions of one backend, and its traces.

All of a suite's tests run in one trio loop, in a thread of its own, so that those which
only call machines share two that stay up, and a backend that hangs the loop costs one
test: the kit then leaves that loop behind and goes on in another.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest
import trio

from bigmachine._identity import Identity
from bigmachine.errors import PluginError, RpcError
from bigmachine.machine._async import AsyncMachine
from bigmachine.rpc import dial
from bigmachine.session._async import AsyncSession
from bigmachine.session._loop_thread import LoopThread
from bigmachine.system import Instance, System
from bigmachine.system._plugins import Plugins, check_system

from ._clauses import Clause, Tier
from ._orphans import Order
from ._probe import Place, Probe
from ._processes import MARK, Process, find, marked
from ._shared import SERVICES, Shared

if TYPE_CHECKING:
    from ._meter import Meter
    from ._suite import Suite

T = TypeVar("T")
Test = Callable[[], Awaitable[None]]

HOOKS = "HOOKS-1"
"""The clause without which nothing else can be tested at all."""
BASICS = "START-1"
"""The clause without which nothing else can be tested that needs machines."""

_POLL = 0.02  # between two looks at what can't be waited for
_DIAL_TIMEOUT = 2.0  # an address that says nothing for so long doesn't answer
_TEST_TIMEOUT = 600.0  # for a test as a whole; its steps are bounded by the suite's timeout


class Kit:
    """One backend under test; every test of a `Suite` gets it as ``kit``."""

    def __init__(self, suite: Suite, system: System, meter: Meter) -> None:
        self.suite = suite
        self.system_class = type(system)
        self.options = system.options
        self.capabilities = system.capabilities
        self.boot_timeout = system.boot_timeout
        self.orphan_timeout = system.orphan_timeout
        self.timeout = suite.timeout
        self.meter = meter
        self._loop: LoopThread | None = None
        self._shared: Shared | None = None
        self._basics: str | None = None  # why machines can't be tested; "" if they can
        self._used_marks: list[str] = []
        self._give_up_at = math.inf
        self.mark = ""

    # -- running tests ------------------------------------------------------------

    def run(self, clause: Clause, test: Test) -> None:
        """Run one test in the loop, if its clause applies here."""
        if clause.id != HOOKS:
            self._demand_hooks()
        if clause.needs is not None and clause.needs not in self.capabilities:
            pytest.skip(f"capability {clause.needs.value!r} is not declared")
        if clause.tier is not Tier.OFFLINE:
            self.meter.admit()
            if clause.id != BASICS:
                self._demand_basics()
        with self._marked():
            self.run_in_loop(test)

    def run_in_loop(self, test: Callable[[], Awaitable[T]]) -> T:
        """Run ``test`` in the loop, and give the loop up if the test hangs it."""
        if self._loop is None:
            self._loop = LoopThread(_nothing())

        async def bounded() -> T:
            with trio.fail_after(_TEST_TIMEOUT):
                return await test()

        future = self._loop.portal.submit(bounded)
        try:
            return self._watched(future)
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the shared machines, and whatever processes the tests left behind."""
        if self._loop is not None:
            with contextlib.suppress(Exception):
                self._loop.portal.submit(self._close_shared).result(self.timeout)
            if self._is_responsive():
                self._loop.close()
            self._loop = None
        for mark in self._used_marks:
            for process in marked(mark):
                process.kill()

    def _watched(self, future: concurrent.futures.Future[T]) -> T:
        while True:
            concurrent.futures.wait([future], self.timeout)
            if future.done():
                return future.result()
            if time.monotonic() > self._give_up_at:
                self._abandon("a hook that was cancelled has not ended")
            if not self._is_responsive():
                self._abandon(
                    "a hook holds up trio's loop: all that waits in an async hook must be awaited"
                )

    def _abandon(self, why: str) -> NoReturn:
        # The loop's thread is a daemon: whatever hangs in it hangs until the tests end.
        self._loop = self._shared = None
        raise AssertionError(f"{why} after {self.timeout:g} s")

    def _is_responsive(self) -> bool:
        assert self._loop is not None
        turned = threading.Event()
        self._loop.portal.post(turned.set)
        return turned.wait(self.timeout)

    def _demand_hooks(self) -> None:
        try:
            check_hooks(self.system_class)
        except AssertionError as exc:
            pytest.skip(f"blocked by {HOOKS}: {exc}")

    def _demand_basics(self) -> None:
        if self._basics is None:
            with self._marked():
                try:
                    self.run_in_loop(self.check_basics)
                    self._basics = ""
                except Exception as exc:
                    self._basics = f"blocked by {BASICS}: {type(exc).__name__}: {exc}"
        if self._basics:
            pytest.skip(self._basics.partition("\n")[0])

    async def check_basics(self) -> None:
        """Start a machine, call it, and end it."""
        async with self.session() as session:
            [machine, *_] = await session.start(1, services=SERVICES)
            assert await machine.call("Probe.echo", "hello") == "hello"

    # -- systems, sessions, machines ------------------------------------------------

    def system(self) -> System:
        """Make another system like the one under test, as a session makes it."""
        return self.system_class(self.options)

    @contextlib.asynccontextmanager
    async def session(
        self, *plugins: object, system: System | None = None
    ) -> AsyncIterator[AsyncSession]:
        """Open a session of its own for a test."""
        system = system or self.system()
        async with AsyncSession(
            system, name="conformance", plugins=[self.meter.observer(), *plugins]
        ) as session:
            yield session

    @contextlib.asynccontextmanager
    async def unopened(self) -> AsyncIterator[System]:
        """Make another system, to be set up by the block; gives its hooks."""
        hooks = Plugins(self.system()).hooks
        try:
            yield hooks
        finally:
            await hooks.shutdown()

    @contextlib.asynccontextmanager
    async def visitor(self) -> AsyncIterator[System]:
        """Set up another system, as another driver would have it; gives its hooks."""
        async with self.unopened() as hooks:
            await hooks.setup()
            yield hooks

    @contextlib.asynccontextmanager
    async def client(self, identity: Identity) -> AsyncIterator[Any]:
        """Make a client of the backend's for ``identity``."""
        async with self.visitor() as hooks, hooks.http_client(identity=identity) as http:
            yield http

    def order(self, count: int, **how: Any) -> Order:
        """Tell a driver in a process of its own what to do."""
        return Order(system=self.system_class, options=self.options, count=count, **how)

    async def machines(self) -> list[AsyncMachine]:
        """Return two running machines that tests share; they must leave them as they were."""
        shared = self._shared
        if shared is None or not await shared.is_well():
            await self._close_shared()
            shared = self._shared = Shared(self)
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
        """List what there is now: processes that this test started, and the suite's leftovers."""
        return {str(process) for process in marked(self.mark)} | self.leftovers()

    def leftovers(self) -> set[str]:
        """List what the suite says there is at the provider."""
        return set(self.suite.leftovers())

    async def settled(self, before: Iterable[str], within: float | None = None) -> None:
        """Wait until nothing is there that was not there ``before``; fail after ``within``."""
        before = set(before)
        seconds = self.timeout if within is None else within
        left: set[str] = set()
        with trio.move_on_after(seconds):
            while left := self.traces() - before:
                await trio.sleep(_POLL)
            return
        raise AssertionError(f"left after {seconds:g} s: {', '.join(sorted(left))}")

    async def process_of(self, machine: AsyncMachine) -> Process | None:
        """Find a machine's process, if it is one of its own on this computer."""
        there: Place = await machine.call("Probe.place")
        here = Probe().place()
        is_visible = there.host == here.host and there.pid != here.pid
        return find(there.pid) if is_visible else None

    async def is_in_process(self, machine: AsyncMachine) -> bool:
        """Whether the machine is a part of this very process."""
        there: Place = await machine.call("Probe.place")
        return there == Probe().place()

    async def answers(self, session: AsyncSession, instance: Instance) -> bool:
        """Whether a machine can be dialled, by the backend's own client."""
        assert session._http is not None
        return await answers(session._http, instance)

    async def is_silent(self, session: AsyncSession, instance: Instance) -> None:
        """Wait until a machine can't be dialled any more."""

        async def is_so() -> bool:
            return not await self.answers(session, instance)

        await self.eventually(f"{instance.address} answers no more", is_so)

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
    def giving_up(self) -> Iterator[None]:
        """Give the loop up if the block, which can't be cancelled, exceeds the timeout."""
        self._give_up_at = time.monotonic() + self.timeout
        try:
            yield
        finally:
            self._give_up_at = math.inf

    @contextlib.contextmanager
    def _marked(self) -> Iterator[None]:
        """Have all that is started meanwhile bear a mark."""
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
    """Whether the machine is reached at its address by ``http``."""
    with trio.move_on_after(_DIAL_TIMEOUT):
        try:
            async with dial(http, instance.addr):
                return True
        except (RpcError, OSError):
            return False
    return False


def check_hooks(system: type[System]) -> None:
    """Raise `AssertionError` where a session would refuse the class."""
    try:
        check_system(system)
    except PluginError as exc:
        raise AssertionError(str(exc)) from exc


@contextlib.asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
