"""What a VM does by itself before it serves: logging in by ssh, disks, files and units."""

from ._commands import GuestError as GuestError
from ._empty_disk import empty_disk as empty_disk
from ._guest_setup import GuestSetup as GuestSetup
from ._nvme import NvmeDisk as NvmeDisk
from ._nvme import nvme_disks as nvme_disks
from ._public_keys import read_public_keys as read_public_keys
