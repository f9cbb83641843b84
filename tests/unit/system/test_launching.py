"""`System.launch`: one machine at a time, and core sees to the rest."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

import bigmachine as bm
from bigmachine.system._launch import launch_each


class Order:
    def __init__(self, name):
        self.name = name


class Shelf(bm.System):
    """Machines as names on a shelf, put there after a while that differs."""

    name = "shelf"

    def __init__(self, *, fails=(), slow=()):
        super().__init__()
        self.fails, self.slow = set(fails), set(slow)
        self.there = set()
        self.stopped = []
        self.most_at_once = self.at_once = 0

    async def launch(self, spec):
        self.there.add(spec.name)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await trio.sleep(100 if spec.name in self.slow else 1)
        finally:
            self.at_once -= 1
        if spec.name in self.fails:
            raise bm.StartError(f"no room for {spec.name}")
        return bm.Instance(spec.name, f"{spec.name}:1")

    async def stop(self, instance):
        assert instance.address == ""
        await trio.sleep(1)
        self.there.discard(instance.name)
        self.stopped.append(instance.name)


async def launch(shelf, count):
    machines = [Order(f"m{number}") for number in range(count)]
    return await launch_each(machines, launch=shelf.launch, stop=shelf.stop)


def run(test):
    trio.run(test, clock=MockClock(autojump_threshold=0))


def test_machines_are_launched_concurrently_and_returned_in_name_order():
    async def test():
        shelf = Shelf(slow={"m0"})
        instances = await launch(shelf, 3)
        assert [instance.name for instance in instances] == ["m0", "m1", "m2"]
        assert shelf.most_at_once == 3
        assert trio.current_time() == 100

    run(test)


def test_at_most_32_machines_are_launched_concurrently():
    async def test():
        shelf = Shelf()
        assert len(await launch(shelf, 100)) == 100
        assert shelf.most_at_once == 32

    run(test)


def test_failed_launch_is_undone_and_other_machines_are_returned(caplog):
    async def test():
        shelf = Shelf(fails={"m1"})
        instances = await launch(shelf, 3)
        assert [instance.name for instance in instances] == ["m0", "m2"]
        assert shelf.stopped == ["m1"]
        assert shelf.there == {"m0", "m2"}

    run(test)
    assert "no room for m1" in caplog.text


def test_start_error_has_provider_message_if_all_launches_fail():
    async def test():
        shelf = Shelf(fails={"m0", "m1"})
        with pytest.raises(bm.StartError, match="^no room for m[01]$"):
            await launch(shelf, 2)
        assert shelf.there == set()

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
        assert shelf.there == set()

    run(test)


def test_launch_that_has_not_begun_is_not_undone():
    async def test():
        shelf = Shelf(slow={f"m{number}" for number in range(100)})
        with trio.move_on_after(10):
            await launch(shelf, 100)
        assert len(shelf.stopped) == 32

    run(test)


def test_other_launches_are_undone_if_undoing_one_fails(caplog):
    class Sticky(Shelf):
        async def stop(self, instance):
            if instance.name == "m0":
                raise OSError("throttled")
            await super().stop(instance)

    async def test():
        shelf = Sticky()
        with trio.move_on_after(0.5):
            await launch(shelf, 3)
        assert shelf.there == {"m0"}

    run(test)
    assert "m0 was not launched, and freeing it failed" in caplog.text


def test_hung_undo_is_abandoned_after_two_minutes(caplog):
    class Hanging(Shelf):
        async def stop(self, instance):
            await trio.sleep_forever()

    async def test():
        with trio.move_on_after(0.5):
            await launch(Hanging(), 1)
        assert trio.current_time() == 120.5

    run(test)
    assert "may still exist: no confirmation after 120 s" in caplog.text


def test_session_starts_machines_with_launch():
    from bigmachine.testing import InProcessSystem

    class Given:
        def __init__(self, machine):
            self.new_machine = lambda: machine

    class OneByOne(InProcessSystem):
        start = bm.System.start

        async def launch(self, spec):
            [instance] = await InProcessSystem.start(self, 1, Given(spec))
            return instance

    class Echo:
        async def echo(self, value):
            return value

    async def test():
        async with bm.AsyncSession(OneByOne()) as session:
            machines = await session.start(3, services={"Echo": Echo()})
            assert [await machine.call("Echo.echo", 1) for machine in machines] == [1, 1, 1]

    trio.run(test)
