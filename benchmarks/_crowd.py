"""What a driver needs for each of 1,000 machines: prints its kilobytes, and ends.

Only the driver is weighed, so the machines' ends are tasks of one other process, which
it reaches by loopback as it does any machine. 1,000 processes would need 8 GB.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import trio
from bigmachine._worker import serve

import bigmachine as bm
from benchmarks._processes import unshared_bytes
from benchmarks._service import Bench
from bigmachine.boot import Boot, WorkerConfig
from bigmachine.rpc import open_listeners
from bigmachine.worker import set_up

MACHINES = 1000
FIRST = 20  # machines before those that count: caches, pools, lazy imports

_ports: list[int] = []  # of the machines in this process


class Crowd(bm.System):
    """Machines as tasks of one other process."""

    name = "crowd"
    boot_timeout = 60.0

    def maxprocs(self) -> int:
        return 1

    async def start(self, count: int, boot: Boot) -> Sequence[bm.Instance]:
        orders = [boot.machine() for _ in range(count)]
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", "from benchmarks._crowd import be_machines; be_machines()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send_all(pickle.dumps([order.config for order in orders]))
        answer = bytearray()
        while not answer.endswith(b"]"):
            part = await process.stdout.receive_some()
            assert part, "the machines' process ended"
            answer += part
        self.process = process  # its input stays open: it ends with this process
        return [
            bm.Instance(order.name, f"127.0.0.1:{port}")
            for order, port in zip(orders, json.loads(answer), strict=True)
        ]

    async def listen(self, address: str) -> Any:
        listeners = await open_listeners(address)
        _ports.append(listeners[0].socket.getsockname()[1])
        return listeners


def be_machines() -> None:
    """Be the machines whose configurations come on standard input, until that ends."""
    raise_limit()
    configs = [WorkerConfig.load(data) for data in pickle.load(sys.stdin.buffer)]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number, config in enumerate(configs, 1):
                nursery.start_soon(lambda c=config: serve(c, address="127.0.0.1:0", set_up=set_up))
                while len(_ports) < number:  # one by one, so that the ports are in order
                    await trio.sleep(0.001)
            os.write(1, json.dumps(_ports).encode())
            await trio.to_thread.run_sync(sys.stdin.buffer.read)
            os._exit(0)

    trio.run(main)


async def weigh() -> None:
    raise_limit()
    async with bm.AsyncSession(Crowd) as session:
        await session.start(FIRST, services={"Bench": Bench()})
        before = unshared_bytes(os.getpid())
        machines = await session.start(MACHINES, services={"Bench": Bench()})
        assert len(machines) == MACHINES
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # how much it keeps free is chance: up to 57 kB
        print((unshared_bytes(os.getpid()) - before) / MACHINES / 1e3, flush=True)
        os._exit(0)


def raise_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    # By its name: classes of `__main__` travel by value, with a copy of this module's data.
    from benchmarks import _crowd

    trio.run(_crowd.weigh)
