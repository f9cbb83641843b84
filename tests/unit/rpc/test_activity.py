"""Both ends know whether calls are in flight: by frames and by POST, without their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from bigmachine.rpc import Connection, FrameConnection, PostConnection, dial, http_client
from bigmachine.rpc.client._pickled_call import pickle_call
from bigmachine.rpc.server._server import Server
from tests.support.waiting import eventually
from tests.unit.rpc.wires import DRIVER, MACHINE, call_over, run, services, serving


class Slow:
    def __init__(self) -> None:
        self.begun = trio.Event()
        self.may_end = trio.Event()

    async def wait(self) -> None:
        self.begun.set()
        await self.may_end.wait()

    async def fail(self) -> None:
        raise ZeroDivisionError

    async def items(self) -> AsyncIterator[int]:
        yield 1
        await self.may_end.wait()


class Supervisor(Slow):
    """As a machine's own."""


def counts(server: Server) -> dict[str, float]:
    """Return how many calls of ``S.*`` are in flight, and how many have ended how."""
    metrics = {metric.name: metric for metric in server.metrics()}
    assert not metrics["bigmachine_calls_begun"].select(method="Supervisor.wait").series
    ended = metrics["bigmachine_calls_ended"].by("outcome")
    found = {"in flight": metrics["bigmachine_calls_in_flight"].sum}
    found |= {outcome: metric.sum for outcome, metric in ended.items()}
    assert metrics["bigmachine_calls_begun"].sum == sum(found.values())
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize("way", ["frames", "POST"])
def test_calls_in_flight_are_known_at_both_ends(way: str) -> None:
    async def main() -> None:
        slow, supervisor = Slow(), Supervisor()
        installed = services(slow)
        installed.add("Supervisor", supervisor)
        async with (
            serving(installed) as (server, address),
            http_client(DRIVER) as http,
            dial(http, f"https://{address}#{MACHINE.name}") as dialled,
            trio.open_nursery() as nursery,
        ):
            connection: Connection = dialled
            if way == "POST":
                url = f"https://{address}"
                connection = PostConnection(http, base=url, addr="a", machine=MACHINE.name)
            nursery.start_soon(connection.run)
            assert not connection.is_in_use
            assert server.activity() == (0, False)

            nursery.start_soon(connection.call_supervisor, "Supervisor.wait", (), {})
            await supervisor.begun.wait()
            assert not connection.is_in_use
            assert server.activity() == (0, False)

            async with trio.open_nursery() as calls:
                calls.start_soon(connection.outcome, pickle_call("S.wait", (), {}))
                await slow.begun.wait()
                assert connection.is_in_use
                assert server.activity() == (1, True)
                assert counts(server) == {"in flight": 1}
                slow.may_end.set()
            assert not connection.is_in_use
            assert server.activity() == (1, False)
            assert counts(server) == {"returned": 1}

            with pytest.raises(ZeroDivisionError):
                await call_over(connection, "S.fail", (), {})
            ended = {"returned": 1, "raised": 1}
            if way == "frames":  # a POST that nobody waits for goes on
                slow.begun, slow.may_end = trio.Event(), trio.Event()
                async with trio.open_nursery() as calls:
                    calls.start_soon(connection.outcome, pickle_call("S.wait", (), {}))
                    await slow.begun.wait()
                    calls.cancel_scope.cancel()
                await eventually(lambda: "in flight" not in counts(server))
                ended["cancelled"] = 1
            assert counts(server) == ended
            nursery.cancel_scope.cancel()

    run(main)


def test_stream_is_in_flight_until_its_end_has_arrived_or_it_is_closed() -> None:
    async def main() -> None:
        slow = Slow()
        async with (
            serving(slow) as (server, address),
            http_client(DRIVER) as http,
            dial(http, f"https://{address}#{MACHINE.name}") as connection,
            trio.open_nursery() as nursery,
        ):
            assert isinstance(connection, FrameConnection)
            nursery.start_soon(connection.run)
            for how in ("close", "end"):
                stream: Any = await connection.open_stream(pickle_call("S.items", (), {}))
                assert await anext(stream) == 1
                assert connection.is_in_use
                assert server.activity()[1]
                if how == "close":
                    stream.close()
                else:
                    slow.may_end.set()
                    assert [item async for item in stream] == []
                with pytest.raises(ValueError, match="no service"):
                    await call_over(connection, "Unknown.method", (), {})  # a round trip
                assert not connection.is_in_use
                assert not server.activity()[1]
            nursery.cancel_scope.cancel()

    run(main)
