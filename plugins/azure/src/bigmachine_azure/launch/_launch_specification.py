"""What VMs are launched with, and the bodies of the requests that create them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..guest._login import SSH_USER
from ..options import _tags
from ..options._options import AzureOptions
from ..plan._offers import Offer

_NETWORK_API_VERSION = "2022-11-01"
"""Of the interface and the address in a VM's body: the newest that Compute takes (its model)."""
_IDLE_MINUTES = 30
"""After which an address drops a connection without traffic: the most; 4 by default."""


@dataclass(frozen=True, slots=True)
class LaunchSpecification:
    """What all VMs of one start have in common.

    ``subnet``, ``security_group`` and ``identity`` are resource IDs; ``identity`` is "" for none.
    ``tags`` are the session's, ``custom_data`` is what cloud-init runs, in base64, and ``keys``
    are the public keys of those who may log in: see `login_keys`.
    """

    options: AzureOptions
    subnet: str
    security_group: str
    tags: Mapping[str, str]
    custom_data: str
    keys: Sequence[str]
    identity: str = ""

    def body(self, offer: Offer, name: str, machine: str, *, token: str) -> dict[str, Any]:
        """Return the body of the PUT that creates a VM with its interface, address and disks.

        ``name`` is the VM's, and ``machine`` its machine's full name. All is tagged, also with
        ``token``, to be found again; only disks have no tags in this request, but names that begin
        with the VM's. All goes with the VM: by default, disks would stay.
        """
        tags = _tags.machine_tags(self.tags, machine, token)
        body: dict[str, Any] = {
            "location": offer.location,
            "tags": tags,
            "properties": {
                "hardwareProfile": {"vmSize": offer.type_name},
                "storageProfile": self._storage(offer),
                "osProfile": self._os(name),
                "networkProfile": self._network(name, tags),
                "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
                **self._market(offer),
            },
        }
        if offer.zone:
            body["zones"] = [offer.zone]
        if self.identity:
            body["identity"] = {
                "type": "UserAssigned",
                "userAssignedIdentities": {self.identity: {}},
            }
        if offer.image.plan:
            body["plan"] = offer.image.plan.body
        if offer.image.needs_trusted_launch:
            body["properties"]["securityProfile"] = {
                "securityType": "TrustedLaunch",
                "uefiSettings": {"vTpmEnabled": True},
            }
        return body

    def _market(self, offer: Offer) -> dict[str, Any]:
        if offer.market != "spot":
            return {"priority": "Regular"}  # an eviction policy would be an error
        # By default, an evicted VM is deallocated: its disk costs, and it counts in the quota.
        return {
            "priority": "Spot",
            "evictionPolicy": "Delete",
            "billingProfile": {"maxPrice": max_price(self.options)},
        }

    def _storage(self, offer: Offer) -> dict[str, Any]:
        o = self.options
        managed = {"storageAccountType": offer.disk_type}
        size = math.ceil(o.data_disk / o.data_volumes) if o.data_disk else 0
        profile: dict[str, Any] = {
            "imageReference": offer.image.reference,
            "osDisk": {
                "createOption": "FromImage",
                "deleteOption": "Delete",
                "diskSizeGB": o.disk,
                "managedDisk": managed,
                "caching": "ReadWrite",
            },
            "dataDisks": [
                {
                    "lun": lun,
                    "createOption": "Empty",
                    "deleteOption": "Delete",
                    "diskSizeGB": size,
                    "managedDisk": managed,
                    "caching": "None",  # all types take that
                }
                for lun in range(o.data_volumes if o.data_disk else 0)
            ],
        }
        if offer.disk_controller:
            profile["diskControllerType"] = offer.disk_controller
        return profile

    def _os(self, name: str) -> dict[str, Any]:
        path = f"/home/{SSH_USER}/.ssh/authorized_keys"
        return {
            "computerName": name,
            "adminUsername": SSH_USER,
            "customData": self.custom_data,
            "linuxConfiguration": {
                "disablePasswordAuthentication": True,
                "ssh": {"publicKeys": [{"path": path, "keyData": key} for key in self.keys]},
            },
        }

    def _network(self, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
        """Return the interface, and the address, which Azure creates with the VM.

        A zonal VM can have an address without zones, not one of another zone.
        """
        configuration: dict[str, Any] = {"primary": True, "subnet": {"id": self.subnet}}
        if self.options.public_address:
            configuration["publicIPAddressConfiguration"] = {
                "name": name,
                "tags": dict(tags),
                # Those of the SKU Basic can't be made any more (skypilot issue 7977).
                "sku": {"name": "Standard", "tier": "Regional"},
                "properties": {
                    "deleteOption": "Delete",
                    "publicIPAllocationMethod": "Static",
                    "idleTimeoutInMinutes": _IDLE_MINUTES,
                },
            }
        interface = {
            "name": name,
            "tags": dict(tags),
            "properties": {
                "primary": True,
                "deleteOption": "Delete",
                "networkSecurityGroup": {"id": self.security_group},
                "ipConfigurations": [{"name": name, "properties": configuration}],
            },
        }
        return {
            "networkApiVersion": _NETWORK_API_VERSION,
            "networkInterfaceConfigurations": [interface],
        }


def max_price(o: AzureOptions) -> float:
    """Return the ``maxPrice`` of spot VMs: at most what the option says, or -1 for no limit.

    Azure takes up to five decimals ("Azure Spot Virtual Machines", "Pricing").
    """
    if o.max_price is None:
        return -1
    return max(math.floor(o.max_price * 1e5), 1) / 1e5
