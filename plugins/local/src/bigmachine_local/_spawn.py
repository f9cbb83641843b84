"""Machines as fresh Python processes: slower than forks, and possible everywhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import trio

from bigmachine.errors import StartError

from ._descriptors import Descriptor
from ._process import Order, Process, kill_group


class SpawnLauncher:
    """Runs each machine's own command, its configuration and lifeline being standard input."""

    async def launch(self, orders: Sequence[Order]) -> None:
        """See `Launcher`."""
        for order in orders:
            listener = order.listener.fileno()
            try:
                popen = await trio.lowlevel.open_process(
                    [*order.machine.command, "--listen", f"fd:{listener}"],
                    stdin=order.lifeline_end.number,
                    stdout=order.log_end.number,
                    stderr=order.log_end.number,
                    pass_fds=[listener],
                    start_new_session=True,  # Ctrl-C in the terminal is the driver's alone
                )
            except OSError as exc:
                raise StartError(f"can't run {order.machine.command[0]}: {exc}") from exc
            order.process = SpawnedProcess(popen, order)
            await _write(order.lifeline, order.machine.config)

    async def close(self) -> None:
        """Nothing is held."""


class SpawnedProcess(Process):
    """A machine that is the driver's own child."""

    def __init__(self, popen: trio.Process, order: Order) -> None:
        super().__init__(popen.pid, order)
        self._popen = popen

    async def _wait_exit(self) -> int | None:
        status = await self._popen.wait()
        # Reaped this moment. If the machine left something running, the group still
        # has its number; if not, no other process can have got it yet.
        kill_group(self.pid)
        return status

    def _kill_group(self) -> None:
        kill_group(self.pid)


async def _write(pipe: Descriptor, data: bytes) -> None:
    os.set_blocking(pipe.number, False)
    rest = memoryview(data)
    with contextlib.suppress(BrokenPipeError):  # it ended already; its status says why
        while rest:
            try:
                rest = rest[os.write(pipe.number, rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(pipe)
