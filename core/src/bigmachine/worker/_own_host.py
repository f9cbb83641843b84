"""What a worker changes on a host that was made for it: limits, and what would disturb it.

The boot program can't do it, because user data has no room.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

UNIT = Path("/run/systemd/system/bigmachine.service")
"""The boot program's unit, which user data installs: only a host of ours has it."""

_NR_OPEN = Path("/proc/sys/fs/nr_open")
_OOM_SCORE = Path("/proc/self/oom_score_adj")

# Debian and Ubuntu leave the kernel's own limit at a million; systemd's default is no limit. Some
# programs close each descriptor up to the soft limit before they start another program.
_MAX_OPEN_FILES, _OPEN_FILES = 1 << 24, 1 << 20
_FIRST_VICTIM = 1000  # the highest score, by proc_pid_oom_score_adj(5)

REBOOTERS = (
    "apt-daily-upgrade.timer",  # Debian and Ubuntu: Unattended-Upgrade::Automatic-Reboot
    "apt-daily.timer",
    "dnf-automatic.timer",  # Fedora and its kin
    "dnf-automatic-install.timer",
    "dnf5-automatic.timer",
    "locksmithd.service",  # Flatcar
    "rebootmgr.service",  # openSUSE MicroOS
    "transactional-update.timer",
    "zincati.service",  # Fedora CoreOS
)
"""Units of systemd that update a host and may then reboot it."""


def prepare_host(unit: Path = UNIT, nr_open: Path = _NR_OPEN) -> None:
    """Prepare the host, if it was made for this worker; else do nothing. Never fails.

    * This process, and what it starts, may open millions of files.
    * If memory runs out, it is ended before the host's own services, which say so.
    * No update of the system reboots the host. This takes effect within seconds.
    """
    if sys.platform == "linux" and unit.exists():
        _raise_open_files(nr_open)
        with contextlib.suppress(OSError):
            _OOM_SCORE.write_text(str(_FIRST_VICTIM))
        threading.Thread(target=_never_reboot, name="bigmachine host", daemon=True).start()


def _raise_open_files(nr_open: Path) -> None:
    import resource

    with contextlib.suppress(OSError, ValueError):
        if int(nr_open.read_text()) < _MAX_OPEN_FILES:
            nr_open.write_text(str(_MAX_OPEN_FILES))
    limits = [_MAX_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]]
    with contextlib.suppress(OSError, ValueError):
        limits.insert(1, int(nr_open.read_text()))
    for limit in limits:
        with contextlib.suppress(OSError, ValueError):  # more than the kernel allows
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, _OPEN_FILES), limit))
            return


def _never_reboot() -> None:
    """Stop the units until the host's next boot; most images have one or two of them."""
    with contextlib.suppress(OSError):
        subprocess.run(
            ["systemctl", "mask", "--runtime", "--now", *REBOOTERS],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
