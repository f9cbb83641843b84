"""The document of a new instance: what was asked for, with Google's defaults and additions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

FINGERPRINT = "42WmSpB8rSM="


def new_document(gce: Gce, zone: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of an instance that is being provisioned; ``body`` is a checked one."""
    given = copy.deepcopy(dict(body))
    name = given["name"]
    machine_type = given["machineType"].rpartition("/")[2]
    region = zone.rpartition("-")[0]
    document: dict[str, Any] = {
        "canIpForward": False,
        "deletionProtection": False,
        **given,
        "kind": "compute#instance",
        "id": gce.new_id(),
        "creationTimestamp": gce.timeline.timestamp(),
        "machineType": gce.link(f"zones/{zone}/machineTypes/{machine_type}"),
        "status": "PROVISIONING",
        "zone": gce.link(f"zones/{zone}"),
        "selfLink": gce.link(f"zones/{zone}/instances/{name}"),
        "cpuPlatform": "Unknown CPU Platform",
        "fingerprint": FINGERPRINT,
        "labelFingerprint": FINGERPRINT,
        "startRestricted": False,
        "tags": {**given.get("tags", {}), "fingerprint": FINGERPRINT},
        "metadata": {
            **given.get("metadata", {}),
            "kind": "compute#metadata",
            "fingerprint": FINGERPRINT,
        },
        "scheduling": _scheduling(given),
        "networkInterfaces": [
            _nic(gce, region, index, nic) for index, nic in enumerate(given["networkInterfaces"])
        ],
        "disks": [_disk(gce, zone, index, disk) for index, disk in enumerate(given["disks"])],
    }
    if cards := given.get("guestAccelerators"):
        for card in cards:
            card["acceleratorType"] = gce.link(
                f"zones/{zone}/acceleratorTypes/{card['acceleratorType'].rpartition('/')[2]}"
            )
    return document


def _scheduling(given: Mapping[str, Any]) -> dict[str, Any]:
    scheduling = dict(given.get("scheduling", {}))
    model = scheduling.setdefault("provisioningModel", "STANDARD")
    is_spot = model == "SPOT"
    scheduling.setdefault("onHostMaintenance", "TERMINATE" if is_spot else "MIGRATE")
    scheduling.setdefault("automaticRestart", not is_spot)
    scheduling.setdefault("preemptible", is_spot)
    if is_spot:
        scheduling.setdefault("instanceTerminationAction", "STOP")
    return scheduling


def _nic(gce: Gce, region: str, index: int, given: Mapping[str, Any]) -> dict[str, Any]:
    subnetwork = gce.networks.find_subnetwork_of(given["subnetwork"])
    assert subnetwork is not None  # it is checked
    nic = {
        "kind": "compute#networkInterface",
        "name": f"nic{index}",
        "stackType": "IPV4_ONLY",
        "fingerprint": FINGERPRINT,
        **given,
        "network": gce.networks.link(subnetwork.network),
        "subnetwork": gce.networks.link_of_subnetwork(subnetwork),
        "networkIP": given.get("networkIP") or subnetwork.new_address(),
    }
    nic["accessConfigs"] = [
        {
            "kind": "compute#accessConfig",
            "name": "external-nat",
            "type": "ONE_TO_ONE_NAT",
            "networkTier": "PREMIUM",
            "natIP": gce.new_public_address(),
            **config,
        }
        for config in given.get("accessConfigs", ())
    ]
    if not nic["accessConfigs"]:
        del nic["accessConfigs"]
    return nic


def _disk(gce: Gce, zone: str, index: int, given: Mapping[str, Any]) -> dict[str, Any]:
    params = dict(given.get("initializeParams", {}))
    image = gce.images.find(params["sourceImage"]) if "sourceImage" in params else None
    size = given.get("diskSizeGb") or params.get("diskSizeGb") or str(image.size if image else 10)
    kind = given.get("type", "PERSISTENT")
    series = ""
    if kind == "SCRATCH":
        size = "375"
    disk: dict[str, Any] = {
        "kind": "compute#attachedDisk",
        "mode": "READ_WRITE",
        "interface": "SCSI",
        "boot": False,
        "autoDelete": False,
        "deviceName": f"local-ssd-{index}" if kind == "SCRATCH" else f"persistent-disk-{index}",
        **given,
        "type": kind,
        "index": index,
        "diskSizeGb": size,
        "initializeParams": {"diskType": f"pd-standard{series}", **params},
    }
    if image and image.architecture:
        disk["architecture"] = image.architecture
    return disk
