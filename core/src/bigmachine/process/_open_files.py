"""How many files this process may have open: the limit is raised when machines need more."""

from __future__ import annotations

import os

_SPARE = 32  # the user's own files, and those that a start opens briefly


def allow_open_files(wanted: int, *, useful: int = 0) -> str | None:
    """Raise the limit on open files for ``wanted`` more; return the problem if that fails.

    The soft limit is raised up to the hard one, and only if it is too low: with the usual 1,024,
    no descriptor is too large for `select.select`, which the program may use. Room for ``useful``
    more is made where that can be, and is no problem if not.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = len(os.listdir("/dev/fd")) + wanted + _SPARE
    if soft == resource.RLIM_INFINITY or needed + useful <= soft:
        return None
    if hard == resource.RLIM_INFINITY or soft < hard:
        # macOS refuses an infinite soft limit; there it is raised to what is needed.
        soft = needed + useful if hard == resource.RLIM_INFINITY else hard
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (ValueError, OSError):
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if needed <= soft:
        return None
    return (
        f"the driver would need {needed} open files and its limit is {soft} (at most {hard}); "
        f"raise it with `ulimit -n {needed}`, or start fewer machines"
    )
