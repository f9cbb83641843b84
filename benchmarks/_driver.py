"""A contestant's driver: a new process that starts machines, measures, and waits to be killed.

It imports almost nothing before the first machine runs, since that time is
measured. It reports in JSON lines on the stdout it was given, and keeps that
descriptor from libraries that print and from the machines it starts.
"""

import json
import os
import sys
import time
from collections.abc import Callable

from benchmarks._contestant import Contestant, load

CALL_SECONDS = 15.0  # of the call that is under way when the driver is killed; over every limit


def main(name: str, started: float, kind: str) -> None:
    """Measure contestant `name`; `started` is the monotonic time of its start."""
    parent = os.getppid()
    report = os.dup(1)  # not inheritable
    os.dup2(2, 1)

    def emit(key: str, value: object) -> None:
        os.write(report, json.dumps({key: value}).encode() + b"\n")

    contestant = load(name)()

    async def session() -> None:
        async with contestant.open():
            await contestant.null()
            emit("values", {"cold_start_s": time.monotonic() - started})
            end_with_parent(parent)
            from benchmarks import _measure

            plan = _measure.QUICK if kind == "quick" else _measure.FULL
            await _measure.measure(contestant, plan=plan, emit=emit)
            if not contestant.is_local:
                return
            emit("begin", "orphans")
            await wait_for_kill(contestant, emit)

    contestant.run(session)


async def wait_for_kill(contestant: Contestant, emit: Callable[[str, object], None]) -> None:
    """Call a machine, report the machines' process ids, and stay until SIGKILL comes."""

    async def call() -> None:
        await contestant.sleep(0, seconds=CALL_SECONDS)

    async def wait() -> None:
        await contestant.pause(0.2)  # for the call to arrive
        emit("ready", contestant.pids)
        await contestant.pause(CALL_SECONDS)

    await contestant.run_both(call, wait)


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
