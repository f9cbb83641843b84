"""The machine's data disk: EBS volumes and local disks, found and mounted as one file system.

This needs only the kernel and what every cloud image has (util-linux, e2fsprogs): most images
have neither mdadm nor LVM, and the kernel's device mapper can stripe without them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import glob
import os
import re
import struct
import time
from collections.abc import Sequence

from ._commands import CommandError, GuestError, run
from ._stripe import CHUNK_BYTES, stripe

_POLL_SECONDS = 0.2
_NOTHING_FOUND = 2  # blkid's exit status, by blkid(8)
_BLOCK_BYTES = 4096


def mount_data(
    names: Sequence[str],
    *,
    local: Sequence[str] = (),
    at: str,
    attach_deadline: float,
    deadline: float,
) -> None:
    """Mount the new volumes attached under ``names`` (``"/dev/sdf"``, …) at the folder ``at``.

    So are ``local``, the machine's local disks. Several of either kind are striped; the local
    disks come first, and what they have no room for is on the volumes. The volumes must be
    attached by ``attach_deadline``, and all mounted by ``deadline``, times by `time.monotonic`.
    Raises `GuestError`; nothing is changed if one of them is missing, in use, or not empty.
    """
    if os.path.ismount(at):
        raise GuestError(f"a file system is already mounted at {at}")
    groups = [group for group in (local, find_volumes(names, deadline=attach_deadline)) if group]
    devices = [device for group in groups for device in group]
    for device in devices:
        check_is_new(device, deadline=deadline)
    device = stripe(groups, deadline=deadline) if len(devices) > 1 else devices[0]
    mount_new(device, at=at, stripes=len(devices) if len(groups) == 1 else 1, deadline=deadline)


def find_local_disks() -> list[str]:
    """Return the machine's local NVMe disks. Raises `GuestError` if there are none."""
    if devices := [device for device, identity in _nvme_disks().items() if is_local(identity)]:
        return devices
    raise GuestError(
        f"the machine has no local NVMe disk; the block devices are {_block_devices()}"
    )


def find_volumes(names: Sequence[str], *, deadline: float) -> list[str]:
    """Return the block devices of the volumes attached under ``names``, in this order.

    This waits for them: a volume may be attached some seconds after the machine has booted.
    """
    while True:
        found = _nvme_volumes()
        devices = [found.get(name) or _xen_volume(name) for name in names]
        present = [device for device in devices if device]
        if len(present) == len(names):
            return present
        if time.monotonic() >= deadline:
            missing = [name for name, device in zip(names, devices, strict=True) if not device]
            raise GuestError(
                f"the data volumes {', '.join(missing)} are not attached; the block devices are "
                f"{_block_devices()}"
            )
        time.sleep(_POLL_SECONDS)


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


# -- names: NVMe on Nitro, else Xen ----------------------------------------------------

# NVM Express Base Specification 1.4: the command Identify Controller, figures 88 and 247; and
# nvme_admin_cmd of <linux/nvme_ioctl.h>. EBS gives the name that a volume was attached under in
# the vendor's part of what is returned, as AWS's ebsnvme-id reads it.
_IDENTIFY = 0x06
_OF_CONTROLLER = 1
_ADMIN_COMMAND = struct.Struct("<BBHIIIQQIIIIIIIIII")
_NVME_IOCTL_ADMIN_CMD = 0xC0484E41
_IDENTITY_BYTES = 4096
_MODEL, _VENDOR_NAME = slice(24, 64), slice(3072, 3104)
# "Map NVMe disks to volumes" and "SSD instance store volumes", in the guides of EBS and EC2.
_EBS_MODEL, _LOCAL_MODEL = b"Amazon Elastic Block Store", b"Amazon EC2 NVMe Instance Storage"


def _nvme_disks() -> dict[str, bytes]:
    """Return with what the NVMe disks identify themselves, by device, in order."""
    found: dict[str, bytes] = {}
    for device in sorted(glob.glob("/dev/nvme*n*"), key=lambda device: (len(device), device)):
        if re.fullmatch(r"/dev/nvme\d+n\d+", device):
            with contextlib.suppress(OSError):  # it is being attached, or does not support this
                found[device] = identify(device)
    return found


def _nvme_volumes() -> dict[str, str]:
    """Return the NVMe disks that are EBS volumes, by the names they were attached under."""
    names = {device: volume_name(identity) for device, identity in _nvme_disks().items()}
    return {name: device for device, name in names.items() if name}


def is_local(identity: bytes) -> bool:
    """Whether an NVMe disk is instance store. ``identity`` is what `identify` returns."""
    return identity[_MODEL].strip(b"\0 ") == _LOCAL_MODEL


def volume_name(identity: bytes) -> str | None:
    """Return the name that an EBS volume was attached under; None for any other NVMe disk.

    ``identity`` is what `identify` returns. A volume attached as ``xvdf`` is ``/dev/sdf`` here.
    """
    if identity[_MODEL].strip(b"\0 ") != _EBS_MODEL:
        return None
    name = identity[_VENDOR_NAME].strip(b"\0 ").decode("ascii", "replace")
    return re.sub(r"^(/dev/)?(sd|xvd)", "/dev/sd", name)


def identify(device: str) -> bytes:
    """Return the 4096 bytes with which an NVMe controller identifies itself. Raises `OSError`."""
    identity = ctypes.create_string_buffer(_IDENTITY_BYTES)
    # opcode, flags, command id, namespace, cdw2, cdw3, metadata, address, and so on
    head = (_IDENTIFY, 0, 0, 0, 0, 0, 0, ctypes.addressof(identity), 0, _IDENTITY_BYTES)
    command = bytearray(_ADMIN_COMMAND.pack(*head, _OF_CONTROLLER, *[0] * 7))
    fd = os.open(device, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _NVME_IOCTL_ADMIN_CMD, command)
    finally:
        os.close(fd)
    return identity.raw


def _block_devices() -> str:
    return ", ".join(sorted(os.listdir("/sys/block"))) or "none"


def _xen_volume(name: str) -> str | None:
    """Return the device of a volume attached as ``/dev/sdf``, which Xen's driver calls xvdf."""
    for device in (name, name.replace("/dev/sd", "/dev/xvd")):
        if os.path.exists(device):
            return os.path.realpath(device)
    return None
