"""What single machines say about themselves, over HTTP."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from ..errors import UsageError
from ._http import Request, Response, answered

if TYPE_CHECKING:
    from ..machine._async import AsyncMachine
    from ._inspected import Inspected


class MachinePage:
    """Answers what is asked at ``/debug/bigmachine/machine?machine=m0``."""

    def __init__(self, session: Inspected) -> None:
        self._session = session

    async def info(self, request: Request) -> Response:
        """Return the machine's `MachineInfo` as JSON."""
        return await answered(self._info, request)

    async def _info(self, request: Request) -> Response:
        machine = machine_named(request.query.get("machine", ""), self._session)
        info = dataclasses.asdict(await machine.info())
        return Response(200, json.dumps(info).encode(), "application/json")


def machine_named(name: str, session: Inspected) -> AsyncMachine:
    """Return the machine of this name; raises `UsageError`, with the names that there are."""
    by_name = {machine.name: machine for machine in session.machines}
    if name not in by_name:
        raise UsageError(f"no machine {name!r} runs; there is {', '.join(by_name) or 'none'}")
    return by_name[name]
