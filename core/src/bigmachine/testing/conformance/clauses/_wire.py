"""Section WIRE: calls, streams, payloads and peers, through the backend's client."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest
import trio

from bigmachine.errors import RemoteError
from bigmachine.rpc import FrameConnection, dial

from .._clauses import must
from .._kit import Kit

if TYPE_CHECKING:
    from collections.abc import Iterator

_ITEMS = 500
_CALLS = 500


class Wire:
    """Section WIRE of the contract."""

    @must("WIRE-1")
    async def test_calls_return_results_and_raise_errors(self, kit: Kit) -> None:
        for machine in await kit.machines():
            for value in (None, 1.5, "ä\0", b"\xff" * 1000, {"k": [1, (2,)]}):
                assert await machine.call("Probe.echo", value) == value
            assert await machine.call("Probe.echo_async", 7, times=3) == [7, 7, 7]
            with pytest.raises(LookupError, match="not there") as raised:
                await machine.call("Probe.fail", "not there")
            assert isinstance(raised.value.__cause__, RemoteError)

    @must("WIRE-2")
    async def test_streams_work_in_both_directions(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        received = [item async for item in machine.stream("Probe.count", _ITEMS)]
        assert received == list(range(_ITEMS)), (
            f"{len(received)} of {_ITEMS} items, or not in order"
        )
        assert await machine.call("Probe.total", _numbers()) == sum(range(_ITEMS))

    @must("WIRE-3")
    async def test_large_payloads_arrive_complete_in_both_directions(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        data = os.urandom(kit.config.payload_bytes)
        size, digest = await machine.call("Probe.digest", data)
        assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())
        is_same = await machine.call("Probe.echo", data) == data  # see READ-1
        assert is_same, f"{len(data)} bytes came back changed"

    @must("WIRE-4")
    async def test_concurrent_calls_each_get_their_own_result(self, kit: Kit) -> None:
        machines = await kit.machines()
        wrong: list[object] = []

        async def call(number: int) -> None:
            machine = machines[number % len(machines)]
            method = ("Probe.echo", "Probe.echo_async")[number // 2 % 2]
            answer = await machine.call(method, number)
            if answer not in (number, [number]):
                wrong.append((number, answer))

        async with trio.open_nursery() as nursery:
            for number in range(_CALLS):
                nursery.start_soon(call, number)
        assert not wrong, f"calls and their answers: {wrong[:3]}"

    @must("WIRE-5")
    async def test_cancelled_call_is_cancelled_on_the_machine(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        waiting, cancelled = await machine.call("Probe.count_waits")

        async def is_waiting() -> bool:
            return bool((await machine.call("Probe.count_waits"))[0] > waiting)

        async def is_cancelled() -> bool:
            return bool((await machine.call("Probe.count_waits"))[1] > cancelled)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(machine.call, "Probe.wait_forever")
            # A call that is cancelled before it runs on the machine proves nothing.
            await kit.eventually("the method waits", is_waiting)
            nursery.cancel_scope.cancel()
        await kit.eventually("the method is cancelled", is_cancelled)

    @must("WIRE-6")
    async def test_machines_can_call_each_other(self, kit: Kit) -> None:
        first, second = await kit.machines()
        for here, there in ((first, second), (second, first)):
            async with kit.promptly("a call from one machine to the other"):
                answer = await here.call("Probe.ask_peer", there.addr)
            assert answer == there.instance.name

    @must("WIRE-7")
    async def test_connections_can_be_upgraded_to_frames(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        session = await kit.shared_session()
        assert session._http is not None
        async with dial(session._http, machine.addr) as connection:
            assert isinstance(connection, FrameConnection), (
                "the client cannot upgrade connections: it sends calls as POST, without streams"
            )


def _numbers() -> Iterator[int]:
    yield from range(_ITEMS)
