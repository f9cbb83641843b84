"""The state machine of a machine's lifecycle, which does no I/O."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import bigmachine as bm
from bigmachine._repeated_event import RepeatedEvent
from bigmachine.machine._lifecycle import Lifecycle

KILLED = bm.Termination(bm.StopReason.EXITED, "killed by signal 9")
DELETED = bm.Termination(bm.StopReason.GONE, "deleted by hand")


class Observed:
    """A lifecycle with the states that its observers received."""

    def __init__(self) -> None:
        self.received: list[bm.State] = []
        self.lifecycle = Lifecycle(
            "m0", addr="https://host:1#m0.s", changed=RepeatedEvent(), notify=self._notify
        )

    def _notify(self, event: bm.Event) -> None:
        assert isinstance(event, bm.MachineChanged)
        assert event.error is self.lifecycle.error
        self.received.append(event.state)


def test_observers_receive_each_state_once():
    machine = Observed()
    for _ in range(2):
        machine.lifecycle.begin()
    for _ in range(2):
        machine.lifecycle.booted()
    for _ in range(2):
        machine.lifecycle.stop(KILLED)
    assert machine.received == [bm.State.STARTING, bm.State.RUNNING, bm.State.STOPPED]


@pytest.mark.parametrize("steps", [[], ["begin"], ["begin", "booted"]])
def test_machine_stops_from_any_state_and_stays_stopped(steps):
    machine = Observed().lifecycle
    for step in steps:
        getattr(machine, step)()
    machine.stop(KILLED)
    machine.begin()
    machine.booted()
    assert machine.state == bm.State.STOPPED


def test_first_stop_reason_is_error_of_machine():
    machine = Observed().lifecycle
    cause = OSError("reset")
    machine.stop(KILLED, cause=cause)
    machine.stop(DELETED)
    assert isinstance(machine.error, bm.MachineStopped)
    assert machine.error.reason is bm.StopReason.EXITED
    assert machine.error.__cause__ is cause
    stopped = machine.stopped_error("PI.sample")
    assert str(stopped) == "PI.sample was cut off: m0 stopped: killed by signal 9"
    assert stopped.__cause__ is cause


def test_boot_error_is_error_of_machine():
    machine = Observed().lifecycle
    error = bm.BootError("m0 did not boot", machine="m0", phase="connect", console="a line")
    machine.stop(bm.Termination(bm.StopReason.BOOT, "it did not boot"), cause=error)
    assert machine.error is error
    stopped = machine.stopped_error()
    assert str(stopped) == "m0 did not boot"
    assert (stopped.reason, stopped.__cause__) == (bm.StopReason.BOOT, error)


def test_wait_for_state_ends_at_that_state_or_later_one():
    async def main() -> None:
        machine = Observed().lifecycle
        reached: list[bm.State] = []

        async def wait(state: bm.State) -> None:
            await machine.wait(state)
            reached.append(state)

        async with trio.open_nursery() as nursery:
            for state in (bm.State.STARTING, bm.State.RUNNING, bm.State.STOPPED):
                nursery.start_soon(wait, state)
            machine.begin()
            await trio.testing.wait_all_tasks_blocked()
            assert reached == [bm.State.STARTING]
            machine.stop(KILLED)
        assert {*reached} == {bm.State.STARTING, bm.State.RUNNING, bm.State.STOPPED}

    trio.run(main)
