"""`teardown` is called at each orderly end of a machine, in reverse order and in bounded time."""

from __future__ import annotations

import contextlib
import threading

import pytest
import trio

import bigmachine as bm
from bigmachine.services._names import TEARDOWN_SECONDS
from bigmachine.testing import InProcessSystem
from tests.unit.services.test_kinds import logged

called: list[str] = []
released = threading.Event()
ending = threading.Event()
torn_down = threading.Event()


class Torn:
    def __init__(self, name="Torn"):
        self.name = name

    def setup(self, session):
        called.append(f"setup {self.name}")

    def teardown(self):
        called.append(f"teardown {self.name}")
        torn_down.set()

    async def echo(self, value):
        return value

    async def forever(self):
        try:
            await trio.sleep_forever()
        finally:
            called.append("forever is cancelled")
            ending.set()

    def work(self):
        called.append("work begins")
        ending.wait(60)
        torn_down.wait(0.2)
        called.append("work ends")

    def items(self):
        try:
            while True:
                yield "x" * 100_000
        finally:
            called.append("items are closed")


class AsyncTorn(Torn):
    async def teardown(self):
        await trio.sleep(1)
        called.append(f"teardown {self.name}")


class DecoratedTorn(Torn):
    @logged
    async def setup(self, session):
        assert isinstance(session, bm.AsyncPeerSession)
        await trio.lowlevel.checkpoint()
        called.append(f"setup {self.name}")

    @logged
    async def teardown(self):
        await trio.lowlevel.checkpoint()
        called.append(f"teardown {self.name}")


class FailingTorn(Torn):
    def teardown(self):
        raise SystemExit("on purpose")


class CancelledTorn(Torn):
    async def teardown(self):
        raise trio.Cancelled._create()


class MisusedTorn(Torn):
    async def teardown(self):
        trio.move_on_after(0).__enter__()
        await trio.lowlevel.checkpoint()


class HangingTorn(Torn):
    async def teardown(self):
        await trio.sleep_forever()


class ShieldedTorn(Torn):
    async def teardown(self):
        with trio.CancelScope(shield=True):
            await trio.sleep(1.5 * TEARDOWN_SECONDS)


class BlockedTorn(Torn):
    def teardown(self):
        released.wait(60)


class UnableTorn(Torn):
    def setup(self, session):
        raise LookupError("no model")


SERVICES = {"A": Torn("A"), "B": AsyncTorn("B"), "C": DecoratedTorn("C")}
ALL_CALLED = [
    *("setup A", "setup B", "setup C"),
    *("teardown C", "teardown B", "teardown A"),
]


@pytest.fixture(autouse=True)
def _nothing_called():
    called.clear()
    released.clear()
    ending.clear()
    torn_down.clear()
    yield
    released.set()
    ending.set()


