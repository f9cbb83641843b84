"""The machine's data disk: volumes and local disks, mounted as one file system.

This needs only the kernel and what every cloud image has (util-linux, e2fsprogs): most images
have neither mdadm nor LVM, and the kernel's device mapper can stripe without them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence

from ._commands import CommandError, GuestError, run
from ._stripe import CHUNK_BYTES, stripe

_POLL_SECONDS = 0.2
_NOTHING_FOUND = 2  # blkid's exit status, by blkid(8)
_BLOCK_BYTES = 4096


def await_volumes(
    names: Sequence[str], attached: Callable[[], Mapping[str, str]], *, deadline: float
) -> list[str]:
    """Return the block devices of the volumes attached under ``names``, in this order.

    ``attached`` returns those of the volumes that are there, by name. This waits for the others
    until ``deadline``, by `time.monotonic`: a volume may be attached some seconds after the
    machine has booted. Raises `GuestError`.
    """
    while True:
        found = attached()
        missing = [name for name in names if name not in found]
        if not missing:
            return [found[name] for name in names]
        if time.monotonic() >= deadline:
            raise GuestError(
                f"the data volumes {', '.join(missing)} are not attached; the block devices are "
                f"{block_devices()}"
            )
        time.sleep(_POLL_SECONDS)


def mount_data(groups: Sequence[Sequence[str]], *, at: str, deadline: float) -> None:
    """Mount new block devices as one file system at the folder ``at``.

    Those of a group are alike, and are striped; what a group has no room for is on the next one,
    so the fastest comes first. Raises `GuestError`; nothing is changed if a device is in use or
    not empty.
    """
    if os.path.ismount(at):
        raise GuestError(f"a file system is already mounted at {at}")
    groups = [group for group in groups if group]
    devices = [device for group in groups for device in group]
    for device in devices:
        check_is_new(device, deadline=deadline)
    device = stripe(groups, deadline=deadline) if len(devices) > 1 else devices[0]
    mount_new(device, at=at, stripes=len(devices) if len(groups) == 1 else 1, deadline=deadline)


def check_is_new(device: str, *, deadline: float) -> None:
    """Raise `GuestError` if a block device is in use, or has a file system or partitions on it."""
    try:
        # The kernel refuses this for a device that is mounted, or part of another device.
        fd = os.open(device, os.O_RDONLY | os.O_EXCL)
        try:
            os.read(fd, 4096)  # blkid considers an unreadable device empty
        finally:
            os.close(fd)
    except OSError as exc:
        raise GuestError(f"data volume {device} can't be used: {exc.strerror}") from exc
    try:
        signatures = run("blkid", "-p", device, deadline=deadline)
    except CommandError as exc:
        if exc.status == _NOTHING_FOUND:
            return
        signatures = exc.output or str(exc)
    raise GuestError(f"data volume {device} may not be new, and was not changed: {signatures}")


def mount_new(device: str, *, at: str, stripes: int, deadline: float) -> None:
    """Make a file system on ``device`` and mount it; ``stripes`` is the number of its volumes."""
    chunk = CHUNK_BYTES // _BLOCK_BYTES
    layout = [f"stride={chunk}", f"stripe_width={chunk * stripes}"] if stripes > 1 else []
    # No blocks reserved for root: the worker runs as root. A new volume has nothing to discard.
    features = ",".join(["nodiscard", *layout])
    options = ["-q", "-m", "0", "-b", str(_BLOCK_BYTES), "-E", features]
    run("mkfs.ext4", *options, device, deadline=deadline)
    os.makedirs(at, exist_ok=True)
    run("mount", "-t", "ext4", "-o", "noatime", device, at, deadline=deadline)


def block_devices() -> str:
    """Return the names of the machine's block devices, for messages."""
    return ", ".join(sorted(os.listdir("/sys/block"))) or "none"
