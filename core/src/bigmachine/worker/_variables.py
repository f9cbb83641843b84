"""All metrics of a machine: of its services, its calls, its processes and its host."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import trio

from ..metrics import Metric, Variables
from ..metrics._process import cpu_seconds_with, process_metrics, scopes
from ..metrics._registry import REGISTRY
from ..metrics._variables import measured, registered
from ..rpc import Server
from . import _resources
from ._gpus import Gpus

# A file system of the network may not answer, nor a GPU's driver; then they are left out.
_ANSWER_SECONDS = 1.0


class MachineVariables:
    """Measures the machine of ``server``, which has ``maxprocs`` processors."""

    def __init__(self, server: Server, *, maxprocs: int) -> None:
        self._server = server
        self._maxprocs = maxprocs
        self._began = time.monotonic()
        self._cpu_seconds = 0.0
        # Not trio's own limiter: services may use that one up.
        self._disk, self._gpu = trio.CapacityLimiter(1), trio.CapacityLimiter(1)
        self._users = trio.CapacityLimiter(1)
        self._gpus = Gpus()

    async def measure(self) -> dict[str, Any]:
        """Return its metrics as they are now, as `Variables.to_dict` does."""
        late: list[Metric] = []

        async def ask(source: Callable[[], list[Metric]], limiter: trio.CapacityLimiter) -> None:
            with trio.move_on_after(_ANSWER_SECONDS):
                late.extend(
                    await trio.to_thread.run_sync(source, abandon_on_cancel=True, limiter=limiter)
                )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, _disk_metrics, self._disk)
            if self._gpus.may_exist:
                nursery.start_soon(ask, self._gpus.metrics, self._gpu)
        metrics = [*self._machine_metrics(), *self._server.metrics(), *_host_metrics(), *late]
        # Not in the loop: users may have many.
        return await trio.to_thread.run_sync(_with_users, metrics, limiter=self._users)

    def _machine_metrics(self) -> list[Metric]:
        processes = self._server.services.process_ids
        # It never falls, although a process may end while others are asked.
        self._cpu_seconds = max(self._cpu_seconds, cpu_seconds_with(processes))
        return [
            measured(
                "bigmachine_uptime_seconds",
                "gauge",
                time.monotonic() - self._began,
                help="How long the machine runs",
                unit="seconds",
            ),
            measured(
                "bigmachine_maxprocs", "gauge", self._maxprocs, help="Processors that it may use"
            ),
            *process_metrics(cpu_seconds=self._cpu_seconds, processes=processes),
        ]


def _with_users(metrics: Iterable[Metric]) -> dict[str, Any]:
    own = {metric.name: metric for metric in metrics}
    return Variables({**registered(REGISTRY), **own}, scopes=scopes()).to_dict()


def _host_metrics() -> list[Metric]:
    memory, load = _resources.memory(), _resources.load()
    return [
        _host("memory_total_bytes", memory.total_bytes, "Memory of the host or container", "bytes"),
        _host("memory_available_bytes", memory.available_bytes, "Memory that is free", "bytes"),
        _host("load1", load.one, "Load average over 1 minute"),
        _host("load5", load.five, "Load average over 5 minutes"),
        _host("load15", load.fifteen, "Load average over 15 minutes"),
    ]


def _disk_metrics() -> list[Metric]:
    disk = _resources.disk()
    where = "the file system of the temporary directory"
    return [
        _host("disk_total_bytes", disk.total_bytes, f"Size of {where}", "bytes"),
        _host("disk_free_bytes", disk.free_bytes, f"Free space in {where}", "bytes"),
    ]


def _host(name: str, number: float, help: str, unit: str = "") -> Metric:
    return measured(f"bigmachine_{name}", "gauge", number, help=help, unit=unit, scope="host")
