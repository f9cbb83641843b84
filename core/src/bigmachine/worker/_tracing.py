"""A machine's tracer, if its driver asks for traces: OpenTelemetry is imported for nobody else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..boot._config import WorkerConfig

if TYPE_CHECKING:
    from ..otel._machine import MachineTracer

logger = logging.getLogger("bigmachine.machine")


def machine_tracer(config: WorkerConfig, *, has_process: bool) -> MachineTracer | None:
    """Return the tracer of a machine, which may have a process of its own; None without traces."""
    if not config.is_traced:
        return None
    try:
        from ..otel._machine import MachineTracer
    except ImportError as exc:
        logger.warning("this machine can't trace calls: %s", exc)
        return None
    name, _, session = config.identity.name.partition(".")
    return MachineTracer(machine=name, session=session, has_process=has_process)
