"""One host: it boots, runs its user data, and ends."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.support.cloudbox._delay import Delay
from tests.support.cloudbox._leftovers import processes_of
from tests.support.cloudbox._network import Link, run_in

if TYPE_CHECKING:
    from tests.support.cloudbox._box import Box
    from tests.support.cloudbox._cloud import Cloud

SCRIPT = str(Path(__file__).with_name("host.sh"))
POWER_BUTTON = signal.SIGRTMIN + 4  # the signal for systemd in a container
POLL_INTERVAL = 0.02  # seconds
ENVIRONMENT = {  # of commands in a host; ours does not apply there
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


class Host:
    """A host of a box, created by `Box.boot`."""

    def __init__(self, box: Box, number: int, cloud: Cloud) -> None:
        self.cloud = cloud
        self.address = f"{box.subnet}.{number}"
        # The MAC address depends on the IP address only, because other hosts cache the pair.
        self.mac = "02:00:" + ":".join(f"{int(byte):02x}" for byte in self.address.split("."))
        self.link = Link(f"h{number}")
        self.group = f"{box.name}-{self.link.name}"  # its cgroup
        self._box = box
        self._delay: Delay | None = None
        self._off = trio.Event()
        self._console = bytearray()
        self._process: trio.Process
        self._lifeline: trio.abc.SendStream

    def __repr__(self) -> str:
        return f"<Host {self.link.name} at {self.address}>"

    @property
    def is_off(self) -> bool:
        """Whether it has ended, and its resources are removed."""
        return self._off.is_set()

    def console(self) -> str:
        """Return the console output so far."""
        return self._console.decode(errors="replace").replace("\r\n", "\n")

    async def wait_console(self, text: str) -> None:
        """Wait until the console has shown ``text``; raise if the host goes off before."""
        while text not in self.console():
            if self.is_off:
                raise RuntimeError(
                    f"{self!r} went off before it printed {text!r}:\n{self.console()}"
                )
            await trio.sleep(POLL_INTERVAL)

    async def wait_off(self) -> None:
        """Wait until it is off."""
        await self._off.wait()

    async def run(self, *command: str) -> str:
        """Run a command as root, as soon as the boot has begun; return its output."""
        inside = ["nsenter", f"--target={await self._init()}", "--all", *command]
        done = await trio.run_process(
            inside, capture_stdout=True, capture_stderr=True, check=False, env=ENVIRONMENT
        )
        if done.returncode:
            output = done.stderr.decode(errors="replace")
            error = subprocess.CalledProcessError(done.returncode, command, done.stdout, output)
            error.add_note(output)
            raise error
        return done.stdout.decode()

    async def press_power_button(self) -> None:
        """Ask the host to shut down, as clouds do for a clean stop."""
        os.kill(await self._init(), POWER_BUTTON)

    async def kill(self) -> None:
        """Kill the host with all its processes; return when its resources are removed."""
        if not self.is_off:
            await self.cut()  # or the kernel would close its connections, and peers would notice
            await self.end()

    async def end(self) -> None:
        """End the host by closing its lifeline, as the death of its owner does."""
        await self._lifeline.aclose()
        await self._off.wait()

    async def cut(self) -> None:
        """Cut the cable: all packets are lost, and neither end gets an error."""
        self.link.is_cut = True
        await self._box.apply_links()

    async def mend(self) -> None:
        """Undo `cut` and `lose`."""
        self.link.is_cut, self.link.loss_percent = False, 0
        await self._box.apply_links()

    async def lose(self, *, percent: float) -> None:
        """Lose a percentage of all packets, each way."""
        self.link.loss_percent = percent
        await self._box.apply_links()

    async def delay(self, seconds: float) -> None:
        """Delay every packet, each way, from now on."""
        if self._delay is None:
            self._delay = Delay(self._box.pid, self.link.name)
            await self._box.plug_in(self._delay, host=await self._init())
        self._delay.seconds = seconds

    async def limit(self, *, bits_per_second: int) -> None:
        """Limit the bandwidth, each way."""
        burst = max(bits_per_second // 8 // 100, 5000)  # 10 ms of data, and at least one packet
        await self._shape(
            "tbf", "rate", f"{bits_per_second}bit", "burst", f"{burst}", "latency", "200ms"
        )

    async def _shape(self, *discipline: str) -> None:
        for pid, card in ((self._box.pid, self.link.name), (await self._init(), "eth0")):
            await run_in(pid, "tc", "qdisc", "replace", "dev", card, "root", *discipline)

    async def _init(self) -> int:
        """Wait for the first process of the host; return its PID on this computer."""
        while not self.is_off:
            # It is in two PID namespaces: nspawn's, and the one around nspawn. Before it has become
            # systemd, its root is that of this computer, where no command may run.
            for pid, numbers in processes_of(self.group).items():
                with contextlib.suppress(OSError):
                    is_systemd = Path(f"/proc/{pid}/comm").read_text() == "systemd\n"
                    if is_systemd and len(numbers) == 3 and numbers[-1] == 1:
                        return pid
            await trio.sleep(POLL_INTERVAL)
        raise RuntimeError(f"{self!r} is off:\n{self.console()}")

    async def _run(self, *, root: Path, disk_bytes: int, task_status: trio.TaskStatus) -> None:
        """Boot the host, read its console, and wait for its end."""
        layer = os.memfd_create("layer")  # in memory, so it ends with its owner
        os.write(layer, archive(self.cloud.files(self)))
        box, files = self._box, f"/proc/{os.getpid()}/fd/{layer}"
        options = self.cloud.nspawn_options
        place = (self.link.name, self.address, self.mac, root, disk_bytes)
        self._process = process = await trio.lowlevel.open_process(
            ["sh", SCRIPT, "run", self.group, str(box.pid), files, *map(str, place), *options],
            stdin=subprocess.PIPE,  # its lifeline
            stdout=subprocess.PIPE,  # its console
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for its owner
        )
        assert process.stdin
        assert process.stdout
        self._lifeline = process.stdin
        task_status.started()
        try:
            async for part in process.stdout:
                self._console += part
        finally:
            with trio.CancelScope(shield=True):
                await self._lifeline.aclose()
                await process.wait()
                await process.stdout.aclose()
            os.close(layer)
            self._off.set()


def archive(files: dict[str, bytes]) -> bytes:
    """Pack files, by path, as a tar archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
