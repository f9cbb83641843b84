"""What this process uses: processor time, memory, threads."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import threading
import time
from collections.abc import Collection
from pathlib import Path

from ._metric import Metric
from ._registry import REGISTRY
from ._variables import Variables, measured, registered

try:
    import resource
except ImportError:  # not Unix
    resource = None  # type: ignore[assignment]

_MEMORY = "bigmachine_resident_memory_bytes"  # left out where it is not known


def driver_variables() -> Variables:
    """Return what this process has counted by itself, and what it uses."""
    used = process_metrics(cpu_seconds=time.process_time())
    return Variables(
        {**registered(REGISTRY), **{metric.name: metric for metric in used}}, scopes=scopes()
    )


def scopes() -> dict[str, str]:
    """Return this process and this host by names that no others have."""
    return {"process": REGISTRY.process, "host": _host()}


def process_metrics(*, cpu_seconds: float, processes: Collection[int] = ()) -> list[Metric]:
    """Return what this process and other ``processes`` use; ``cpu_seconds`` is that of all."""
    memory_bytes = resident_bytes() + sum(map(resident_bytes, processes))
    metrics = [
        measured(
            "bigmachine_cpu_seconds",
            "counter",
            cpu_seconds,
            help="Processor time of the machine's processes, user's and system's",
            unit="seconds",
            scope="process",
        ),
        measured(
            _MEMORY,
            "gauge",
            memory_bytes,
            help="Memory that the machine's processes have in RAM",
            unit="bytes",
            scope="process",
        ),
        measured(
            "bigmachine_threads",
            "gauge",
            threading.active_count(),
            help="Python threads of the machine's main process",
            scope="process",
        ),
        measured(
            "bigmachine_processes",
            "gauge",
            1 + len(processes),
            help="The machine's main process, and those of parallel methods",
            scope="process",
        ),
    ]
    return [metric for metric in metrics if metric.name != _MEMORY or memory_bytes]


def cpu_seconds_with(processes: Collection[int]) -> float:
    """Return this process's time, that of its ended children, and that of live ``processes``."""
    total = time.process_time() + sum(map(_live_cpu_seconds, processes))
    if resource is not None:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        total += children.ru_utime + children.ru_stime
    return total


def resident_bytes(process: int | str = "self") -> int:
    """Return the memory that a process has in RAM; 0 where that is not known."""
    with contextlib.suppress(AttributeError, OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _live_cpu_seconds(process: int) -> float:
    with contextlib.suppress(AttributeError, OSError, ValueError, IndexError):
        # The second field is the program's name, in parentheses; it may have spaces.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


@functools.cache
def _host() -> str:
    boot = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{platform.node()}-{boot}"
