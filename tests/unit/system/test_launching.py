"""`System.launch` launches one machine; core calls it for each machine and handles failures."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

import bigmachine as bm
from bigmachine.system._launch import launch_each
from tests.support.services import Echo


class Spec:
    def __init__(self, name):
        self.name = name


class Shelf(bm.System):
    """A system whose machines are names in a set. Launches take 1 s, ``slow`` ones 100 s."""

    name = "shelf"

    def __init__(self, *, fails=(), slow=()):
        super().__init__()
        self.fails, self.slow = set(fails), set(slow)
        self.existing = set()
        self.stopped = []
        self.max_concurrent = self.concurrent = 0

    async def launch(self, spec):
        self.existing.add(spec.name)
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        try:
            await trio.sleep(100 if spec.name in self.slow else 1)
        finally:
            self.concurrent -= 1
        if spec.name in self.fails:
            raise bm.StartError(f"no room for {spec.name}")
        return bm.Instance(spec.name, f"{spec.name}:1")

    async def stop(self, instance):
        assert instance.address == ""
        await trio.sleep(1)
        self.existing.discard(instance.name)
        self.stopped.append(instance.name)


async def launch(shelf, count):
    machines = [Spec(f"m{number}") for number in range(count)]
    return await launch_each(machines, launch=shelf.launch, stop=shelf.stop)


def run(test):
    trio.run(test, clock=MockClock(autojump_threshold=0))


def test_machines_are_launched_concurrently_and_returned_in_name_order():
    async def test():
        shelf = Shelf(slow={"m0"})
        instances = await launch(shelf, 3)
        assert [instance.name for instance in instances] == ["m0", "m1", "m2"]
        assert shelf.max_concurrent == 3
        assert trio.current_time() == 100

    run(test)


def test_at_most_32_machines_are_launched_concurrently():
    async def test():
        shelf = Shelf()
        assert len(await launch(shelf, 100)) == 100
        assert shelf.max_concurrent == 32

    run(test)


def test_failed_launch_is_undone_and_other_machines_are_returned(caplog):
    async def test():
        shelf = Shelf(fails={"m1"})
        instances = await launch(shelf, 3)
        assert [instance.name for instance in instances] == ["m0", "m2"]
        assert shelf.stopped == ["m1"]
        assert shelf.existing == {"m0", "m2"}

    run(test)
    assert "no room for m1" in caplog.text


def test_start_error_has_provider_message_if_all_launches_fail():
    async def test():
        shelf = Shelf(fails={"m0", "m1"})
        with pytest.raises(bm.StartError, match="^no room for m[01]$"):
            await launch(shelf, 2)
        assert shelf.existing == set()

    run(test)


def test_other_error_of_launch_becomes_cause_of_start_error():
    class Broken(Shelf):
        async def launch(self, spec):
            raise OSError("no such command")

    async def test():
        with pytest.raises(bm.StartError, match="OSError: no such command") as caught:
            await launch(Broken(), 1)
        assert isinstance(caught.value.__cause__, OSError)

    run(test)


def test_cancelled_start_undoes_finished_and_unfinished_launches():
    async def test():
        shelf = Shelf(slow={"m1"})
        with trio.move_on_after(10) as scope:
            await launch(shelf, 2)
        assert scope.cancelled_caught
        assert sorted(shelf.stopped) == ["m0", "m1"]
        assert shelf.existing == set()

    run(test)


def test_launch_that_has_not_begun_is_not_undone():
    async def test():
        shelf = Shelf(slow={f"m{number}" for number in range(100)})
        with trio.move_on_after(10):
            await launch(shelf, 100)
        assert len(shelf.stopped) == 32

    run(test)


def test_other_launches_are_undone_if_undoing_one_fails(caplog):
    class FailsToStop(Shelf):
        async def stop(self, instance):
            if instance.name == "m0":
                raise OSError("throttled")
            await super().stop(instance)

    async def test():
        shelf = FailsToStop()
        with trio.move_on_after(0.5):
            await launch(shelf, 3)
        assert shelf.existing == {"m0"}

    run(test)
    assert "m0 was not launched, and freeing it failed" in caplog.text


def test_hung_undo_is_abandoned_after_two_minutes(caplog):
    class HangsInStop(Shelf):
        async def stop(self, instance):
            await trio.sleep_forever()

    async def test():
        with trio.move_on_after(0.5):
            await launch(HangsInStop(), 1)
        assert trio.current_time() == 120.5

    run(test)
    assert "may still exist: no confirmation after 120 s" in caplog.text


def test_session_starts_machines_with_launch():
    from bigmachine.testing import InProcessSystem

    class RequestForOne:
        def __init__(self, machine):
            self.new_machine = lambda: machine

    class LaunchingSystem(InProcessSystem):
        start = bm.System.start

        async def launch(self, spec):
            [instance] = await InProcessSystem.start(self, 1, RequestForOne(spec))
            return instance

    async def test():
        async with bm.AsyncSession(LaunchingSystem()) as session:
            machines = await session.start(3, services={"Echo": Echo()})
            assert [await machine.call("Echo.echo", 1) for machine in machines] == [1, 1, 1]

    trio.run(test)


def test_launch_that_returns_no_instance_is_a_start_error_and_is_undone():
    class Forgetful(Shelf):
        async def launch(self, spec):
            await super().launch(spec)

    async def test():
        shelf = Forgetful()
        with pytest.raises(bm.StartError, match=r"must return a bigmachine.Instance, not None"):
            await launch(shelf, 1)
        assert shelf.stopped == ["m0"]

    run(test)
