"""Asks all machines of a session for their metrics, at once."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from .._values import State
from ..machine._async import AsyncMachine
from ..machine._call_options import seconds
from ..metrics import SessionVariables, Variables
from ..metrics._process import driver_variables


async def session_variables(
    machines: Iterable[AsyncMachine], *, timeout: float | None
) -> SessionVariables:
    """Return the metrics of ``machines`` and of this process.

    Those that don't answer within ``timeout`` seconds are named, with the reason.
    """
    limit = seconds("timeout", timeout)
    machines = [*machines]
    found: dict[str, Variables] = {}
    missing: dict[str, str] = {}

    async def ask(machine: AsyncMachine) -> None:
        if machine.state < State.RUNNING:
            missing[machine.name] = f"it is still {machine.state}"
            return
        missing[machine.name] = f"it did not answer within {limit:g} s"
        try:
            with trio.move_on_after(limit):
                found[machine.name] = await machine.variables()
                del missing[machine.name]
        except Exception as exc:  # BigmachineError, or what a service has broken
            missing[machine.name] = str(exc) or repr(exc)

    async with trio.open_nursery() as nursery:
        for machine in machines:
            nursery.start_soon(ask, machine)
    in_order = {one.name: found[one.name] for one in machines if one.name in found}
    return SessionVariables(in_order, driver_variables(), missing)
