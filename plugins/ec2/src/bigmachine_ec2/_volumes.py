"""The disks that an instance is bought with: its root disk, and the volumes of its data disk."""

from __future__ import annotations

from typing import Any

MOST_DATA_VOLUMES = 11
"""How many volumes a data disk is striped over at most.

So many names AWS recommends for EBS volumes ("Device names for volumes on Amazon EC2 instances"),
and all instance types take as many ("Amazon EBS volume limits": the fewest, 28, are shared with
network cards and instance store). More than 8 bring little, it says there.
"""
MOST_GIB = 65536
"""The largest gp3 volume, by the API reference's EbsBlockDevice."""

_VOLUME_TYPE = "gp3"
_FIRST_LETTER = "f"  # /dev/sdf to /dev/sdp


def data_names(count: int) -> tuple[str, ...]:
    """Return the device names under which a data disk's volumes are attached."""
    return tuple(f"/dev/sd{chr(ord(_FIRST_LETTER) + index)}" for index in range(count))


def block_devices(
    root_device: str, *, disk: int, data_disk: int, data_volumes: int
) -> list[dict[str, Any]]:
    """Return the BlockDeviceMappings of an instance.

    ``disk`` and ``data_disk`` are sizes in GiB; there is no data disk of size 0. Its volumes are
    of one size, together at least ``data_disk``.
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
