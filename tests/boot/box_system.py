"""Machines as hosts of a cloud in a box: what a cloud's plugin does, without its API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

import bigmachine as bm
from bigmachine.boot import PORT, MachineBoot, user_data
from bigmachine.errors import StopReason
from bigmachine.system import Capability, Gone, Instance, Keepalive

if TYPE_CHECKING:
    from tests.cloudbox import Box, Host

TIMINGS = Keepalive(period=2.0, timeout=10.0, rpc_timeout=3.0)


class BoxSystem(bm.System):
    """Starts hosts of a box."""

    name = "box"
    capabilities = frozenset({Capability.CONSOLE})
    ships_environment = True
    boot_timeout = 90.0
    orphan_timeout = 60.0

    def __init__(self, box: Box, *, timings: Keepalive = TIMINGS) -> None:
        super().__init__()
        self.box = box
        self.hosts: dict[str, Host] = {}
        self.timings = timings

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, timings=TIMINGS)

    def keepalive(self) -> Keepalive:
        return self.timings

    async def launch(self, machine: MachineBoot) -> Instance:
        from tests.cloudbox import Ec2

        host = self.hosts[machine.name] = await self.box.boot(
            Ec2(user_data=user_data(machine.boot))
        )
        return Instance(machine.name, f"{host.address}:{PORT}")

    async def keepalive_failed(self, instance: Instance) -> Gone | None:
        host = self.hosts.get(instance.name)
        if host is not None and host.is_off:
            return Gone(StopReason.EXITED, "its host is powered off")
        return None

    async def stop(self, instance: Instance) -> None:
        host = self.hosts.get(instance.name)
        if host is not None and not host.is_off:
            with trio.move_on_after(5):
                await host.wait_off()
            await host.kill()

    async def console(self, instance: Instance) -> str:
        return self.hosts[instance.name].console()
