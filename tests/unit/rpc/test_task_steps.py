"""How often tasks run for calls one after the other: a step costs more than all else in a call."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from bigmachine.rpc import FrameConnection, dial, http_client
from bigmachine.rpc.client._pickled_call import pickle_call
from tests.unit.rpc.wires import DRIVER, MACHINE, run, services, serving

CALLS = 20


class Supervisor:
    """As a machine's own, of which a driver awaits calls all the time."""

    async def wait(self) -> None:
        await trio.sleep_forever()


class Null:
    async def null(self) -> None: ...

    async def wait(self) -> None:
        await trio.lowlevel.checkpoint()


class Steps(trio.abc.Instrument):
    """Counts the steps of tasks, by their names."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.of[task.name.rpartition(".")[2]] += 1


@contextlib.asynccontextmanager
async def connected(service: object) -> AsyncIterator[FrameConnection]:
    """Connect to a service ``S``, and await a call of the supervisor meanwhile."""
    installed = services(service)
    installed.add("Supervisor", Supervisor())
    async with (
        serving(installed) as (_, address),
        http_client(DRIVER) as http,
        dial(http, f"https://{address}#{MACHINE.name}") as connection,
        trio.open_nursery() as nursery,
    ):
        assert isinstance(connection, FrameConnection)
        connection.lanes = None  # to make one takes steps, too, at any time
        nursery.start_soon(connection.run)
        nursery.start_soon(connection.call_supervisor, "Supervisor.wait", (), {})
        yield connection
        nursery.cancel_scope.cancel()


async def steps_of(calls: Callable[[], Awaitable[None]]) -> Counter[str]:
    """Return how many steps tasks take for the ``calls``, after the first ones."""
    await calls()
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    await calls()
    trio.lowlevel.remove_instrument(steps)
    return steps.of


def test_call_takes_one_step_of_its_caller_and_one_of_each_reader() -> None:
    async def main() -> None:
        async with connected(Null()) as connection:

            async def calls() -> None:
                for _ in range(CALLS):
                    await connection.outcome(pickle_call("S.null", (), {}))

            steps = await steps_of(calls)
            assert sum(steps.values()) <= 3 * CALLS + 4, steps

    run(main)


def test_methods_that_wait_are_begun_in_one_step_if_their_calls_come_at_once() -> None:
    async def main() -> None:
        async with connected(Null()) as connection:

            async def calls() -> None:
                async with trio.open_nursery() as nursery:
                    for _ in range(CALLS):
                        call = pickle_call("S.wait", (), {})
                        nursery.start_soon(connection.outcome, call)

            steps = await steps_of(calls)
            # Two of each caller and each method, and a few of the rest.
            assert sum(steps.values()) <= 4 * CALLS + CALLS // 2, steps

    run(main)


def test_calls_that_are_made_at_once_again_and_again_share_reads_and_writes() -> None:
    async def main() -> None:
        async with connected(Null()) as connection:

            async def caller() -> None:
                for _ in range(CALLS):
                    await connection.outcome(pickle_call("S.null", (), {}))

            async def calls() -> None:
                async with trio.open_nursery() as nursery:
                    for _ in range(4):
                        nursery.start_soon(caller)

            steps = await steps_of(calls)
            # One of each caller and each method, and of both readers and both outboxes.
            assert sum(steps.values()) <= 12 * CALLS + 10, steps

    run(main)
