"""One host: a machine that boots, runs what its cloud tells it to, and ends."""

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
POWER_BUTTON = signal.SIGRTMIN + 4  # what systemd takes for it in a container
PROMPT = 0.02  # seconds between two looks
ENVIRONMENT = {  # of a command in a host, where nothing of ours would be right
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


class Host:
    """A host of a box, as tests have it. `Box.boot` makes it."""

    def __init__(self, box: Box, number: int, cloud: Cloud) -> None:
        self.cloud = cloud
        self.address = f"{box.subnet}.{number}"
        # A card always has the same number for the same address, since others remember it.
        self.mac = "02:00:" + ":".join(f"{int(byte):02x}" for byte in self.address.split("."))
        self.link = Link(f"h{number}")
        self.group = f"{box.name}-{self.link.name}"  # of processes
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
        """Whether it has ended, by itself or not, with all that was of it."""
        return self._off.is_set()

    def console(self) -> str:
        """Return what its console has shown so far."""
        return self._console.decode(errors="replace").replace("\r\n", "\n")

    async def wait_console(self, text: str) -> None:
        """Wait until its console has shown the text; raise if it goes off without."""
        while text not in self.console():
            if self.is_off:
                raise RuntimeError(f"{self!r} went off and never said {text!r}:\n{self.console()}")
            await trio.sleep(PROMPT)

    async def wait_off(self) -> None:
        """Wait until it is off."""
        await self._off.wait()

    async def run(self, *command: str) -> str:
        """Run a command in it, as root, once it has begun to boot; return what it prints."""
        inside = ["nsenter", f"--target={await self._init()}", "--all", *command]
        done = await trio.run_process(
            inside, capture_stdout=True, capture_stderr=True, check=False, env=ENVIRONMENT
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace")
            error = subprocess.CalledProcessError(done.returncode, command, done.stdout, said)
            error.add_note(said)
            raise error
        return done.stdout.decode()

    async def press_power_button(self) -> None:
        """Have it shut down, as clouds do that end a machine in good order."""
        os.kill(await self._init(), POWER_BUTTON)

    async def kill(self) -> None:
        """Lose it at once, with all that runs in it; return when nothing is left of it."""
        if not self.is_off:
            await self.cut()  # or else its kernel would tell everyone that their calls are over
            await self.end()

    async def end(self) -> None:
        """End it by hanging up, as the death of its owner does."""
        await self._lifeline.aclose()
        await self._off.wait()

    async def cut(self) -> None:
        """Cut its cable: whatever is sent is lost, and neither end is told."""
        self.link.is_cut = True
        await self._box.apply_links()

    async def mend(self) -> None:
        """Undo `cut` and `lose`."""
        self.link.is_cut, self.link.loss_percent = False, 0
        await self._box.apply_links()

    async def lose(self, *, percent: float) -> None:
        """Lose so many packets of a hundred, each way."""
        self.link.loss_percent = percent
        await self._box.apply_links()

    async def delay(self, seconds: float) -> None:
        """Delay every packet, each way, from now on."""
        if self._delay is None:
            self._delay = Delay(self._box.pid, self.link.name)
            await self._box.plug_in(self._delay, host=await self._init())
        self._delay.seconds = seconds

    async def limit(self, *, bits_per_second: int) -> None:
        """Let no more through, each way."""
        burst = max(bits_per_second // 8 // 100, 5000)  # 10 ms of it, and a packet at least
        await self._shape(
            "tbf", "rate", f"{bits_per_second}bit", "burst", f"{burst}", "latency", "200ms"
        )

    async def _shape(self, *discipline: str) -> None:
        for pid, card in ((self._box.pid, self.link.name), (await self._init(), "eth0")):
            await run_in(pid, "tc", "qdisc", "replace", "dev", card, "root", *discipline)

    async def _init(self) -> int:
        """Return the number of its first process, once there is one."""
        while not self.is_off:
            # It is in two namespaces of processes: nspawn's, and the one around nspawn. Until
            # it is systemd its root is still this computer's, where no command must run.
            for pid, numbers in processes_of(self.group).items():
                with contextlib.suppress(OSError):
                    is_systemd = Path(f"/proc/{pid}/comm").read_text() == "systemd\n"
                    if is_systemd and len(numbers) == 3 and numbers[-1] == 1:
                        return pid
            await trio.sleep(PROMPT)
        raise RuntimeError(f"{self!r} is off:\n{self.console()}")

    async def _live(self, *, root: Path, disk_bytes: int, task_status: trio.TaskStatus) -> None:
        """Boot it, hear its console, and notice its end."""
        layer = os.memfd_create("layer")  # in memory, so that it goes with its owner
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
