"""Machines that call each other: a ring all-reduce of arrays, ``python examples/ring.py``.

Every node has an array and needs the sum of all arrays. Each array is split into as many
parts as there are nodes, and the parts go round the ring twice: first they are summed on
the way (reduce), then the sums are passed on (gather). With any number of nodes, each node
sends less than twice the size of its array, and nothing goes through the driver.
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

    async def setup(self, session: bm.AsyncSession) -> None:
        """Keep the session, which can connect to the other machines."""
        self._session = session
        self._send, self._inbox = trio.open_memory_channel[Array](1)

    async def join(self, rank: int, ring: Sequence[str], array: Array) -> None:
        """Take place ``rank`` in the ``ring`` of addresses, with an array to sum."""
        self._rank, self._size = rank, len(ring)
        self._next = await self._session.connect(ring[(rank + 1) % self._size])
        self._parts = np.array_split(array, self._size)

    async def put(self, part: Array) -> None:
        """Receive a part from the previous node."""
        await self._send.send(part)

    async def all_reduce(self) -> None:
        """Sum the arrays of all nodes; call it on all nodes at the same time."""
        for step in range(self._size - 1):
            await self._pass_on(self._rank - step, add=True)
        for step in range(self._size - 1):
            await self._pass_on(self._rank + 1 - step, add=False)

    async def result(self) -> Array:
        """Return this node's array, which is the sum after `all_reduce`."""
        return np.concatenate(self._parts)

    async def _pass_on(self, number: int, *, add: bool) -> None:
        """Send one part to the next node, and receive the part before it from the previous one."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._next.call, "Node.put", self._parts[number % self._size])
            part = await self._inbox.receive()
        index = (number - 1) % self._size
        self._parts[index] = self._parts[index] + part if add else part


async def ring_sum(arrays: Sequence[Array]) -> list[Array]:
    """Sum ``arrays``, one on each machine; return the result of each machine."""
    async with bm.AsyncSession("local") as session:
        machines = await session.start(len(arrays), services={"Node": Node()})
        ring = [machine.addr for machine in machines]
        async with trio.open_nursery() as nursery:
            for rank, (machine, array) in enumerate(zip(machines, arrays, strict=True)):
                nursery.start_soon(machine.call, "Node.join", rank, ring, array)
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for machine in machines:
                nursery.start_soon(machine.call, "Node.all_reduce")
        seconds = time.perf_counter() - started
        print(f"{len(machines)} machines summed {arrays[0].nbytes:,} bytes each in {seconds:.3f} s")
        return [await machine.call("Node.result") for machine in machines]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description="A ring all-reduce.")
    parser.add_argument("--machines", type=int, default=4, metavar="N")
    parser.add_argument("--length", type=int, default=1_000_000, help="the length of each array")
    arguments = parser.parse_args(argv)
    if arguments.machines < 1 or arguments.length < 1:
        parser.error("--machines and --length must be 1 or more")
    random = np.random.default_rng()
    arrays = [random.random(arguments.length) for _ in range(arguments.machines)]
    results = trio.run(ring_sum, arrays)
    if not all(np.allclose(result, sum(arrays)) for result in results):
        print("the machines' sums differ from the driver's", file=sys.stderr)
        return 1
    print("each machine has the same sum as the driver")
    return 0


if __name__ == "__main__":
    sys.exit(main())
