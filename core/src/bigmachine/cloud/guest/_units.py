"""A user's systemd units, installed and started on the machine."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

from ._commands import CommandError, GuestError, run
from ._files import File

UNITS_FOLDER = "/etc/systemd/system"

# systemd counts a service of its default Type=simple as started before its program runs.
_SETTLE_SECONDS = 1.0
_JOURNAL_LINES = 20


def start_units(units: Sequence[File], *, deadline: float) -> None:
    """Install systemd units, enable them, and start them in this order. Raises `GuestError`."""
    for unit in units:
        unit.write()
    names = [os.path.basename(unit.path) for unit in units]
    run("systemctl", "daemon-reload", deadline=deadline)
    run("systemctl", "enable", *names, deadline=deadline)
    for name in names:
        try:
            run("systemctl", "start", name, deadline=deadline)
        except CommandError as exc:
            raise _unit_failed(name, str(exc)) from exc
    time.sleep(_SETTLE_SECONDS)
    for name in names:
        if _is_failed(name, deadline=deadline):
            raise _unit_failed(name, "it has failed")


def _is_failed(unit: str, *, deadline: float) -> bool:
    with contextlib.suppress(CommandError):  # the command fails for a unit that has not
        run("systemctl", "is-failed", unit, deadline=deadline)
        return True
    return False


def _unit_failed(unit: str, why: str) -> GuestError:
    command = ["journalctl", "--no-pager", "--output=cat", f"--lines={_JOURNAL_LINES}"]
    try:
        journal = run(*command, f"--unit={unit}", deadline=time.monotonic() + 5.0)
    except CommandError as exc:
        journal = str(exc)
    return GuestError(f"unit {unit} did not start: {why}\nits journal:\n{journal}")
