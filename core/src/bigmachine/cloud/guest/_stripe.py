"""Striping of block devices, RAID 0, by the kernel's device mapper and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Sequence

from ._commands import CommandError, GuestError, run

CHUNK_BYTES = 256 << 10
"""How much is written to one device before the next.

EBS counts up to 256 KiB as one operation of an SSD volume ("Amazon EBS I/O characteristics").
"""

# <linux/dm-ioctl.h> (struct dm_ioctl, struct dm_target_spec) and the kernel's documentation of
# dm-stripe. Its text interface is this header, followed by what the command takes.
_DM = struct.Struct("=IIIIIIiIIIQ128s129s7x")
_DM_TARGET = struct.Struct("=QQiI16s")
_DM_VERSION = (4, 0, 0)
_DM_CREATE, _DM_REMOVE, _DM_RESUME, _DM_LOAD = 3, 4, 6, 9
_DM_ROOM_BYTES = 16384
_SECTOR_BYTES = 512
_DEVICE_NAME = "bigmachine-data"


def stripe(groups: Sequence[Sequence[str]], *, deadline: float) -> str:
    """Combine block devices into one until the machine ends; return its path.

    Those of a group are striped, RAID 0, and each group follows the one before, so that a fast
    one is not slowed down by a slow one. As many whole chunks of each device are used as the
    smallest of its group has.
    """
    with contextlib.suppress(CommandError):  # it may be built into the kernel
        run("modprobe", "dm_mod", deadline=deadline)
    try:
        control = os.open("/dev/mapper/control", os.O_RDWR)
    except OSError as exc:
        raise GuestError(f"the image's kernel has no device mapper: {exc}") from exc
    try:
        minor = _dm(control, _DM_CREATE)
        try:
            _dm(control, _DM_LOAD, dm_table(groups))
            _dm(control, _DM_RESUME)
        except BaseException:
            _dm(control, _DM_REMOVE)
            raise
    except OSError as exc:
        devices = ", ".join(device for group in groups for device in group)
        raise GuestError(f"{devices} can't be striped: {exc.strerror}") from exc
    finally:
        os.close(control)
    return f"/dev/dm-{minor}"


def dm_table(groups: Sequence[Sequence[str]]) -> list[bytes]:
    """Return the targets of the device mapper, one of each group, as its ioctl takes them."""
    chunk = CHUNK_BYTES // _SECTOR_BYTES
    start, targets = 0, []
    for devices in groups:
        sectors = min(map(_size_bytes, devices)) // CHUNK_BYTES * chunk * len(devices)
        table = " ".join([str(len(devices)), str(chunk), *(f"{device} 0" for device in devices)])
        targets.append(_target(start, sectors, "striped", table))
        start += sectors
    return targets


def _dm(control: int, command: int, targets: Sequence[bytes] = ()) -> int:
    """Send the device mapper a command for our device; return the device's minor number."""
    header = _DM.pack(
        *(*_DM_VERSION, _DM_ROOM_BYTES, _DM.size, len(targets), 0, 0, 0, 0, 0),
        *(_DEVICE_NAME.encode(), b""),
    )
    room = bytearray((header + b"".join(targets)).ljust(_DM_ROOM_BYTES, b"\0"))
    # _IOWR(0xfd, command, struct dm_ioctl)
    fcntl.ioctl(control, 3 << 30 | _DM.size << 16 | 0xFD << 8 | command, room)
    device: int = _DM.unpack_from(room)[10]
    return os.minor(device)


def _target(start: int, sectors: int, kind: str, table: str) -> bytes:
    text = table.encode() + b"\0"
    size = -(-(_DM_TARGET.size + len(text)) // 8) * 8
    return (_DM_TARGET.pack(start, sectors, 0, size, kind.encode()) + text).ljust(size, b"\0")


def _size_bytes(device: str) -> int:
    fd = os.open(device, os.O_RDONLY)
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)
