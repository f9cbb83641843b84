"""The ``local`` system: machines as processes on this computer.

A machine ends with its driver, however the driver ends. It holds one end of a pipe, its lifeline,
and ends when the driver's end closes. The zygote, its parent, then also kills it, in case it
is too busy to notice, and all that it has started. trio is imported late here, so that the zygote
starts, and imports it, while the driver still does.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from bigmachine.errors import NotSupportedError, StartError, StopReason
from bigmachine.process import python_command
from bigmachine.system import Capability, Instance, Keepalive, System, Termination, check_options

from ._options import MAX_PORT, LocalOptions

if TYPE_CHECKING:
    from bigmachine.system import LaunchRequest

    from ._gpus import GpuPool
    from ._oom import OomWatch
    from ._process import Launcher, PendingProcess, Process
    from ._zygote import Zygote

_EXIT_GRACE = 0.5  # a broken connection is seen some ms before the process's end
_CLEANUP_TIMEOUT = 10.0  # SIGKILL takes ms; longer only if the kernel is stuck
_CHUNK_BYTES = 1 << 18


class LocalSystem(System):
    """Machines as processes on this computer, one process group each."""

    name = "local"
    Options = LocalOptions
    capabilities = frozenset({Capability.TAIL, Capability.READ})
    boot_timeout = 60.0
    # Its log, its lifeline, its pidfd; at first the machine's own ends, and later its connections.
    open_files_per_machine = 6
    orphan_timeout = 5.0  # machines end in ms; longer on a computer that swaps
    entry: ClassVar[str] = "bigmachine.worker:main"  # what a forked machine runs

    options: LocalOptions

    def __init__(self, options: LocalOptions | None = None) -> None:
        super().__init__(options)
        self._processes: dict[str, Process] = {}  # by the machine's name
        self._ports: dict[str, int] = {}
        self._zygote: Zygote | None = None
        self._launcher: Launcher | None = None
        self._oom: OomWatch | None = None
        self._gpus: GpuPool | None = None  # found by setup, if the option asks for some

    def warm_up(self) -> None:
        """Start the zygote without waiting for it, where there can be one."""
        python_command()  # raises if this program can't start any process
        if self._zygote is None and _can_use_zygote():
            from ._zygote import Zygote

            self._zygote = Zygote(None if self.options.fork is False else self.entry)

    async def setup(self) -> None:
        """Check the options; start the zygote."""
        if sys.platform == "win32":
            raise NotSupportedError(
                "system 'local' does not run on Windows; use WSL, or a system in the cloud"
            )
        o = self.options
        check_options(
            o,
            host=None if o.host else "must not be empty",
            gpus=await self._find_gpus(),
            fork="requires Linux 5.3 or later" if o.fork and not _can_use_zygote() else None,
        )
        self.warm_up()

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch ``count`` machines. If one fails, this stops all and raises `StartError`."""
        import trio

        from ._oom import OomWatch

        if problem := self._gpu_shortage(count):
            raise StartError(f"can't start {count} machines: {problem}")
        self._oom = self._oom or OomWatch()
        launches: list[PendingProcess] = []

        def prepared() -> Iterator[PendingProcess]:
            for _ in range(count):
                try:
                    launches.append(self._prepare(request))
                except OSError as exc:  # within `launch` it would look like one of the zygote's
                    raise StartError(f"can't start {count} machines: {exc}") from exc
                yield launches[-1]

        try:
            await self._chosen_launcher().launch(prepared())
            await trio.lowlevel.checkpoint_if_cancelled()  # launching is shielded in part
        except BaseException as exc:
            with trio.move_on_after(_CLEANUP_TIMEOUT, shield=True):
                await _kill([pending.process for pending in launches if pending.process])
            for pending in launches:
                self._forget(pending.machine.name)
            if isinstance(exc, OSError):
                raise StartError(f"can't start {count} machines: {exc}") from exc
            raise
        finally:
            for pending in launches:
                pending.close()
        return [self._register(pending) for pending in launches]

    def maxprocs(self) -> int:
        """Return the option of that name."""
        return self.options.maxprocs

    def keepalive(self) -> Keepalive:
        """Return a short period, because a check is cheap.

        Lifelines detect dead machines. So a silent machine is a suspended process, or in a
        deadlock, or it runs native code that holds the interpreter: then it `is_busy`.
        """
        timeout = self.options.keepalive_timeout
        return Keepalive(period=timeout / 4, timeout=timeout, rpc_timeout=min(timeout / 2, 10.0))

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Return how the process ended; None if it still runs after half a second."""
        import trio

        from ._terminations import explain_ended

        process = self._processes.get(instance.name)
        if process is None:
            return Termination(StopReason.EXITED, "its process was stopped")
        with trio.move_on_after(_EXIT_GRACE):
            return explain_ended(process, await process.wait(), self._oom)
        return None

    def is_busy(self, instance: Instance) -> bool:
        """Whether its process computes; one that is stopped, or in a deadlock, does not."""
        process = self._processes.get(instance.name)
        return process is not None and process.is_busy()

    def tail(self, instance: Instance) -> AsyncIterator[bytes]:
        """Follow the machine's output, from its first line."""
        process = self._processes.get(instance.name)
        return process.log if process else _no_lines()

    async def read(self, instance: Instance, path: str) -> AsyncIterator[bytes]:
        """Read a file of this computer."""
        import trio

        async with await trio.open_file(path, "rb") as file:
            while chunk := await file.read(_CHUNK_BYTES):
                yield chunk

    async def stop(self, instance: Instance) -> None:
        """Kill the machine's process group and wait until it has ended."""
        process = self._processes.get(instance.name)
        if process is not None:
            await _kill([process])
            self._forget(instance.name)

    async def shutdown(self) -> None:
        """Stop every machine, then the zygote."""
        processes = dict(self._processes)
        await _kill(processes.values())
        for name in processes:
            self._forget(name)
        if self._zygote or self._launcher:
            await self._chosen_launcher().close()
            self._zygote = self._launcher = None
        if self._oom:
            self._oom.close()
            self._oom = None

    def _chosen_launcher(self) -> Launcher:
        self.warm_up()
        if self._launcher is None:
            if self._zygote is not None:
                from ._zygote_launcher import ZygoteLauncher

                self._launcher = ZygoteLauncher(self._zygote)
            else:
                from ._spawn import SpawnLauncher

                self._launcher = SpawnLauncher()
        return self._launcher

    def _prepare(self, request: LaunchRequest) -> PendingProcess:
        from ._process import PendingProcess

        port = self.options.port
        if port:
            port = next(p for p in itertools.count(port) if p not in self._ports.values())
        listener = _listen(self.options.host, port)
        try:
            machine = request.new_machine()
            own = self._gpus.take(machine.name, self.options.gpus or 0) if self._gpus else {}
            # The driver's as they are now, not as they were when the session was opened.
            pending = PendingProcess(machine, listener, environ={**os.environ, **own})
        except BaseException:
            listener.close()
            raise
        if port:
            self._ports[pending.machine.name] = port
        return pending

    def _register(self, pending: PendingProcess) -> Instance:
        process, name = pending.process, pending.machine.name
        assert process is not None
        self._processes[name] = process
        if self._oom:
            self._oom.watch(process.pid)
        return Instance(name=name, address=pending.address, id=str(process.pid))

    def _forget(self, name: str) -> None:
        process = self._processes.pop(name, None)
        self._ports.pop(name, None)
        if self._gpus:
            self._gpus.give_back(name)
        if process and self._oom:
            self._oom.forget(process.pid)

    async def _find_gpus(self) -> str | None:
        """Find the GPUs that machines are to have, if any; return the problem, if there is one."""
        import trio

        from ._gpus import GpuPool, find_gpus

        wanted = self.options.gpus
        if wanted is None or self._gpus is not None:
            return None
        gpus = await trio.to_thread.run_sync(find_gpus) if wanted else GpuPool([])
        if len(gpus.devices) < wanted:
            has = f"only {len(gpus.devices)}" if gpus.devices else "no GPU"
            return f"this computer has {has} that this program may use"
        self._gpus = gpus
        return None

    def _gpu_shortage(self, count: int) -> str | None:
        """Return why there are too few GPUs for ``count`` more machines, if so."""
        wanted = self.options.gpus
        if not wanted or self._gpus is None or len(self._gpus.free) >= count * wanted:
            return None
        each = f"{wanted} GPU{'s' * (wanted != 1)} each (option gpus)"
        return f"{each}, and {len(self._gpus.free)} of {len(self._gpus.devices)} are free"


async def _kill(processes: Iterable[Process]) -> None:
    """Kill all, then wait for the end of each."""
    processes = list(processes)
    for process in processes:
        process.kill()
    for process in processes:
        await process.wait()


def _can_use_zygote() -> bool:
    """Whether a zygote works here: it needs Linux with pidfd (5.3)."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _listen(host: str, port: int) -> socket.socket:
    if port > MAX_PORT:
        raise StartError(f"no port is left for another machine: {port} exceeds {MAX_PORT}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        hint = ""
        if exc.errno == errno.EADDRINUSE:
            hint = "; choose another first port, or port=0 for any free port"
        why, _, _ = (exc.strerror or str(exc)).partition(" (while ")  # it names the address again
        raise StartError(f"can't listen on {host}:{port}: {why}{hint}") from exc


async def _no_lines() -> AsyncIterator[bytes]:
    return
    yield b""
