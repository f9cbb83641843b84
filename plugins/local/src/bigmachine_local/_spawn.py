"""Machines as children of the driver, where there can be no zygote."""

from __future__ import annotations

import signal
from collections.abc import Iterable

import trio

from bigmachine.errors import StartError
from bigmachine.process import python_environ

from ._process import PendingProcess, Process, kill_group


class SpawnLauncher:
    """A `Launcher` that runs each machine's command; its lifeline is standard input."""

    async def launch(self, launches: Iterable[PendingProcess]) -> None:
        """See `Launcher`."""
        for pending in launches:
            listener = pending.listener.fileno()
            try:
                popen = await trio.lowlevel.open_process(
                    [*pending.machine.command, "--listen", f"fd:{listener}"],
                    stdin=pending.lifeline_end.number,
                    stdout=pending.log_end.number,
                    stderr=pending.log_end.number,
                    pass_fds=[listener],
                    env=python_environ(pending.environ),
                    start_new_session=True,  # Ctrl-C in the terminal is for the driver only
                )
            except OSError as exc:
                raise StartError(f"can't run {pending.machine.command[0]}: {exc}") from exc
            pending.process = SpawnedProcess(popen, pending)
            await pending.send_config()

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""


class SpawnedProcess(Process):
    """A machine that is a child of the driver."""

    def __init__(self, popen: trio.Process, pending: PendingProcess) -> None:
        super().__init__(popen.pid, pending)
        self._popen = popen

    async def _wait_exit(self) -> int | None:
        status: int | None = await self._popen.wait()
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            status = None  # the kernel has reaped it
        # Just reaped. If the machine left processes running, the group id is still theirs; if
        # not, no other process can have it yet.
        kill_group(self.pid)
        return status

    def _kill_group(self) -> None:
        kill_group(self.pid)
