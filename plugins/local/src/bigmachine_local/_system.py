"""The ``local`` system: machines as processes on this computer.

A machine ends with its driver, however the driver ends: it holds one end of a pipe,
its lifeline, and ends when the driver's end closes; and the zygote that forked it
kills it then, in case it is too busy to notice. trio is imported late here, so that
the zygote starts, and imports it, while the driver still does.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bigmachine.boot import LaunchRequest
from bigmachine.errors import NotSupportedError, StartError, StopReason
from bigmachine.system import Capability, Instance, Keepalive, System, Termination, check_options

if TYPE_CHECKING:
    from ._oom import OomWatch
    from ._process import Launcher, Order, Process
    from ._zygote import Zygote

_DESCRIPTORS = 6  # per machine: log, lifeline, pidfd; and its ends, later its connections
_EXIT_GRACE = 0.5  # a connection breaks some ms before its process is seen to have ended
_CLEANUP = 10.0  # SIGKILL takes ms; longer only if the kernel is stuck
_CHUNK_BYTES = 1 << 18
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """Options of the ``local`` system."""

    maxprocs: int = field(default=1, metadata={"help": "How many processors each machine has."})
    host: str = field(
        default="127.0.0.1", metadata={"help": "The address that the machines listen on."}
    )
    port: int = field(
        default=0,
        metadata={"help": "The first machine's port, the next ones following; 0 takes any."},
    )
    fork: bool | None = field(
        default=None,
        metadata={"help": "Whether to fork machines from a prepared process, as Linux can."},
    )


class LocalSystem(System):
    """Machines as processes on this computer, one process group each."""

    name = "local"
    Options = LocalOptions
    capabilities = frozenset({Capability.TAIL, Capability.READ})
    boot_timeout = 60.0
    orphan_timeout = 5.0  # machines die in ms; on a box that swaps it takes longer
    entry: ClassVar[str] = "bigmachine.worker:main"  # what a forked machine runs

    options: LocalOptions

    def __init__(self, options: LocalOptions | None = None) -> None:
        super().__init__(options)
        self._processes: dict[str, Process] = {}  # by the machine's name
        self._ports: dict[str, int] = {}
        self._zygote: Zygote | None = None
        self._launcher: Launcher | None = None
        self._oom: OomWatch | None = None

    def warm_up(self) -> None:
        """Start the zygote, if this system forks, and don't wait for it."""
        if self._zygote is None and self._is_forking():
            from ._zygote import Zygote

            self._zygote = Zygote(self.entry)

    async def setup(self) -> None:
        """Check the options; start the zygote."""
        if sys.platform == "win32":
            raise NotSupportedError(
                "system 'local' does not run on Windows; use WSL, or a system in the cloud"
            )
        o = self.options
        check_options(
            o,
            maxprocs=None if o.maxprocs > 0 else "must be at least 1",
            host=None if o.host else "must not be empty",
            port=None if 0 <= o.port <= _MAX_PORT else f"must be between 0 and {_MAX_PORT}",
            fork="is possible on Linux 5.3 and later only" if o.fork and not _can_fork() else None,
        )
        self.warm_up()

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch ``count`` machines: all of them, or none and a `StartError`."""
        import trio

        from ._descriptors import ensure_limit
        from ._oom import OomWatch

        if problem := ensure_limit(count * _DESCRIPTORS):
            raise StartError(f"can't start {count} machines: {problem}")
        self._oom = self._oom or OomWatch()
        orders: list[Order] = []
        try:
            for _ in range(count):
                orders.append(self._order(request))
            await self._chosen_launcher().launch(orders)
            await trio.lowlevel.checkpoint_if_cancelled()  # launching is shielded in part
        except BaseException as exc:
            with trio.move_on_after(_CLEANUP, shield=True):
                await _end([order.process for order in orders if order.process])
            for order in orders:
                self._ports.pop(order.machine.name, None)
            if isinstance(exc, OSError):
                raise StartError(f"can't start {count} machines: {exc}") from exc
            raise
        finally:
            for order in orders:
                order.close()
        return [self._registered(order) for order in orders]

    def maxprocs(self) -> int:
        """Return the option of that name."""
        return self.options.maxprocs

    def keepalive(self) -> Keepalive:
        """Look often, for it costs little; be patient, since lifelines end dead ones anyway.

        What silence is left to mean is a stopped process, or native code that holds
        the interpreter for long.
        """
        return Keepalive(period=10.0, timeout=120.0, rpc_timeout=10.0)

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Say how the process ended; None if it still runs half a second later."""
        import trio

        process = self._processes.get(instance.name)
        if process is None:
            return Termination(StopReason.EXITED, "its process was stopped")
        with trio.move_on_after(_EXIT_GRACE):
            return self._explain(process, await process.wait())
        return None

    def tail(self, instance: Instance) -> AsyncIterator[bytes]:
        """Follow what the machine prints, from its first line."""
        process = self._processes.get(instance.name)
        return process.log if process else _nothing()

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
            await _end([process])
            self._forget(instance.name)

    async def shutdown(self) -> None:
        """Stop every machine, then the zygote."""
        processes = dict(self._processes)
        await _end(processes.values())
        for name in processes:
            self._forget(name)
        if self._zygote or self._launcher:
            await self._chosen_launcher().close()
            self._zygote = self._launcher = None
        if self._oom:
            self._oom.close()
            self._oom = None

    def _is_forking(self) -> bool:
        return _can_fork() if self.options.fork is None else self.options.fork

    def _chosen_launcher(self) -> Launcher:
        self.warm_up()
        if self._launcher is None:
            if self._zygote is not None:
                from ._fork import ForkLauncher

                self._launcher = ForkLauncher(self._zygote)
            else:
                from ._spawn import SpawnLauncher

                self._launcher = SpawnLauncher()
        return self._launcher

    def _order(self, request: LaunchRequest) -> Order:
        from ._process import Order

        port = self.options.port
        if port:
            port = next(p for p in itertools.count(port) if p not in self._ports.values())
        listener = _listen(self.options.host, port)
        try:
            order = Order(request.new_machine(), listener)
        except BaseException:
            listener.close()
            raise
        if port:
            self._ports[order.machine.name] = port
        return order

    def _registered(self, order: Order) -> Instance:
        process, name = order.process, order.machine.name
        assert process is not None
        self._processes[name] = process
        if self._oom:
            self._oom.watch(process.pid)
        return Instance(name=name, address=order.address, id=str(process.pid))

    def _forget(self, name: str) -> None:
        process = self._processes.pop(name, None)
        self._ports.pop(name, None)
        if process and self._oom:
            self._oom.forget(process.pid)

    def _explain(self, process: Process, status: int | None) -> Termination:
        if status is None:
            return Termination(StopReason.EXITED, "ended; the process that knew how is gone too")
        if status >= 0:
            return Termination(StopReason.EXITED, f"exited with status {status}")
        is_foreign_kill = status == -signal.SIGKILL and not process.is_killed
        if is_foreign_kill and self._oom and self._oom.is_victim(process.pid):
            return Termination(StopReason.OOM, "killed by the kernel, which was out of memory")
        return Termination(StopReason.EXITED, f"killed by signal {-status}{_signal_name(-status)}")


async def _end(processes: Iterable[Process]) -> None:
    """Kill all, then see each of them ended."""
    processes = list(processes)
    for process in processes:
        process.kill()
    for process in processes:
        await process.wait()


def _can_fork() -> bool:
    """Whether a zygote can work: Linux with pidfd (5.3), where forking is safe."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _listen(host: str, port: int) -> socket.socket:
    if port > _MAX_PORT:
        raise StartError(f"no port is left for another machine: {port} is too high")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        hint = ""
        if exc.errno == errno.EADDRINUSE:
            hint = "; choose another first port, or port=0 for any that is free"
        raise StartError(
            f"can't listen on {host}:{port}: {os.strerror(exc.errno or 0)}{hint}"
        ) from exc


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
