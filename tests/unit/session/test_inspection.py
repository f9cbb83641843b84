"""What a session finds out about all of its machines, on machines inside this process."""

from __future__ import annotations

import threading

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from tests.support.sampling import samplers
from tests.support.waiting import eventually


class Busy:
    def setup(self, session):
        self.is_over = threading.Event()

    def block(self):
        self.is_over.wait()

    async def wait(self):
        await trio.sleep_forever()

    async def end(self):
        self.is_over.set()


@pytest.fixture
def run():
    """Run a test with a session of three machines."""

    def run(test):
        async def main():
            async with bm.AsyncSession(InProcessSystem) as session:
                await test(session, await session.start(3, services={"Busy": Busy()}))

        trio.run(main)

    return run


def test_machine_that_stops_meanwhile_is_named_and_the_rest_is_returned(run):
    async def test(session, machines):
        async def stop():
            await eventually(lambda: samplers() == 3)
            machines[1].cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            profile = await session.profile(0.5)
        assert profile.machines == [machines[0].name, machines[2].name]
        assert list(profile.failures) == [machines[1].name]
        assert "cancelled" in profile.failures[machines[1].name]
        assert f"not in it: {machines[1].name}" in str(profile)

    run(test)


def test_error_is_raised_if_no_machine_answers_in_time(run):
    async def test(session, machines):
        with pytest.raises(bm.CallTimeout):  # its profile alone takes as long
            await session.profile(0.1, timeout=0)

    run(test)


def test_session_without_machines_says_so():
    async def main():
        async with bm.AsyncSession(InProcessSystem) as session:
            with pytest.raises(bm.UsageError, match="no machine of this session is running"):
                await session.profile(1)

    trio.run(main)


def test_bad_arguments_are_refused_before_any_machine_is_asked(run):
    async def test(session, machines):
        for machine in machines:
            machine.cancel()
        with pytest.raises(bm.UsageError, match="seconds is how long"):
            await session.profile(0)
        with pytest.raises(bm.UsageError, match="hz is how often"):
            await machines[0].profile(1, hz=0)

    run(test)


def test_thread_dump_names_the_methods_that_wait_on_each_machine(run):
    async def test(session, machines):
        async with trio.open_nursery() as nursery:
            for machine in machines:
                nursery.start_soon(machine.call, "Busy.block")
                nursery.start_soon(machine.call, "Busy.wait")
            methods = []
            while methods.count("Busy.block") < 3 or methods.count("Busy.wait") < 3:
                dump = await machines[0].threads()  # they share this process
                methods = [stack.method for stack in dump.stacks]
            every = await session.threads()
            for machine in machines:
                await machine.call("Busy.end")
            nursery.cancel_scope.cancel()
        assert {stack.machine for stack in dump.stacks} == {machines[0].name}
        assert {stack.machine for stack in every.stacks} == {m.name for m in machines}
        shown = str(every)
        assert "threads wait in Busy.block: " in shown
        assert "\n    await trio.sleep_forever()\n" in shown
        assert "_run_in_thread" not in shown
        blocked = next(s for s in dump.stacks if s.method == "Busy.block")
        assert blocked.frames[-1].function == "Thread._bootstrap"

    run(test)
