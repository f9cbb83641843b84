"""The driver's file descriptors: each is closed once, and forked children keep none."""

from __future__ import annotations

import os

from bigmachine.process import close_in_children


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
        """Close it. Idempotent."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    __del__ = close


def pipe() -> tuple[Descriptor, Descriptor]:
    """Open a pipe and return its reading and its writing end."""
    reading, writing = os.pipe()
    return Descriptor(reading), Descriptor(writing)


def raise_limit(wanted: int) -> str | None:
    """Raise the limit on open files for ``wanted`` more; return the problem if that fails.

    The soft limit is raised up to the hard one. This affects only the driver: machines start
    from a process that has the user's limit.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = len(os.listdir("/dev/fd")) + wanted + _SPARE
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return None
    if hard == resource.RLIM_INFINITY or needed <= hard:
        # macOS refuses an infinite soft limit; there it is raised to what is needed.
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


_SPARE = 32  # the user's own files, and those that a start opens briefly
