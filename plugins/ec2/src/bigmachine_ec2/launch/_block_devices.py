"""An instance's EBS volumes: its root disk, its data disk, and other disks of its image."""

from __future__ import annotations

from typing import Any

from ..catalog._images import Image
from ..options._options import Ec2Options
from ..options._volumes import data_names

_VOLUME_TYPE = "gp3"


def block_devices(image: Image, o: Ec2Options) -> list[dict[str, Any]]:
    """Return the BlockDeviceMappings of an instance.

    The volumes of the data disk have one size, and together at least ``o.data_disk`` GiB. All
    disks end with the instance. What is not named here is as in the image's own mapping, such as
    the snapshot ("Block device mappings for volumes on Amazon EC2 instances"; Karpenter encrypts
    the second disk of an image in this way, by its pull request 1410). ``Encrypted`` is True or
    left out, so that the defaults of the account and the image apply.
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
