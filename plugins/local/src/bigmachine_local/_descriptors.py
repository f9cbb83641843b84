"""The driver's file descriptors: each closes once, and no forked child keeps one.

A machine lives until its driver's end of a pipe is closed. A child that user code
forks from the driver, by `multiprocessing` say, has copies of all those ends: it
would keep machines alive after their driver died, so it closes them first of all.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol, TypeVar


class Descriptor:
    """One open file descriptor; ``number`` is -1 once it is closed."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        close_in_children(self)

    def fileno(self) -> int:
        """Return the descriptor's number."""
        return self.number

    def close(self) -> None:
        """Close it. Fine to call again."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    __del__ = close


def pipe() -> tuple[Descriptor, Descriptor]:
    """Open a pipe and return its reading and its writing end."""
    reading, writing = os.pipe()
    return Descriptor(reading), Descriptor(writing)


def ensure_limit(wanted: int) -> str | None:
    """Make room for ``wanted`` more descriptors; return what is wrong if there is none.

    The soft limit is raised as far as the hard one allows, since only the driver
    feels it: machines start from a process that has the user's own limit.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = len(os.listdir("/dev/fd")) + wanted + _SPARE
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return None
    if hard == resource.RLIM_INFINITY or needed <= hard:
        # macOS refuses an infinite soft limit; take what is needed there.
        raised = needed if hard == resource.RLIM_INFINITY else hard
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            return None
        except (ValueError, OSError):
            pass
    return (
        f"the driver would need {needed} open files and its limit is {soft} (at most {hard}); "
        f"raise it with `ulimit -n {needed}`, or start fewer machines"
    )


class _Closable(Protocol):
    def close(self) -> None: ...


_T = TypeVar("_T", bound=_Closable)

_SPARE = 32  # the user's own files, and what a start opens for a moment
_open: weakref.WeakSet[_Closable] = weakref.WeakSet()


def close_in_children(thing: _T) -> _T:
    """Have every child that is forked from this process close ``thing``."""
    _open.add(thing)
    return thing


def _close_all() -> None:
    for thing in list(_open):
        thing.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
