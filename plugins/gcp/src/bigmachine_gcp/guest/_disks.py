"""A machine's disks on Compute Engine: which are its data volumes, and which its local SSDs.

A disk carries the name that it is attached under, its ``deviceName``. NVMe disks have it where
Google's guest environment reads it, too (google_nvme_id of GoogleCloudPlatform/guest-configs), but
images without that, or without nvme-cli, have no links to them. SCSI disks have it in their serial
number, for which udev makes links in any image.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence

from bigmachine.cloud import nvme_disks

_LINKS = "/dev/disk/by-id"
# Made by Google's rules for udev, and by systemd's own.
_VOLUME_LINKS = ("google-{}", "scsi-0Google_PersistentDisk_{}")
_LOCAL_LINK = re.compile(r"(?:google-|scsi-0Google_EphemeralDisk_)local-ssd-(\d+)")
_VOLUME_MODEL, _LOCAL_MODEL = "nvme_card-pd", re.compile(r"nvme_card\d*")  # Google's rules for udev
_VENDOR = slice(384, None)
_NAME = re.compile(rb'"device_name":"([\w-]+)"')


def find_volumes(names: Sequence[str]) -> Mapping[str, str]:
    """Return the block devices of those disks that are attached under ``names``, by name."""
    nvme = dict(_nvme_volumes())
    found = {name: nvme.get(name) or _linked_volume(name) for name in names}
    return {name: device for name, device in found.items() if device}


def find_local_disks() -> list[str]:
    """Return the machine's local SSDs, in order."""
    nvme = [disk.device for disk in nvme_disks() if _LOCAL_MODEL.fullmatch(disk.model)]
    scsi: dict[int, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for link in os.listdir(_LINKS):
            if match := _LOCAL_LINK.fullmatch(link):
                scsi[int(match[1])] = os.path.realpath(f"{_LINKS}/{link}")
    return [*nvme, *(scsi[number] for number in sorted(scsi))]


def _nvme_volumes() -> Iterator[tuple[str, str]]:
    for disk in nvme_disks():
        if disk.model == _VOLUME_MODEL:
            with contextlib.suppress(OSError):
                if match := _NAME.search(disk.namespace()[_VENDOR]):
                    yield match[1].decode("ascii", "replace"), disk.device


def _linked_volume(name: str) -> str | None:
    for form in _VOLUME_LINKS:
        if os.path.exists(link := f"{_LINKS}/{form.format(name)}"):
            return os.path.realpath(link)
    return None
