"""Find and remove the resources of boxes on this computer, without the memory of their owner."""

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
CARDS = Path("/sys/class/net")
PREFIX = "cloudbox"

_serial = itertools.count()


def new_name() -> str:
    """Return a name for a box that identifies its owner, so that others see when it is dead."""
    return f"{PREFIX}-{os.getpid()}-{_start_time(os.getpid())}-{next(_serial)}"


def leftovers(name: str) -> list[str]:
    """List the processes, cgroups, network cards and mounts of the box of that name.

    Namespaces are not listed, because they have no names. Each exists only while a process or,
    for a network, a card at the other end of its cable exists.
    """
    found = [f"cgroup {path}" for path in _cgroups(f"{name}-*")]
    pids = {pid for path in _cgroups(f"{name}-*") for pid in processes_of(path.name)}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if name.encode() in (folder / "cmdline").read_bytes():
                pids.add(int(folder.name))
    found += [f"process {pid}" for pid in sorted(pids - {os.getpid()})]
    for card in CARDS.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if (card / "ifalias").read_text().strip() == name:
                found.append(f"card {card.name}")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return found + [f"mount {line}" for line in mounts if line.startswith(f"{PREFIX} ")]


def remove_leftovers_of_dead_boxes() -> None:
    """Remove the resources of boxes whose owner is dead."""
    for top in _cgroups(f"{PREFIX}-*"):
        _, pid, started, serial, _ = top.name.split("-")
        if _start_time(int(pid)) != started:
            remove_leftovers(f"{PREFIX}-{pid}-{started}-{serial}")


def remove_leftovers(name: str) -> None:
    """Remove the cgroups of a box, the only resources that a killed supervisor leaves."""
    for top in _cgroups(f"{name}-*"):
        for process in processes_of(top.name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(OSError):  # processes still end: the next box removes it
            for folder, _, _ in os.walk(top, topdown=False):
                os.rmdir(folder)


def processes_of(group: str) -> dict[int, list[int]]:
    """Return the processes of a cgroup, each with its PIDs, from the outermost namespace in."""
    found = {}
    for top in _cgroups(group):
        for folder, _, _ in os.walk(top):  # ignores folders that disappear meanwhile
            with contextlib.suppress(OSError):
                for pid in map(int, Path(folder, "cgroup.procs").read_text().split()):
                    if numbers := _numbers(pid):
                        found[pid] = numbers
    return found


def _cgroups(pattern: str) -> Iterator[Path]:
    """Yield the cgroups that match, in the unified hierarchy or in each one of version 1."""
    yield from CGROUPS.glob(pattern)
    yield from (path for path in CGROUPS.glob(f"*/{pattern}") if not path.parent.is_symlink())


def _numbers(pid: int) -> list[int]:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return []
    return [int(number) for number in status.partition("NSpid:")[2].partition("\n")[0].split()]


def _start_time(pid: int) -> str | None:
    """Return the start time of a process, unique together with its PID; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
