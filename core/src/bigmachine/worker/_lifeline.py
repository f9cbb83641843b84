"""The end of a machine whose driver has ended: it is seen at a pipe, the lifeline."""

from __future__ import annotations

import os
import signal
import sys
import threading


def tie_to(lifeline: int) -> None:
    """End this process, and its group if it leads one, the moment that the lifeline ends.

    The kernel does it, where it can: also while native code holds the interpreter, or the process
    is stopped. Elsewhere a thread does, which each machine would otherwise have to start.
    """
    if not _is_watched_by_kernel(lifeline):
        threading.Thread(target=_die_with, args=(lifeline,), name="lifeline", daemon=True).start()


def _is_watched_by_kernel(lifeline: int) -> bool:
    """Have the kernel kill this process, and its group, at the end of the lifeline, if it can.

    Linux reports what happens on a pipe by a signal of one's choice, and only its end can happen
    on this pipe.
    """
    if sys.platform != "linux":
        return False
    import fcntl
    import select
    import stat

    if not stat.S_ISFIFO(os.fstat(lifeline).st_mode):
        return False
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid() if _is_leader() else os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    except OSError:
        return False
    poll = select.poll()
    poll.register(lifeline, 0)
    if poll.poll(0):  # it had ended before: that is not reported
        _die()
    return True


def _die_with(lifeline: int) -> None:
    try:
        while os.read(lifeline, 4096):
            pass
    except OSError:
        pass
    finally:
        _die()


def _die() -> None:
    if _is_leader():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _is_leader() -> bool:
    return hasattr(os, "killpg") and os.getpgrp() == os.getpid()
