"""What there is of a box on this computer, as the computer itself has it, not as we remember."""

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
    """Name a box after its owner, so that anybody can tell when that is dead."""
    return f"{PREFIX}-{os.getpid()}-{_began(os.getpid())}-{next(_serial)}"


def left(name: str) -> list[str]:
    """List all that exists of the box of that name: processes, cgroups, cards and mounts.

    Its namespaces have no names: each is held by a process, and the network also by the card
    that the other end of its cable is.
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


def sweep_dead() -> None:
    """Take away what is left of boxes whose owner is dead."""
    for top in _cgroups(f"{PREFIX}-*"):
        _, pid, began, serial, _ = top.name.split("-")
        if _began(int(pid)) != began:
            sweep(f"{PREFIX}-{pid}-{began}-{serial}")


def sweep(name: str) -> None:
    """Take away the cgroups of a box: a supervisor that is killed leaves them, and no more."""
    for top in _cgroups(f"{name}-*"):
        for process in processes_of(top.name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(OSError):  # while they end: then it is for the next box
            for folder, _, _ in os.walk(top, topdown=False):
                os.rmdir(folder)


def processes_of(group: str) -> dict[int, list[int]]:
    """Return the processes of a cgroup, each with its numbers, from the outermost namespace in."""
    found = {}
    for top in _cgroups(group):
        for folder, _, _ in os.walk(top):  # which doesn't mind that some go meanwhile
            with contextlib.suppress(OSError):
                for pid in map(int, Path(folder, "cgroup.procs").read_text().split()):
                    if numbers := _numbers(pid):
                        found[pid] = numbers
    return found


def _cgroups(pattern: str) -> Iterator[Path]:
    """Find cgroups of ours, in each hierarchy that is mounted, or in the only one."""
    yield from CGROUPS.glob(pattern)
    yield from (path for path in CGROUPS.glob(f"*/{pattern}") if not path.parent.is_symlink())


def _numbers(pid: int) -> list[int]:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return []
    return [int(number) for number in status.partition("NSpid:")[2].partition("\n")[0].split()]


def _began(pid: int) -> str | None:
    """Say when a process began: with its number, that is its alone. None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
