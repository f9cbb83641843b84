"""Asks all machines of a session for their metrics, at once."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CallTimeout
from ..machine._async import AsyncMachine
from ..machine.calls._options import seconds
from ..metrics import SessionVariables
from ..metrics._process import driver_variables
from ._ask import ask_running, reason, starting


async def session_variables(
    machines: Sequence[AsyncMachine], *, timeout: float | None
) -> SessionVariables:
    """Return the metrics of ``machines`` and of this process.

    Those that don't answer within ``timeout`` seconds are named, with the reason.
    """
    late = f"it did not answer within {seconds('timeout', timeout):g} s"
    missing = starting(machines)
    found, errors = await ask_running(
        machines, lambda machine: machine.variables(), timeout=timeout
    )
    missing |= {
        name: late if isinstance(error, CallTimeout) else reason(error)
        for name, error in errors.items()
    }
    return SessionVariables(found, driver_variables(), missing)
