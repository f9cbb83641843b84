"""Find, measure and end the processes of a run, by means of /proc (Linux)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Set to the run's id in every driver's environment, and inherited from there:
# a process that was orphaned, or has a session of its own, still has it.
MARKER = "BIGMACHINE_BENCH_RUN"

POLL = 0.002  # seconds between two checks of processes that should end


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its id *and* start time, since ids are reused."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process `pid`, or None if there is none, or only its zombie."""
        fields = stat(pid)
        return None if fields is None or fields[0] in "ZX" else cls(pid, int(fields[19]))

    def is_alive(self) -> bool:
        return Process.of(self.pid) == self

    def kill(self) -> None:
        """Kill it, unless it has ended and its id may belong to another process."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    @property
    def command(self) -> str:
        with suppress(OSError):
            raw = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            return raw.replace(b"\0", b" ").decode(errors="replace").strip()
        return "?"


def stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third, the state, on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()  # the second field may hold spaces and brackets


def processes_of(run_id: str, roots: Iterable[Process] = ()) -> set[Process]:
    """Return a run's processes: all that have its marker, and all descendants of `roots`."""
    marker = f"{MARKER}={run_id}".encode()
    parents: dict[int, list[int]] = {}
    found: set[int] = {root.pid for root in roots if root.is_alive()}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        pid = int(name)
        fields = stat(pid)
        if fields is None:
            continue
        parents.setdefault(int(fields[1]), []).append(pid)
        with suppress(OSError):
            if marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    found.discard(os.getpid())
    unseen = list(found)
    while unseen:
        children = [pid for pid in parents.get(unseen.pop(), []) if pid not in found]
        found.update(children)
        unseen += children
    return {process for pid in found if (process := Process.of(pid))}


def wait_gone(processes: Iterable[Process], *, limit: float, begin: float | None = None) -> float:
    """Wait until all `processes` have ended; return the seconds since `begin`, at most `limit`.

    `begin` is the monotonic time before they were made to end: on a busy computer
    they may all have ended before this function is called.
    """
    begin = time.monotonic() if begin is None else begin
    alive = set(processes)
    while True:
        alive = {process for process in alive if process.is_alive()}
        elapsed = time.monotonic() - begin
        if not alive or elapsed >= limit:
            return min(elapsed, limit)
        time.sleep(POLL)


def kill_all(run_id: str, known: Iterable[Process] = ()) -> None:
    """Kill all processes of a run; repeated, since they may be starting others meanwhile."""
    for _ in range(20):
        alive = processes_of(run_id, known)
        if not alive:
            return
        for process in alive:
            process.kill()
        wait_gone(alive, limit=0.5)


def remove_semaphores(pid: int) -> None:
    """Remove the named semaphores of a driver that used loky: who would do that was killed, too."""
    for path in Path("/dev/shm").glob(f"sem.loky-{pid}-*"):
        path.unlink(missing_ok=True)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of all threads of a process, to the nanosecond.

    That is clock_getcpuclockid(3), which Python lacks: Linux derives the clock's
    number from the process id.
    """
    return time.clock_gettime((~pid << 3) | 2)


def unshared_bytes(pid: int) -> int:
    """Return what ending the process would free: its private pages, clean and dirty."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_")]
    return sum(kilobytes) * 1024
