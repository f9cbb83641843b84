"""Parts of VMs without a VM, as a failed request or a forced deletion leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.support.azure.resources import Document

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

GROUP = "bigmachine-westeurope"
"""The resource group of sessions, by default."""

_PARTS: Mapping[str, Document] = {
    "Microsoft.Network/networkInterfaces": {"properties": {"ipConfigurations": []}},
    "Microsoft.Network/publicIPAddresses": {"properties": {}, "sku": {"name": "Standard"}},
    "Microsoft.Network/networkSecurityGroups": {"properties": {"securityRules": []}},
    "Microsoft.Compute/disks": {
        "properties": {"diskState": "Unattached", "diskSizeGB": 30},
        "sku": {"name": "StandardSSD_LRS"},
    },
}


def add_orphan(
    arm: Arm, type: str, name: str, *, tags: Mapping[str, str] | None = None, **properties: str
) -> Document:
    """Give Azure a resource that nothing uses; return its document."""
    if GROUP not in arm.groups.all:
        arm.groups.add(GROUP)
    part = _PARTS[type]
    document = {
        **part,
        "id": arm.id_in(GROUP, type, name),
        "name": name,
        "type": type,
        "location": arm.location,
        "properties": {**part["properties"], "provisioningState": "Succeeded", **properties},
        **({"tags": dict(tags)} if tags else {}),
    }
    return arm.resources.add(document)
