"""Where the two ends of a call run: as the kernel places them, or pinned.

A ping-pong takes three times as long on two cores as on one, since the one that waits has to
be woken up elsewhere. So a time means something only with its placement, and a ratio only if
both of its times were measured in the same one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Placement = Literal["kernel", "one core", "two cores"]
PLACEMENTS: tuple[Placement, ...] = ("kernel", "one core", "two cores")


@contextmanager
def placed(placement: Placement, *, driver: int, machines: Iterable[int]) -> Iterator[None]:
    """Have all threads of these processes, given by their ids, run where ``placement`` says.

    "two cores" is one for the driver and another one for the machines; on a computer with
    just one it raises `NotImplementedError`.
    """
    processors = sorted(os.sched_getaffinity(driver))
    # The first and the last: if there are more than two, they are not threads of one core.
    first, last = processors[0], processors[-1]
    if placement == "kernel":
        yield
        return
    if placement == "two cores" and first == last:
        raise NotImplementedError
    processes = {
        driver: first,
        **dict.fromkeys(machines, first if placement == "one core" else last),
    }
    try:
        for pid, processor in processes.items():
            pin(pid, {processor})
        yield
    finally:
        for pid in processes:
            pin(pid, processors)


def pin(pid: int, processors: Collection[int]) -> None:
    """Let all threads of a process run on these processors alone, and those they start, too."""
    pinned: set[str] = set()
    # Again, until there are no more: a thread that wasn't pinned yet may have started another.
    while new := threads(pid) - pinned:
        for thread in new:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread), processors)
        pinned |= new


def threads(pid: int) -> set[str]:
    """Return the ids of a process's threads; none if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return set(os.listdir(f"/proc/{pid}/task"))
    return set()
