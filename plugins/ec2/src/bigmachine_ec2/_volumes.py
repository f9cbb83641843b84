"""An instance's disks: its root disk, and the volumes of its data disk."""

from __future__ import annotations

from typing import Any

MAX_DATA_VOLUMES = 11
"""The most volumes that a data disk is striped over.

AWS recommends this many device names for EBS volumes ("Device names for volumes on Amazon EC2
instances"), and all instance types support as many ("Amazon EBS volume limits": the lowest limit,
28, is shared with network interfaces and instance store). More than 8 gain little, it says there.
"""
MAX_GIB = 65536
"""The largest gp3 volume, by the API reference's EbsBlockDevice."""

_VOLUME_TYPE = "gp3"
_FIRST_LETTER = "f"  # /dev/sdf to /dev/sdp


def data_names(count: int) -> tuple[str, ...]:
    """Return the device names of a data disk's volumes."""
    return tuple(f"/dev/sd{chr(ord(_FIRST_LETTER) + index)}" for index in range(count))


def block_devices(
    root_device: str, *, disk: int, data_disk: int, data_volumes: int
) -> list[dict[str, Any]]:
    """Return the BlockDeviceMappings of an instance.

    ``disk`` and ``data_disk`` are sizes in GiB; 0 is no data disk. Its volumes have one size, and
    together at least ``data_disk``.
    """
    sizes = {root_device: disk}
    if data_disk:
        sizes.update(dict.fromkeys(data_names(data_volumes), -(-data_disk // data_volumes)))
    return [
        {
            "DeviceName": name,
            "Ebs": {"VolumeSize": size, "VolumeType": _VOLUME_TYPE, "DeleteOnTermination": True},
        }
        for name, size in sizes.items()
    ]
