"""A machine's setup before it serves: what is particular to Google Compute Engine."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence

import trio

from bigmachine.cloud import GuestSetup, MetadataError

from ._metadata import Metadata
from ._options import GcpOptions
from ._user_data import SSH_USER

# Links that udev makes by the rules of Google's guest environment: google-NAME for the disk that
# is attached as ``deviceName`` NAME, and google-local-nvme-ssd-N or google-local-ssd-N
# (GoogleCloudPlatform/guest-configs, 65-gce-disk-naming.rules).
_LINKS = "/dev/disk/by-id"
_LOCAL = re.compile(r"google-local-(?:nvme-)?ssd-(\d+)")


def data_names(count: int) -> tuple[str, ...]:
    """Return the device names of a data disk's volumes."""
    return tuple(f"data-{index}" for index in range(count))


def guest_setup(o: GcpOptions) -> GcpGuestSetup:
    """Read the files that the options name. Raises `UsageError` for one that can't be read."""
    volumes = data_names(o.data_volumes) if o.data_disk else ()
    return GcpGuestSetup.from_options(o, volumes=volumes)


class GcpGuestSetup(GuestSetup):
    """A machine's setup, which finds disks by the links of Google's guest environment."""

    __slots__ = ()

    def attached_volumes(self) -> Mapping[str, str]:
        """Return the block devices of those disks that are attached, by device name."""
        links = {name: f"{_LINKS}/google-{name}" for name in self.volumes}
        there = {name: link for name, link in links.items() if os.path.exists(link)}
        return {name: os.path.realpath(link) for name, link in there.items()}

    def find_local_disks(self) -> Sequence[str]:
        """Return the machine's local SSDs, in order."""
        found: dict[int, str] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(_LINKS):
                if match := _LOCAL.fullmatch(name):
                    found[int(match[1])] = os.path.realpath(f"{_LINKS}/{name}")
        return [found[number] for number in sorted(found)]

    def allow_login(self) -> str:
        """Return the user that Google's guest agent makes, by the instance's metadata."""
        return SSH_USER

    def address(self, metadata_url: str) -> str:
        """Return this machine's address, the external one if it has one; "" if it is unknown."""
        card = "instance/network-interfaces/0"
        metadata = Metadata(metadata_url)
        with contextlib.suppress(MetadataError):
            for path in (f"{card}/access-configs/0/external-ip", f"{card}/ip"):
                if found := trio.run(metadata.read, path):
                    return found
        return ""
