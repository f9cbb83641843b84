"""A small and correct backend, as an author writes it first: machines are child processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess

import trio

from bigmachine.errors import StopReason
from bigmachine.system import Instance, System, Termination

_EXIT_GRACE = 0.5


class PlainSystem(System):
    """Machines as child processes, each with a process group of its own."""

    name = "plain"

    def __init__(self, options=None):
        super().__init__(options)
        self.processes = {}

    async def launch(self, spec):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            process = await trio.lowlevel.open_process(
                [*spec.command, "--listen", f"fd:{listener.fileno()}"],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
            port = listener.getsockname()[1]
        await self.opened(spec, process)
        return Instance(spec.name, f"127.0.0.1:{port}")

    async def opened(self, spec, process):
        """Record the process, then give it its configuration."""
        self.processes[spec.name] = process
        await process.stdin.send_all(spec.config)

    async def keepalive_failed(self, instance):
        if process := self.processes.get(instance.name):
            with trio.move_on_after(_EXIT_GRACE):
                status = await process.wait()
                return Termination(StopReason.EXITED, f"its process ended with status {status}")
        return None

    async def stop(self, instance):
        if process := self.processes.get(instance.name):
            with contextlib.suppress(ProcessLookupError):
                self.kill(process)
            await process.wait()
            self.processes.pop(instance.name, None)

    def kill(self, process):
        os.killpg(process.pid, signal.SIGKILL)

    async def shutdown(self):
        for name in [*self.processes]:
            await self.stop(Instance(name, ""))
