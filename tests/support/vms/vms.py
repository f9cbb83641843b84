"""Simulated VMs: each is a process of the boot program, started by user data."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trio

import bigmachine as bm
from bigmachine.boot import LaunchRequest, MachineSpec, user_data
from bigmachine.errors import StopReason
from bigmachine.system import Capability, Instance, Keepalive, Termination

# The image's own settings name an index that refuses connections. So machines install only from
# the driver's index, and no test uses a public one.
NOWHERE = "http://127.0.0.1:9"
_NO_INDEX = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": NOWHERE,
    "UV_DEFAULT_INDEX": NOWHERE,
    "UV_NO_CONFIG": "1",
    "UV_PYTHON_INSTALL_MIRROR": NOWHERE,
}
TIMINGS = Keepalive(period=1.0, timeout=6.0, rpc_timeout=2.0)


@dataclass(frozen=True, slots=True)
class VmOptions:
    """Options of the ``vm`` system."""

    python: str = bm.option(sys.executable, help="The image's python3.")
    disk: str = bm.option("", help="The folder that is a machine's disk, and is kept.")
    verify_boot: bool = bm.option(False, help="Whether a machine's key must be on its console.")


class VmSystem(bm.System):
    """Machines that share nothing with the driver but the network."""

    name = "vm"
    Options = VmOptions
    capabilities = frozenset({Capability.CONSOLE})
    ships_environment = True
    owns_hosts = False  # this computer is the host of all of them
    boot_timeout = 30.0
    orphan_timeout = 30.0

    options: VmOptions

    def __init__(self, options: VmOptions | None = None) -> None:
        super().__init__(options)
        self.vms: dict[str, Vm] = {}

    def keepalive(self) -> Keepalive:
        return TIMINGS

    async def launch(self, spec: MachineSpec) -> Instance:
        disk = Path(self.options.disk) if self.options.disk else None
        vm = self.vms[spec.name] = Vm(self.options.python, disk=disk)
        await vm.power_on(spec.request, poweroff=None)
        return Instance(spec.name, vm.address)

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        vm = self.vms.get(instance.name)
        if vm is not None and vm.is_off:
            return Termination(StopReason.EXITED, "it is powered off")
        return None

    async def stop(self, instance: Instance) -> None:
        vm = self.vms.get(instance.name)
        if vm is not None:
            await (vm.power_off() if self.options.disk else vm.destroy())

    async def console(self, instance: Instance) -> str:
        return self.vms[instance.name].console()


class Vm:
    """A simulated VM: a folder, which is its disk, and a process.

    It can be switched off as a real one can: then the file ``switched_off`` exists.
    """

    def __init__(self, python: str = sys.executable, *, disk: Path | None = None) -> None:
        self.disk = disk or Path(tempfile.mkdtemp(prefix="bigmachine-vm-"))
        self.address = f"127.0.0.1:{_free_port()}"
        (self.disk / "bin").mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (self.disk / "bin" / "python3").symlink_to(python)
        self.switched_off = self.disk / "off"
        off = f"touch {self.switched_off}"
        commands = {
            "systemctl": f'[ "$1" = poweroff ] && {off} || exec /usr/bin/systemctl "$@"',
            "poweroff": off,
            "halt": off,
        }
        for command, script in commands.items():  # they come first on its path
            (self.disk / "bin" / command).write_text(f"#!/bin/sh\n{script}\n")
            (self.disk / "bin" / command).chmod(0o755)
        self._console = self.disk / "console"

    async def power_on(self, request: LaunchRequest, **options: object) -> None:
        """Boot it; only its disk is kept from before."""
        shutil.rmtree(self.disk / "run", ignore_errors=True)
        script = user_data(
            request,
            form="script",
            listen=self.address,
            compress=False,
            folder=str(self.disk / "store"),
            runtime=str(self.disk / "run"),
            **{"contact_seconds": 20.0, "poweroff": (), **options},
        )
        with self._console.open("wb") as console:
            await trio.run_process(
                ["sh"],
                stdin=script,
                stdout=console,
                stderr=console,
                cwd=self.disk,
                env={"PATH": f"{self.disk}/bin:/usr/bin:/bin", "HOME": str(self.disk), **_NO_INDEX},
            )

    @property
    def pid(self) -> int | None:
        """The boot program's process; None before it runs."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.disk / "run" / "running").read_text())
        return None

    @property
    def is_off(self) -> bool:
        """Whether it has run, and has ended."""
        return self.pid is not None and not _is_alive(self.pid)

    def console(self) -> str:
        """The output of the boot program and of the worker."""
        files = [self._console, *sorted((self.disk / "store" / "log").glob("*"))]
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    async def power_off(self) -> None:
        """Kill it at once."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with trio.move_on_after(10, shield=True):
                while _is_alive(self.pid):
                    await trio.sleep(0.01)

    async def destroy(self) -> None:
        """Kill it and delete its disk."""
        with trio.move_on_after(10, shield=True):
            while self.disk.exists() and self.pid is None and self._console.exists():
                await trio.sleep(0.02)
        await self.power_off()
        shutil.rmtree(self.disk, ignore_errors=True)


def _is_alive(pid: int | None) -> bool:
    """The same as `processes.is_running`, which is not there where this file is copied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _free_port() -> int:
    """Return a port that is free, and stays so until the VM listens there.

    It is below those that Linux gives to any connection (``net.ipv4.ip_local_port_range``).
    """
    while True:
        port = random.randrange(20_000, 32_768)
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            return port
