"""What Azure answers of a VM: its document, and its instance view."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm
    from tests.support.azure.images import Source
    from tests.support.azure.sizes import Size

POWER_WORDS = {
    "starting": "VM starting",
    "running": "VM running",
    "stopping": "VM stopping",
    "stopped": "VM stopped",
    "deallocating": "VM deallocating",
    "deallocated": "VM deallocated",
}


def complete(arm: Arm, vm: dict[str, Any], size: Size, source: Source) -> None:
    """Fill in what a new VM has that was not sent; take out what is never answered."""
    of = vm["properties"]
    of["vmId"] = arm.new_guid()
    of["timeCreated"] = arm.timeline.timestamp()
    of["hardwareProfile"]["vmSize"] = size.name
    storage = of["storageProfile"]
    if source.version:
        storage["imageReference"]["exactVersion"] = source.version
    storage.setdefault("diskControllerType", size.disk_controllers[0])
    disk = storage.setdefault("osDisk", {})
    disk.setdefault("name", f"{vm['name']}_OsDisk_1_{arm.new_guid().replace('-', '')}")
    disk.setdefault("osType", source.os)
    disk.setdefault("createOption", "FromImage")
    disk.setdefault("caching", "ReadWrite")
    disk.setdefault("deleteOption", "Detach")
    disk.setdefault("managedDisk", {}).setdefault("storageAccountType", "Standard_LRS")
    disk.setdefault("diskSizeGB", source.size)
    for number, data in enumerate(storage.setdefault("dataDisks", []), 2):
        data.setdefault("name", f"{vm['name']}_disk{number}_{arm.new_guid().replace('-', '')}")
        data.setdefault("caching", "None")
        data.setdefault("deleteOption", "Detach")
        data.setdefault("toBeDetached", False)
        data.setdefault("managedDisk", {}).setdefault("storageAccountType", "Standard_LRS")
    profile = of["osProfile"]
    for secret in ("customData", "adminPassword"):
        profile.pop(secret, None)
    profile.setdefault("secrets", [])
    profile.setdefault("allowExtensionOperations", True)
    profile.setdefault("requireGuestProvisionSignal", True)
    of.pop("userData", None)
    network = of["networkProfile"]
    network.pop("networkInterfaceConfigurations", None)
    network.pop("networkApiVersion", None)
    for id in (identity := vm.get("identity", {})).get("userAssignedIdentities", {}):
        known = arm.resources.find(id)
        ids = known["properties"] if known else {}
        identity["userAssignedIdentities"][id] = {
            key: ids.get(key, "") for key in ("principalId", "clientId")
        }


def instance_view(
    vm: Mapping[str, Any],
    *,
    power: str,
    failure: ArmError | None,
    generation: str,
    now: str,
) -> dict[str, Any]:
    """Return how a VM is; ``power`` is "" where Azure does not know."""
    of = vm["properties"]
    state = str(of["provisioningState"])
    provisioning = {
        "code": f"ProvisioningState/{state.lower()}",
        "level": "Info",
        "displayStatus": f"Provisioning {state.lower()}",
        "time": now,
    }
    if state == "Creating":
        provisioning["displayStatus"] = "Creating"
    if state == "Failed" and failure:
        provisioning["code"] += f"/{failure.code}"
        provisioning |= {"level": "Error", "message": failure.message}
    statuses = [provisioning]
    if power:
        code = f"PowerState/{power}"
        statuses.append({"code": code, "level": "Info", "displayStatus": POWER_WORDS[power]})
    disks = [of["storageProfile"]["osDisk"], *of["storageProfile"]["dataDisks"]]
    view: dict[str, Any] = {
        "hyperVGeneration": generation,
        "disks": [
            {"name": disk["name"], "statuses": [dict(provisioning)]}
            for disk in disks
            if "id" in disk["managedDisk"]
        ],
        "statuses": statuses,
    }
    if power == "running" and state == "Succeeded":
        view["computerName"] = of["osProfile"]["computerName"]
        view["vmAgent"] = {
            "vmAgentVersion": "2.15.0.1",
            "statuses": [
                {
                    "code": "ProvisioningState/succeeded",
                    "level": "Info",
                    "displayStatus": "Ready",
                    "message": "Guest Agent is running",
                    "time": now,
                }
            ],
            "extensionHandlers": [],
        }
    if of.get("diagnosticsProfile", {}).get("bootDiagnostics", {}).get("enabled"):
        view["bootDiagnostics"] = {}  # of managed storage; its URIs are asked for
    return view


def bare(vm: Mapping[str, Any]) -> dict[str, Any]:
    """Return the least that an answer to ``statusOnly`` may have."""
    kept = {key: vm[key] for key in ("id", "name", "type", "location")}
    properties = {key: vm["properties"][key] for key in ("vmId", "provisioningState")}
    return copy.deepcopy({**kept, "properties": properties})
