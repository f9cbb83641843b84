"""How a machine's process ended, in words."""

from __future__ import annotations

import signal

from bigmachine.errors import StopReason
from bigmachine.system import Termination

from ._oom import OomWatch
from ._process import Process


def explain_ended(process: Process, status: int | None, oom: OomWatch | None) -> Termination:
    """Return how ``process`` ended; ``status`` is as of `Process.wait`."""
    if status is None:
        return Termination(StopReason.EXITED, "ended; its exit status is lost")
    if status >= 0:
        return Termination(StopReason.EXITED, f"exited with status {status}")
    is_foreign_kill = status == -signal.SIGKILL and not process.is_killed
    if is_foreign_kill and oom is not None and oom.is_victim(process.pid):
        return Termination(StopReason.OOM, "killed by the kernel: out of memory")
    return Termination(StopReason.EXITED, f"killed by signal {-status}{_signal_name(-status)}")


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
