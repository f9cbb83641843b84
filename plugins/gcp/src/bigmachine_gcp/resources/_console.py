"""The console output of an instance."""

from __future__ import annotations

from ..api._api import Api
from ._vm import name_of, zone_of


async def read_console(api: Api, id: str) -> str:
    """Return what the first serial port printed; Compute Engine keeps the last 1 MB of it.

    ``id`` is the instance's partial URL. Raises `GcpError`.
    """
    reply = await api.read(
        "instances.get_serial_port_output", zone=zone_of(id), instance=name_of(id), port=1
    )
    return str(reply.contents)
