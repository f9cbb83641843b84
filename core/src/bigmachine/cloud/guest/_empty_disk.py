"""Emptying a disk that the image or the provider has already put a file system on."""

from __future__ import annotations

import os
from pathlib import Path

from ._commands import GuestError, run

_BLOCK_DEVICES, _MOUNTS = "/sys/block", "/proc/self/mounts"


def empty_disk(device: str, *, deadline: float) -> None:
    """Unmount what is on a block device, and remove its file systems and its partitions.

    It is for a disk of the machine's host, which is lost with the machine in any case. All is
    done until ``deadline``, by `time.monotonic`. Raises `GuestError`.
    """
    name = os.path.basename(device)
    parts = [f"{device[: -len(name)]}{part.name}" for part in _partitions(name)]
    try:
        mounts = Path(_MOUNTS).read_text().splitlines()
    except OSError as exc:
        raise GuestError(f"{_MOUNTS} can't be read: {exc.strerror}") from exc
    for source, folder in (line.split()[:2] for line in reversed(mounts)):
        if os.path.realpath(source) in (device, *parts):
            run("umount", folder, deadline=deadline)
    for each in (*parts, device):
        run("wipefs", "--all", each, deadline=deadline)


def _partitions(name: str) -> list[Path]:
    return sorted(Path(_BLOCK_DEVICES, name).glob(f"{name}*"))
