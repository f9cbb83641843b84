"""A machine's setup before it serves: what is particular to EC2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bigmachine.cloud import GuestSetup

from ..options._options import Ec2Options
from ..options._volumes import data_names
from ._notices import Metadata


class Ec2GuestSetup(GuestSetup):
    """A machine's setup, which finds EBS volumes and instance store by their NVMe identity."""

    __slots__ = ()

    def attached_volumes(self) -> Mapping[str, str]:
        """Return the block devices of those EBS volumes that are attached, by device name."""
        from ._disks import find_volumes

        return find_volumes(self.volumes)

    def find_local_disks(self) -> Sequence[str]:
        """Return the machine's local NVMe disks."""
        from ._disks import find_local_disks

        return find_local_disks()

    async def find_address(self, metadata_url: str) -> str:
        """Return this machine's address, the public one if it has one."""
        metadata = Metadata(metadata_url)
        found = await metadata.read("public-ipv4") or await metadata.read("local-ipv4") or b""
        return found.decode("ascii", "replace")


def read_guest_setup(o: Ec2Options) -> Ec2GuestSetup:
    """Read the files that the options name. Raises `UsageError` for one that can't be read."""
    volumes = data_names(o.data_volumes) if o.data_disk else ()
    return Ec2GuestSetup.from_options(o, volumes=volumes)
