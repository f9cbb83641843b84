"""The EBS volumes of a data disk: how many and how large they may be, and their device names."""

from __future__ import annotations

MAX_DATA_VOLUMES = 11
"""The most volumes that a data disk is striped over.

AWS recommends this many device names for EBS volumes ("Device names for volumes on Amazon EC2
instances"), and all instance types support as many ("Amazon EBS volume limits": the lowest limit,
28, is shared with network interfaces and instance store). More than 8 gain little, it says there.
"""
MAX_GIB = 65536
"""The largest gp3 volume, by the API reference's EbsBlockDevice."""

_FIRST_LETTER = "f"  # /dev/sdf to /dev/sdp


def data_names(count: int) -> tuple[str, ...]:
    """Return the device names of a data disk's volumes."""
    return tuple(f"/dev/sd{chr(ord(_FIRST_LETTER) + index)}" for index in range(count))
