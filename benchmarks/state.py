"""How fast a service with a large array reaches machines of this host, and what memory that takes.

By shared memory, and over the wire, where machines pass it on to each other. Each turn is a driver
of its own, since what is measured of it is its peak.

uv run python -m benchmarks.state               # 512 MiB to 4 machines, 3 rounds, 1 minute
uv run python -m benchmarks.state --mib 64 --machines 12
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import bigmachine as bm
from bigmachine.rpc.memory._switch import VARIABLE

MIB, MACHINES = 512, 4
MAX_SECONDS = 2.0  # by shared memory
MAX_PEAK = 1.2  # times the array, of the driver
WAYS = {"by shared memory": "1", "over the wire": "0"}


class State:
    """A service that is one large array."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def read(self) -> float:
        """Read all of it."""
        return float(self.array.sum())

    def proportional_bytes(self) -> int:
        """Return the memory of this machine; what it shares is divided by who shares it."""
        return proportional_bytes()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__)
    parser.add_argument("--mib", type=int, default=MIB)
    parser.add_argument("--machines", type=int, default=MACHINES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turn", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.turn:
        print(json.dumps(measure(options.mib, options.machines)))
        return 0
    turns: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, switch in WAYS.items():
            turns[way].append(turn(options.mib, options.machines, switch))
    print(f"a service with {options.mib} MiB of state, to {options.machines} machines of this host")
    for way, found in turns.items():
        median = {key: statistics.median(turn[key] for turn in found) for key in found[0]}
        print(
            f"{way:17} {median['seconds']:5.2f} s to RUNNING, {median['cpu_seconds']:.2f} s of the "
            f"driver's CPU time; its peak is {median['peak']:.2f} x the array\n"
            f"{'':17} all machines: {median['machines']:.2f} x the array, and "
            f"{median['machines_after']:.2f} x once they have read it"
        )
    shared = turns["by shared memory"]
    seconds = statistics.median(turn["seconds"] for turn in shared)
    peak = statistics.median(turn["peak"] for turn in shared)
    print(f"targets by shared memory: at most {MAX_SECONDS:g} s, and {MAX_PEAK:g} x the array")
    return int(seconds > MAX_SECONDS or peak > MAX_PEAK)


def print_values() -> None:
    """Print the values of a contestant's round, as JSON: by shared memory."""
    found = turn(MIB, MACHINES, WAYS["by shared memory"])
    print(json.dumps({"state_s": found["seconds"], "state_peak_times": found["peak"]}))


def turn(mib: int, machines: int, switch: str) -> dict[str, float]:
    """Measure in a new process."""
    command = [sys.executable, "-m", "benchmarks.state", "--turn"]
    command += [f"--mib={mib}", f"--machines={machines}"]
    environ = {**os.environ, VARIABLE: switch, "BIGMACHINE_PROGRESS": "off"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    output = subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE).stdout
    return dict(json.loads(output))


def measure(mib: int, count: int) -> dict[str, float]:
    """Start the machines; return the times, and memory in multiples of the array."""
    array = np.ones(mib << 17)
    with bm.Session("local") as session:
        [first] = session.start(1, services={"State": State(None)})  # what is the same each time
        first.shutdown()
        began, cpu_began = time.perf_counter(), time.process_time()
        machines = session.start(count, services={"State": State(array)})
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before = sum(machine.call("State.proportional_bytes") for machine in machines)
        assert [machine.call("State.read") for machine in machines] == [array.size] * count
        after = sum(machine.call("State.proportional_bytes") for machine in machines)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak": peak / array.nbytes,
        "machines": before / array.nbytes,
        "machines_after": after / array.nbytes,
    }


def proportional_bytes() -> int:
    """Return this process's proportional set size."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise OSError("this kernel does not tell the proportional set size")


if __name__ == "__main__":
    sys.exit(main())
