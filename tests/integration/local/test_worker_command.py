"""The command line of the worker, as a backend runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio

import bigmachine as bm
from tests.support.services import Echo


class AnyPort(bm.System):
    """Machines that take any free port, and say which: as on another computer."""

    name = "any-port"

    def __init__(self, options: object = None) -> None:
        super().__init__(options)
        self.processes: dict[str, trio.Process] = {}
        self.host = "127.0.0.1"

    async def launch(self, spec: bm.MachineSpec) -> bm.Instance:
        process = self.processes[spec.name] = await trio.lowlevel.open_process(
            [*self.command(spec), "--listen", f"{self.host}:0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        await process.stdin.send_all(spec.config)
        address = (await process.stdout.receive_some()).decode()
        assert address.endswith("\n")
        return bm.Instance(spec.name, address.strip())

    def command(self, spec: bm.MachineSpec) -> list[str]:
        if len(self.processes) % 2:
            return spec.command
        return [sys.executable, "-m", "bigmachine.worker"]  # as on another computer

    async def stop(self, instance: bm.Instance) -> None:
        if process := self.processes.pop(instance.name, None):
            process.kill()
            await process.wait()
            await process.stdout.aclose()


def test_worker_takes_free_port_and_prints_its_address():
    with bm.Session(AnyPort()) as session:
        first, second = session.start(2, services={"Echo": Echo()})
        assert first.call("Echo.echo", 1) == second.call("Echo.echo", 1) == 1
        assert first.instance.address != second.instance.address
        assert first.addr.startswith("https://127.0.0.1:")


def test_request_knows_whether_hosts_belong_to_the_system():
    requests = []

    class Guest(AnyPort):
        owns_hosts = False

        async def launch(self, spec: bm.MachineSpec) -> bm.Instance:
            requests.append(spec.request)
            raise bm.StartError("none")

    with bm.Session(Guest()) as session, pytest.raises(bm.StartError):
        session.start(1, services={"Echo": Echo()})
    assert [request.owns_hosts for request in requests] == [False]
