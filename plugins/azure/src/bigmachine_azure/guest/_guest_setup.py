"""A machine's setup before it serves: what is particular to Azure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bigmachine.cloud import GuestSetup, empty_disk

from ..options._options import AzureOptions
from ._login import SSH_USER
from ._metadata import Metadata

_PRIVATE = "network/interface/0/ipv4/ipAddress/0/privateIpAddress"


def data_units(count: int) -> tuple[str, ...]:
    """Return the logical unit numbers that a data disk's volumes are attached under."""
    return tuple(map(str, range(count)))


def guest_setup(o: AzureOptions) -> AzureGuestSetup:
    """Read the files that the options name. Raises `UsageError` for one that can't be read."""
    volumes = data_units(o.data_volumes) if o.data_disk else ()
    return AzureGuestSetup.from_options(o, volumes=volumes)


class AzureGuestSetup(GuestSetup):
    """A machine's setup, which finds data disks by their logical unit numbers."""

    __slots__ = ()

    def prepare_disks(self, *, deadline: float) -> None:
        """Wait for cloud-init, which mounts the temporary disk, and take that back if wanted."""
        from . import _disks

        _disks.await_cloud_init(deadline=deadline)
        if self.local_disks:
            for device in _disks.find_local_disks():
                empty_disk(device, deadline=deadline)

    def attached_volumes(self) -> Mapping[str, str]:
        """Return the block devices of those data disks that are attached, by unit number."""
        from ._disks import find_volumes

        return find_volumes(self.volumes)

    def find_local_disks(self) -> Sequence[str]:
        """Return the machine's temporary disks."""
        from ._disks import find_local_disks

        return find_local_disks()

    def allow_login(self) -> str:
        """Return the user that cloud-init makes, as the VM's ``osProfile`` has it."""
        return SSH_USER

    async def find_address(self, metadata_url: str) -> str:
        """Return this machine's address, the public one if it has one."""
        metadata = Metadata(metadata_url)
        return await metadata.public_address() or await metadata.read(_PRIVATE) or ""
