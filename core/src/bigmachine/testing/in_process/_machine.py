"""One in-process machine: its host on the network, and the task that is its process."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import logging
import math
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable

import trio

from ..._full_names import short_name
from ...boot import LaunchRequest, MachineSpec, WorkerConfig
from ...errors import StopReason
from ...system import Instance, Notice
from ...worker import set_up
from ...worker._serve import serve
from .._in_loop import call_in_loop
from ._network import Host
from ._process_state import ProcessState

logger = logging.getLogger("bigmachine.testing")

running: dict[str, InProcessMachine] = {}  # the machines of all systems in this process, by address


class InProcessMachine:
    """A machine that runs as a system task, so that it can outlive its session.

    It belongs to the trio loop in which it was created. From elsewhere, use `do`.
    """

    def __init__(self, spec: MachineSpec, *, exited: dict[str, int]) -> None:
        self.short_name = short_name(spec.name)
        self.host = Host(self.short_name)
        self.instance = Instance(
            name=spec.name, address=self.host.address, details=_details(spec.request)
        )
        self.exit_report = ""  # how it ended; "" while it runs
        self.console = ""
        self.reason = StopReason.EXITED
        self._is_interrupted = False  # or will be: its provider has given notice
        self._telling, self.told = trio.open_memory_channel[Notice](math.inf)
        self._exited = exited
        self._scope = trio.CancelScope()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        running[self.host.address] = self

    def begin(self, data: bytes, *, process_state: ProcessState) -> None:
        """Start its task with the configuration in ``data``."""
        path = sys.path[:]
        try:
            config = WorkerConfig.load(data)
            process_state.change(config.environ, config.argv)
        except BaseException as exc:
            self._crash(exc)
            self._ended.set_result(None)
            # Some modules exit when they are imported. But Ctrl-C is for the program.
            if isinstance(exc, Exception | SystemExit):
                return
            raise
        finally:
            sys.path[:] = path  # `load` adds the driver's path, which is this process's own
        # A system task: the session's nursery ends before its machines.
        trio.lowlevel.spawn_system_task(
            self._run, config, name=f"bigmachine in-process {self.short_name}"
        )

    def do(self, function: Callable[[InProcessMachine], object]) -> None:
        """Call ``function`` with it in its loop, from any thread, and wait for that."""
        call_in_loop(self.host.token, lambda: function(self))

    def kill(self) -> None:
        """End as by SIGKILL; after a notice of interruption, as by its provider."""
        if not self.exit_report and self._is_interrupted:
            self.reason = StopReason.INTERRUPTED
        self.end("killed by InProcessSystem.kill")

    def end(self, exit_report: str) -> None:
        """End at once; its tasks can no longer send anything."""
        if not self.exit_report:
            self.exit_report = exit_report
            self._scope.cancel()
            self.host.close()
            running.pop(self.host.address, None)

    def tell(self, notice: Notice) -> None:
        """Give it a notice of its provider."""
        self._is_interrupted = self._is_interrupted or notice.kind == "interruption"
        self._telling.send_nowait(notice)

    def exit(self, code: int) -> None:
        """End with an exit code."""
        if not self.exit_report:
            self._exited[self.short_name] = code
            self.end(f"exited with status {code}")

    def free(self) -> None:
        """End it, and remove its host from the network."""
        self.end("it was stopped")
        self.host.heal()

    async def wait_ended(self) -> None:
        """Wait until its task has ended; works in any loop."""
        event, token = trio.Event(), trio.lowlevel.current_trio_token()

        def tell(_: object) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(event.set)

        self._ended.add_done_callback(tell)
        await event.wait()

    async def _run(self, config: WorkerConfig) -> None:
        """Run the machine. Only cancellation may leave this: all else would end the loop."""
        try:
            with self._scope:
                await serve(config, address=self.host.address, set_up=set_up)
        except BaseException as exc:
            faults = _without_cancellation(exc)
            if faults is None:
                raise
            if _holds(faults, KeyboardInterrupt):
                _interrupt()
            elif not self.exit_report:
                self._crash(faults)
        finally:
            self.end("its loop ended")
            self._ended.set_result(None)

    def _crash(self, exc: BaseException) -> None:
        while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
            exc = exc.exceptions[0]  # the nurseries around it say nothing
        self.console = "".join(traceback.format_exception(exc))
        logger.error("%s failed:\n%s", self.short_name, self.console)
        self._exited[self.short_name] = 1
        self.end(f"failed: {traceback.format_exception_only(exc)[-1].strip()}")


async def end_all(machines: Iterable[InProcessMachine]) -> None:
    """End all of ``machines``, then wait until each has."""
    machines = tuple(machines)
    for machine in machines:
        machine.do(InProcessMachine.free)
    for machine in machines:
        await machine.wait_ended()


def _without_cancellation(exc: BaseException) -> BaseException | None:
    """Return the part of ``exc`` that is not `trio.Cancelled`, or None."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(trio.Cancelled)[1]
    return None if isinstance(exc, trio.Cancelled) else exc


def _holds(exc: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return exc.subgroup(kind) is not None
    return isinstance(exc, kind)


def _interrupt() -> None:
    """Pass Ctrl-C on to the program: trio raises it in the main task."""
    if threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGINT)


def _details(request: LaunchRequest) -> dict[str, str]:
    return {
        "kind": "instance",
        "session": request.session,
        "driver": str(request.driver),
        "host": request.driver.host,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
