"""A contestant's driver: a cold process that starts machines, measures, and waits to be killed.

It imports next to nothing before the first machine runs, since that time is
what is measured. It reports in JSON lines on the stdout it was given, and keeps
that descriptor from libraries that print and from the machines it starts.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks._contestant import Contestant, load

BUSY = 15.0  # seconds that a call holds a machine after its driver is killed; over every limit
CROWD_LIMIT = 30.0  # seconds


def main(name: str, started: float, kind: str) -> None:
    """Measure contestant `name`; `started` is the monotonic time this process was asked for."""
    parent = os.getppid()
    report = os.dup(1)  # not inheritable
    os.dup2(2, 1)

    def emit(key: str, value: object) -> None:
        os.write(report, json.dumps({key: value}).encode() + b"\n")

    contestant = load(name)()
    if contestant.cold_program:
        emit("values", {"cold_start_s": cold_start(contestant.cold_program)})

    if contestant.crowd_program and kind == "full":  # it takes ten seconds
        emit("begin", "crowd")
        try:
            emit("values", {"driver_kb": crowd(contestant.crowd_program)})
        except subprocess.SubprocessError as exc:
            emit("note", f"crowd failed: {exc}")

    async def session() -> None:
        async with contestant.open():
            await contestant.null()
            if not contestant.cold_program:
                emit("values", {"cold_start_s": time.monotonic() - started})
            end_with_parent(parent)
            from benchmarks import _measure

            plan = _measure.QUICK if kind == "quick" else _measure.FULL
            await _measure.measure(contestant, plan=plan, emit=emit)
            if not contestant.is_here:
                return
            emit("begin", "orphans")
            await await_execution(contestant, emit)

    contestant.run(session)


def cold_start(program: str) -> float:
    """Run ``program``, which prints the monotonic time of its first call's end."""
    began = time.monotonic()
    run = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    return float(run.stdout) - began


def crowd(program: str) -> float:
    """Run ``program``, which prints its driver's kB for each of its machines."""
    run = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, timeout=CROWD_LIMIT
    )
    return float(run.stdout)


async def await_execution(contestant: Contestant, emit: Callable[[str, object], None]) -> None:
    """Hold a call on a machine, say who is to vanish, and stay until SIGKILL comes."""

    async def call() -> None:
        await contestant.hang(0, seconds=BUSY)

    async def wait() -> None:
        await contestant.pause(0.2)  # for the call to be there
        emit("ready", contestant.pids())
        await contestant.pause(BUSY)

    await contestant.overlap(call, wait)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends, or now if it has."""
    import ctypes
    import signal

    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
