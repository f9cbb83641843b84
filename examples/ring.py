"""Machines that call each other: a ring all-reduce of arrays, ``python examples/ring.py``.

Every node holds an array and wants the sum of all. Cut into as many parts as there are
nodes, the arrays go round the ring twice: first each part is summed on its way (reduce),
then the sums are handed on (gather). However many nodes there are, each sends less than
twice its array, and the driver sees none of it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import trio

import bigmachine as bm

Array = np.ndarray[Any, np.dtype[np.float64]]


class Node:
    """One node of the ring: a service whose methods run in its machine's trio loop."""

    async def setup(self, session: bm.AsyncPeerSession) -> None:
        """Keep the session, which can connect to the other machines."""
        self._session = session
        self._send, self._inbox = trio.open_memory_channel[Array](1)

    async def join(self, rank: int, ring: Sequence[str], array: Array) -> None:
        """Take a place in the ``ring`` of addresses, with the array to be summed."""
        self._rank, self._size = rank, len(ring)
        self._next = await self._session.connect(ring[(rank + 1) % self._size])
        self._parts = np.array_split(array, self._size)

    async def put(self, part: Array) -> None:
        """Take a part from the node before."""
        await self._send.send(part)

    async def all_reduce(self) -> None:
        """Sum the arrays of all nodes; they all must do it at once."""
        for step in range(self._size - 1):
            await self._pass_on(self._rank - step, add=True)
        for step in range(self._size - 1):
            await self._pass_on(self._rank + 1 - step, add=False)

    async def result(self) -> Array:
        """Return this node's array."""
        return np.concatenate(self._parts)

    async def _pass_on(self, number: int, *, add: bool) -> None:
        """Send a part to the next node while the one before it comes from the node before."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._next.call, "Node.put", self._parts[number % self._size])
            part = await self._inbox.receive()
        before = (number - 1) % self._size
        self._parts[before] = self._parts[before] + part if add else part


async def ring_sum(arrays: Sequence[Array]) -> list[Array]:
    """Sum ``arrays``, one on each machine; return what every machine then has."""
    async with bm.AsyncSession("local") as session:
        machines = await session.start(len(arrays), services={"Node": Node()})
        ring = [machine.addr for machine in machines]
        async with trio.open_nursery() as nursery:
            for rank, (machine, array) in enumerate(zip(machines, arrays, strict=True)):
                nursery.start_soon(machine.call, "Node.join", rank, ring, array)
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for machine in machines:
                nursery.start_soon(machine.call, "Node.all_reduce")
        seconds = time.perf_counter() - began
        print(f"{len(machines)} machines summed {arrays[0].nbytes:,} bytes each in {seconds:.3f} s")
        return [await machine.call("Node.result") for machine in machines]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description="A ring all-reduce.")
    parser.add_argument("--machines", type=int, default=4, metavar="N")
    parser.add_argument("--length", type=int, default=1_000_000, help="of each array")
    arguments = parser.parse_args(argv)
    if arguments.machines < 1 or arguments.length < 1:
        parser.error("--machines and --length must be 1 or more")
    random = np.random.default_rng()
    arrays = [random.random(arguments.length) for _ in range(arguments.machines)]
    results = trio.run(ring_sum, arrays)
    if not all(np.allclose(result, sum(arrays)) for result in results):
        print("the machines' sums differ from the driver's", file=sys.stderr)
        return 1
    print("each machine has the sum that the driver gets by itself")
    return 0


if __name__ == "__main__":
    sys.exit(main())
