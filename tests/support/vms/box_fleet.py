"""A fleet of hosts that boot at once, each until its worker would start."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bigmachine._identity import Authority
from bigmachine._values import Instance, Keepalive, Termination
from bigmachine.boot import PORT, user_data
from bigmachine.boot._bootstrap import BootBatch, Bootstrap, PhaseFailed
from bigmachine.boot._shipment import Shipment
from bigmachine.environment import capture
from bigmachine.errors import StopReason
from bigmachine.machine._log import MachineLog
from bigmachine.rpc import http_client
from tests.support.cloudbox import Box, Ec2, Host
from tests.support.vms.rig import boot_of

if TYPE_CHECKING:
    import httpx

TIMINGS = Keepalive(period=2, timeout=30, rpc_timeout=10)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The seconds that all uploads took, and the bytes that the driver sent."""

    hosts: int
    seconds: float
    sent_bytes: int


async def deliver(
    box: Box, shipment: Shipment, *, hosts: int, bits_per_second: int | None = None
) -> Delivered:
    """Boot hosts and upload a shipment to each; all links may be limited, the driver's too."""
    authority = Authority("test.bigmachine")
    boot = boot_of(authority, timeout=TIMINGS.timeout)
    data = user_data(boot)
    booted = [await box.boot(Ec2(user_data=data)) for _ in range(hosts)]
    uplink = Uplink(box)
    for host in booted:
        await host.wait_console("boot program on Python")
        if bits_per_second:
            await host.limit(bits_per_second=bits_per_second)
    if bits_per_second:
        uplink.limit(bits_per_second)
    before = uplink.sent_bytes
    times: list[float] = []  # of each progress event of an upload
    batch = BootBatch(boot, shipment)
    async with http_client(authority.issue("driver")) as http, trio.open_nursery() as nursery:
        for host in booted:
            nursery.start_soon(_boot, host, boot.new_machine().name, http, batch, times)
    sent = uplink.sent_bytes - before
    for host in booted:
        await host.kill()
    return Delivered(hosts, max(times) - min(times), sent)


def shipment_of(folder: Path, *, files: int, file_bytes: int) -> Shipment:
    """Create the folder, fill it with random data, and capture it as a project."""
    folder.mkdir()
    for number in range(files):
        (folder / f"data{number}").write_bytes(os.urandom(file_bytes))
    environment = capture(folder, path=[str(folder)], limit_bytes=1 << 40)
    return Shipment(environment, environment.manifest())


class Uplink:
    """The driver's network interface in a box."""

    def __init__(self, box: Box) -> None:
        self._interface = "cloudbox" + box.subnet.rpartition(".")[2]

    def limit(self, bits_per_second: int) -> None:
        """Limit what it sends."""
        rate = f"rate {bits_per_second}bit burst {bits_per_second // 800} latency 200ms"
        command = f"tc qdisc replace dev {self._interface} root tbf {rate}"
        subprocess.run(command.split(), check=True)

    @property
    def sent_bytes(self) -> int:
        """The bytes that it has sent, headers included."""
        return int(Path(f"/sys/class/net/{self._interface}/statistics/tx_bytes").read_text())


async def _boot(
    host: Host, name: str, http: httpx.AsyncClient, batch: BootBatch, times: list[float]
) -> None:
    async def diagnose() -> Termination | None:
        return Termination(StopReason.EXITED, host.console()) if host.is_off else None

    def progress(phase: str, done: int, total: int) -> None:
        if phase == "upload":
            times.append(trio.current_time())

    bootstrap = Bootstrap(
        Instance(name, f"{host.address}:{PORT}"),
        batch=batch,
        http=http,
        timings=TIMINGS,
        boot_timeout=120,
        build_timeout=120,
        diagnose=diagnose,
        on_progress=progress,
        log=MachineLog(lambda lines: None),
    )
    with contextlib.suppress(PhaseFailed):
        await bootstrap.run()
    if bootstrap.phase != "start":
        raise RuntimeError(f"{host!r} got as far as {bootstrap.phase}:\n{host.console()}")
