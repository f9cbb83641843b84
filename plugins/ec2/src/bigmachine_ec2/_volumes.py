"""An instance's EBS volumes: its root disk, its data disk, and other disks of its image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._image import Image
    from ._options import Ec2Options

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


def block_devices(image: Image, o: Ec2Options) -> list[dict[str, Any]]:
    """Return the BlockDeviceMappings of an instance.

    The volumes of the data disk have one size, and together at least ``o.data_disk`` GiB. All
    disks end with the instance, and all are encrypted if one is: an attribute that is not named
    here is that of the image's own mapping ("Block device mappings for volumes on Amazon EC2
    instances"). ``Encrypted`` is never False, which an account that encrypts by default refuses.
    """
    sizes = {image.root_device: o.disk}
    if o.data_disk:
        size = -(-o.data_disk // o.data_volumes)
        sizes.update(dict.fromkeys(data_names(o.data_volumes), size))
    volumes: dict[str, dict[str, Any]] = {
        name: {"VolumeSize": size, "VolumeType": _VOLUME_TYPE} for name, size in sizes.items()
    }
    for name, size in image.more_disks:
        volumes.setdefault(name, {"VolumeSize": size})
    common: dict[str, Any] = {"DeleteOnTermination": True}
    if o.encrypts_disks:
        common["Encrypted"] = True
    if o.kms_key:
        common["KmsKeyId"] = o.kms_key
    return [{"DeviceName": name, "Ebs": {**volumes[name], **common}} for name in volumes]