def test_teardown_runs_once_in_reverse_order_at_shutdown(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            await machine.shutdown()
            assert called == ALL_CALLED
        assert called == ALL_CALLED

    run(test)


def test_teardown_runs_when_machine_is_cancelled(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            machine.cancel()
            assert machine.state is bm.State.STOPPED
            await machine.shutdown()
            assert called == ALL_CALLED
            assert machine.error.reason is bm.StopReason.CANCELLED

    run(test)


def test_teardown_runs_on_each_machine_when_session_ends(run):
    async def test(kit):
        async with kit.session() as session:
            await session.start(3, services=SERVICES)
        assert sorted(called) == sorted(ALL_CALLED * 3)

    run(test)


def test_teardown_runs_when_session_ends_by_error(run):
    async def test(kit):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with kit.session() as session:
                await session.start(1, services=SERVICES)
                raise ZeroDivisionError
        assert called == ALL_CALLED

    run(test)


def test_teardown_runs_on_machine_that_loses_its_driver(run):
    async def test(kit):
        # Its driver is too slow: the machine ends itself after 120 s.
        async with bm.AsyncSession(InProcessSystem, keepalive_period=600.0) as session:
            await session.start(1, services=SERVICES)
            await trio.sleep(130)
            assert called == ALL_CALLED
            assert session.system.exited == {"m0": 1}

    run(test)


def test_teardown_does_not_run_on_killed_machine(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.kill(machine)
            await machine.wait(bm.State.STOPPED)
            await machine.shutdown()
        assert called == ALL_CALLED[:3]

    run(test)


def test_teardown_of_others_runs_if_a_setup_fails(run):
    async def test(kit):
        async with kit.session() as session:
            with pytest.raises(bm.StartError, match="no model"):
                await session.start(1, services={"A": Torn("A"), "B": UnableTorn("B")})
        assert called == ["setup A", "teardown A"]

    run(test)


@pytest.mark.parametrize("kind", [FailingTorn, CancelledTorn, MisusedTorn])
def test_error_in_teardown_is_logged_and_others_still_run(run, caplog, kind):
    async def test(kit):
        async with kit.session() as session:
            services = {"A": Torn("A"), "B": kind("B"), "C": Torn("C")}
            [machine] = await session.start(1, services=services)
            await machine.shutdown()
            assert called[3:] == ["teardown C", "teardown A"]
            assert kit.system.exited == {"m0": 0}

    run(test)
    assert "service 'B': teardown() failed" in caplog.text
    assert ("SystemExit: on purpose" in caplog.text) == (kind is FailingTorn)
    assert ("open cancel scopes and nurseries in" in caplog.text) == (kind is not FailingTorn)
    assert "/bigmachine/worker/" not in caplog.text


@pytest.mark.parametrize("kind", [HangingTorn, ShieldedTorn, BlockedTorn])
def test_hanging_teardown_is_named_in_log_and_others_still_run(run, caplog, kind):
    async def test(kit):
        async with kit.session() as session:
            services = {"A": Torn("A"), "B": kind("B"), "C": Torn("C")}
            [machine] = await session.start(1, services=services)
            began = trio.current_time()
            await machine.shutdown()
            assert called[3:] == ["teardown C", "teardown A"]
            assert TEARDOWN_SECONDS <= trio.current_time() - began < 2 * TEARDOWN_SECONDS
            released.set()

    run(test)
    assert "service 'B': teardown() has not ended after 10 s" in caplog.text


def test_calls_are_cancelled_before_teardown_and_raise_one_error_at_once(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"A": BlockedTorn("A"), "B": Torn("B")})
            errors: list[bm.MachineStopped] = []
            all_raised, reads = trio.Event(), trio.Event()

            async def call(method, *args):
                with pytest.raises(bm.MachineStopped) as caught:
                    await machine.call(method, *args)
                errors.append(caught.value)
                if len(errors) == 20:
                    all_raised.set()

            async def read():
                with pytest.raises(bm.MachineStopped) as caught:  # noqa: PT012
                    async for _ in machine.stream("A.items"):
                        reads.set()
                errors.append(caught.value)
                if len(errors) == 20:
                    all_raised.set()

            async with trio.open_nursery() as nursery:
                for _ in range(19):
                    nursery.start_soon(call, "A.forever")
                nursery.start_soon(read)
                await reads.wait()
                await machine.call("A.echo", 1)
                nursery.start_soon(machine.shutdown)
                await all_raised.wait()  # while the teardown still runs
                assert not released.is_set()
                with pytest.raises(bm.MachineStopped, match="was shut down"):
                    await machine.call("A.echo", 2)
                released.set()
            assert {error.reason for error in errors} == {bm.StopReason.SHUTDOWN}
            assert called.count("forever is cancelled") == 19
            assert called.index("teardown B") > called.index("items are closed")

    run(test)


@pytest.mark.parametrize(
    ("how", "is_cancelled_before"),
    [
        ("the session ends", False),
        ("the session ends", True),
        ("shutdown", False),
        ("cancel", False),
    ],
)
def test_running_def_method_ends_before_teardown(run, how, is_cancelled_before):
    async def test(kit):
        async with trio.open_nursery() as nursery, kit.session() as session:

            async def call(method, scope):
                with scope, contextlib.suppress(bm.MachineStopped):
                    await machine.call(method)

            [machine] = await session.start(1, services={"A": Torn("A")})
            scope = trio.CancelScope()
            nursery.start_soon(call, "A.work", scope)
            while "work begins" not in called:
                await trio.sleep(0.01)
            nursery.start_soon(call, "A.forever", trio.CancelScope())
            await machine.call("A.echo", 1)
            if is_cancelled_before:
                scope.cancel()
                await machine.call("A.echo", 2)
            if how == "shutdown":
                await machine.shutdown()
            elif how == "cancel":
                machine.cancel()
        assert called[-3:] == ["forever is cancelled", "work ends", "teardown A"]

    run(test)


def test_setup_and_teardown_cannot_be_called_remotely(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"A": Torn("A")})
            for name in ("setup", "teardown"):
                with pytest.raises(bm.UsageError, match="there are: echo, forever, items"):
                    await machine.call(f"A.{name}")

    run(test)
