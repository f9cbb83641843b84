"""How often tasks run for calls one after the other: a step costs more than all else in a call."""

from __future__ import annotations

from collections import Counter

import trio

from bigmachine.rpc import dial, http_client
from bigmachine.rpc.client._pickled_call import pickle_call
from tests.unit.rpc.wires import DRIVER, MACHINE, run, services, serving

CALLS = 20


class Supervisor:
    """As a machine's own, of which a driver awaits calls all the time."""

    async def wait(self) -> None:
        await trio.sleep_forever()


class Null:
    async def null(self) -> None: ...


class Steps(trio.abc.Instrument):
    """Counts the steps of tasks, by their names."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.of[task.name.rpartition(".")[2]] += 1


def test_call_takes_one_step_of_its_caller_its_method_and_the_readers() -> None:
    async def main() -> None:
        installed = services(Null())
        installed.add("Supervisor", Supervisor())
        async with (
            serving(installed) as (_, address),
            http_client(DRIVER) as http,
            dial(http, f"https://{address}#{MACHINE.name}") as connection,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(connection.run)
            nursery.start_soon(connection.call, "Supervisor.wait", (), {})
            call = pickle_call("S.null", (), {})
            for _ in range(2):
                await connection.outcome(call)
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            for _ in range(CALLS):
                await connection.outcome(call)
            trio.lowlevel.remove_instrument(steps)
            assert sum(steps.of.values()) <= 4 * CALLS + 4, steps.of
            nursery.cancel_scope.cancel()

    run(main)
