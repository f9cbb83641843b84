"""A system whose machines are hosts of a cloud in a box, with a minimal API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bigmachine as bm
from bigmachine.boot import PORT, MachineSpec, user_data
from bigmachine.errors import StopReason
from bigmachine.system import Capability, Instance, Keepalive, Termination

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class BoxOptions:
    """Options of the ``box`` system."""

    endpoint: str = bm.option("", help="The URL of a `tests.support.vms.box_cloud.BoxCloud`.")
    keeps_hosts: bool = bm.option(
        False, help="Whether hosts stay on after their machine has ended."
    )


class BoxSystem(bm.System):
    """Starts hosts of a box that another process owns."""

    name = "box"
    Options = BoxOptions
    capabilities = frozenset({Capability.CONSOLE})
    ships_environment = True
    boot_timeout = 90.0
    orphan_timeout = 60.0

    options: BoxOptions

    def keepalive(self) -> Keepalive:
        return Keepalive(period=2.0, timeout=10.0, rpc_timeout=3.0)

    async def launch(self, spec: MachineSpec) -> Instance:
        data = user_data(
            spec.request,
            contact_seconds=30,
            **({"poweroff": ()} if self.options.keeps_hosts else {}),
        )
        host = await self._request("PUT", spec.name, data)
        return Instance(spec.name, f"{host['address']}:{PORT}")

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        if (await self._request("GET", instance.name))["is_off"]:
            return Termination(StopReason.EXITED, "its host is powered off")
        return None

    async def stop(self, instance: Instance) -> None:
        if not self.options.keeps_hosts:
            await self._request("DELETE", instance.name)

    async def console(self, instance: Instance) -> str:
        return str((await self._request("GET", instance.name))["console"])

    async def _request(self, verb: str, name: str, content: bytes = b"") -> Any:
        async with self._client() as client:
            reply = await client.request(verb, f"/{name}", content=content, timeout=90)
        reply.raise_for_status()
        return json.loads(reply.content)

    def _client(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(base_url=self.options.endpoint, trust_env=False)
