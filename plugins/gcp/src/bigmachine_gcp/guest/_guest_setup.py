"""A machine's setup before it serves: what is particular to Google Compute Engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bigmachine.cloud import GuestSetup

from ..options._options import GcpOptions
from ._metadata import Metadata
from ._user_data import SSH_USER


def data_names(count: int) -> tuple[str, ...]:
    """Return the device names of a data disk's volumes."""
    return tuple(f"data-{index}" for index in range(count))


def guest_setup(o: GcpOptions) -> GcpGuestSetup:
    """Read the files that the options name. Raises `UsageError` for one that can't be read."""
    volumes = data_names(o.data_volumes) if o.data_disk else ()
    return GcpGuestSetup.from_options(o, volumes=volumes)


class GcpGuestSetup(GuestSetup):
    """A machine's setup, which finds disks by the names that they are attached under."""

    __slots__ = ()

    def attached_volumes(self) -> Mapping[str, str]:
        """Return the block devices of those disks that are attached, by device name."""
        from ._disks import find_volumes

        return find_volumes(self.volumes)

    def find_local_disks(self) -> Sequence[str]:
        """Return the machine's local SSDs, in order."""
        from ._disks import find_local_disks

        return find_local_disks()

    def allow_login(self) -> str:
        """Return the user that Google's guest agent makes, by the instance's metadata."""
        return SSH_USER

    async def find_address(self, metadata_url: str) -> str:
        """Return this machine's address, the external one if it has one."""
        card = "instance/network-interfaces/0"
        metadata = Metadata(metadata_url)
        external = await metadata.read(f"{card}/access-configs/0/external-ip")
        return external or await metadata.read(f"{card}/ip") or ""
