"""What Compute Engine checks of a new instance before it begins an operation."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.support.gcp.catalog import (
    DISK_TYPES,
    GPUS,
    SERIES_WITHOUT_SPOT,
    WITHOUT_HYPERDISK,
    WITHOUT_ON_DEMAND,
    WITHOUT_PD,
    WITHOUT_STANDARD_PD,
    MachineType,
)
from tests.support.gcp.errors import GceError, invalid, not_found

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

MOST_METADATA_VALUE, MOST_METADATA = 256 * 1024, 512 * 1024


def check_instance(gce: Gce, zone: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an instance to make, with what Google fills in; raises `GceError` as Google does."""
    given = copy.deepcopy(dict(body))
    machine_type = _machine_type(gce, zone, given)
    if not given.get("disks"):
        raise GceError(400, "required", "Required field 'resource.disks' not specified")
    boots = [disk.get("boot", False) for disk in given["disks"]]
    if boots != [True, *(False for _ in boots[1:])]:
        raise invalid(
            "resource.disks[0].boot", boots[0], "Exactly the first disk must be the boot disk."
        )
    for index, disk in enumerate(given["disks"]):
        _check_disk(gce, zone, machine_type, disk, f"resource.disks[{index}]")
    given["networkInterfaces"] = given.get("networkInterfaces") or [
        {"network": "global/networks/default"}
    ]
    for index, nic in enumerate(given["networkInterfaces"]):
        _check_nic(gce, zone, nic, f"resource.networkInterfaces[{index}]")
    _check_gpus(zone, machine_type, given)
    _check_scheduling(machine_type, given)
    _check_metadata(given)
    return given


def _machine_type(gce: Gce, zone: str, given: dict[str, Any]) -> MachineType:
    link = given.get("machineType", "")
    field = "resource.machineType"
    if not link:
        raise GceError(400, "required", f"Required field '{field}' not specified")
    parts = gce.relative(link).split("/")
    if len(parts) != 4 or (parts[0], parts[2]) != ("zones", "machineTypes"):
        why = "The URL is malformed."
        raise invalid(field, link, why)
    if parts[1] != zone:
        raise invalid(field, link, f"Machine type must be in the zone of the instance, '{zone}'.")
    if not gce.catalog.offers(parts[3], zone):
        why = f"Machine type with name '{parts[3]}' does not exist in zone '{zone}'."
        raise invalid(field, link, why)
    return gce.catalog.machine_types[parts[3]]


def _check_disk(
    gce: Gce, zone: str, machine_type: MachineType, disk: dict[str, Any], field: str
) -> None:
    params = disk.setdefault("initializeParams", {})
    kind = params.get("diskType", "")
    name = kind.rpartition("/")[2] or _default_disk_type(machine_type)
    if name not in DISK_TYPES or (kind and "/" not in kind):
        why = (
            "The URL is malformed."
            if "/" not in kind
            else "The referenced resource does not exist."
        )
        raise invalid(f"{field}.initializeParams.diskType", kind, why)
    params["diskType"] = f"zones/{zone}/diskTypes/{name}"
    is_local = disk.get("type") == "SCRATCH"
    if is_local != (name == "local-ssd"):
        raise invalid(f"{field}.type", disk.get("type", ""), "Local SSDs must be of type SCRATCH.")
    without = WITHOUT_PD if name.startswith("pd-") else WITHOUT_HYPERDISK
    if name == "pd-standard":
        without += WITHOUT_STANDARD_PD
    if not is_local and name.startswith(("pd-", "hyperdisk-")) and machine_type.series in without:
        # Both words are Google's: DataBiosphere/dsub#301, rancher/harvester-cloud#249.
        text = f"[{name}, {machine_type.name}] features are not compatible for creating instance."
        if name.startswith("hyperdisk-"):
            text = f"{name} disk type cannot be used by {machine_type.name} machine type."
        raise GceError(400, "badRequest", text)
    if is_local:
        if "labels" in params:  # taskcluster/taskcluster#6958
            raise invalid(f"{field}.initializeParams.labels", "…", "Local SSDs have no labels.")
        return
    size = int(disk.get("diskSizeGb") or params.get("diskSizeGb") or 0)
    if size and not DISK_TYPES[name].least <= size <= DISK_TYPES[name].most:
        raise invalid(
            f"{field}.initializeParams.diskSizeGb",
            size,
            f"Disk size must be between {DISK_TYPES[name].least} GB and "
            f"{DISK_TYPES[name].most} GB, inclusive.",
        )
    if "sourceImage" in params:
        _check_image(gce, machine_type, params, size, field)
    elif disk.get("boot"):
        raise invalid(field, "", "Boot disk must have a source specified")


def _check_image(
    gce: Gce, machine_type: MachineType, params: dict[str, Any], size: int, field: str
) -> None:
    image = gce.images.find(params["sourceImage"])
    name = f"{field}.initializeParams.sourceImage"
    if image is None or image.deprecated in ("OBSOLETE", "DELETED"):
        why = "The referenced image resource cannot be found."
        raise invalid(name, params["sourceImage"], why)
    if image.status != "READY":
        raise GceError(400, "resourceNotReady", f"The resource '{image.path}' is not ready")
    if size and size < image.size:
        raise invalid(
            f"{field}.initializeParams.diskSizeGb",
            size,
            f"Requested disk size cannot be smaller than the image size ({image.size} GB)",
        )
    if image.architecture and image.architecture != machine_type.architecture:
        # related-sciences/gce-github-runner#46, kubermatic/machine-controller#1520
        text = (
            f"Invalid resource usage: 'Requested boot disk architecture ({image.architecture}) is "
            f"not compatible with machine type architecture ({machine_type.architecture}).'."
        )
        raise GceError(400, "invalidResourceUsage", text)
    params["sourceImage"] = gce.link_of(image.path)


def _default_disk_type(machine_type: MachineType) -> str:
    """Return what Google takes where nothing is said, by the document's ``diskType``."""
    if machine_type.series in (*WITHOUT_STANDARD_PD, "m3"):
        return "pd-balanced"
    return "hyperdisk-balanced" if machine_type.series in WITHOUT_PD else "pd-standard"


def _check_nic(gce: Gce, zone: str, nic: dict[str, Any], field: str) -> None:
    region = zone.rpartition("-")[0]
    if "subnetwork" in nic:
        parts = gce.relative(nic["subnetwork"]).split("/")
        project = ""
        if parts[0] == "projects":  # of a Shared VPC
            project, parts = parts[1], parts[2:]
        if len(parts) != 4 or parts[0] != "regions":
            raise invalid(f"{field}.subnetwork", nic["subnetwork"], "The URL is malformed.")
        if parts[1] != region:
            why = f"The subnetwork must be in the region of the instance, '{region}'."
            raise invalid(f"{field}.subnetwork", nic["subnetwork"], why)
        found = gce.networks.find_subnetwork(region, parts[3], project=project)
        if found is None:
            raise invalid(
                f"{field}.subnetwork",
                nic["subnetwork"],
                "The referenced subnetwork resource cannot be found.",
            )
    else:
        path = gce.relative(nic.setdefault("network", "global/networks/default"))
        name = gce.networks.find(path)
        if not name:
            raise not_found(f"projects/{gce.project}/{path}")
        found = gce.networks.of_network(name, region)
        if found is None or gce.networks.modes[name] != "auto":
            why = "Subnetwork should be specified for custom subnetmode network"
            raise invalid(field, nic, why)
    nic["subnetwork"] = gce.networks.link_of_subnetwork(found)


def _check_gpus(zone: str, machine_type: MachineType, given: dict[str, Any]) -> None:
    cards = given.get("guestAccelerators", ())
    for index, card in enumerate(cards):
        name = card["acceleratorType"].rpartition("/")[2]
        field = f"resource.guestAccelerators[{index}].acceleratorType"
        if name not in GPUS or zone not in GPUS[name].zones:
            why = "The referenced resource does not exist."
            raise invalid(field, card["acceleratorType"], why)
        is_its_own = machine_type.gpu == (name, card["acceleratorCount"])
        if machine_type.series != "n1" and not is_its_own:
            text = (
                f"[{machine_type.name}, {name}] features are not compatible for creating instance."
            )
            raise GceError(400, "badRequest", text)
    maintenance = given.get("scheduling", {}).get("onHostMaintenance", "MIGRATE")
    if (cards or machine_type.gpu) and maintenance != "TERMINATE":
        text = "Instances with guest accelerators do not support live migration."
        raise GceError(400, "badRequest", text)


def _check_scheduling(machine_type: MachineType, given: dict[str, Any]) -> None:
    scheduling = given.get("scheduling", {})
    is_spot = scheduling.get("provisioningModel") == "SPOT"
    has_end = "maxRunDuration" in scheduling or "terminationTime" in scheduling
    field = "resource.scheduling"
    if is_spot and scheduling.get("automaticRestart"):
        why = "Scheduling must have preemptible be false when AutomaticRestart is true."
        raise invalid(f"{field}.preemptible", "true", why)
    if is_spot and scheduling.get("onHostMaintenance", "TERMINATE") == "MIGRATE":
        why = "Scheduling must have preemptible be false when OnHostMaintenance isn't TERMINATE."
        raise invalid(f"{field}.preemptible", "true", why)
    if machine_type.name in WITHOUT_ON_DEMAND and not is_spot:  # Google's words are not known
        text = f"{machine_type.name} does not support the STANDARD provisioning model."
        raise GceError(400, "badRequest", text)
    is_metal = machine_type.name.endswith("-metal")
    if (is_metal or machine_type.series in SERIES_WITHOUT_SPOT) and is_spot:  # nor here
        text = f"{machine_type.name} does not support the SPOT provisioning model."
        raise GceError(400, "badRequest", text)
    ends = scheduling.get("onHostMaintenance") == "TERMINATE"
    if machine_type.series == "e2" and ends and not is_spot:
        raise GceError(  # chainguard-dev/terraform-infra-common#935
            400,
            "badRequest",
            "e2 instances do not support onHostMaintenance=TERMINATE unless they are preemptible.",
        )
    action = scheduling.get("instanceTerminationAction")
    if action and not is_spot and not has_end:
        why = (
            "You cannot specify a termination action for a VM instance that has the standard "
            "provisioning model (default). To use instance termination action, the VM instance "
            "must use the spot provisioning model."
        )
        raise invalid(f"{field}.instanceTerminationAction", action, why)
    if "maxRunDuration" in scheduling:
        seconds = int(scheduling["maxRunDuration"].get("seconds", 0))
        if not 30 <= seconds <= 120 * 86400:
            why = "Must be between 30 seconds and 120 days."
            raise invalid(f"{field}.maxRunDuration", seconds, why)
        if "terminationTime" in scheduling:
            why = "Only one of maxRunDuration and terminationTime can be given."
            raise invalid(f"{field}.maxRunDuration", seconds, why)
        if not action:
            why = "Must be given with maxRunDuration."
            raise invalid(f"{field}.instanceTerminationAction", "", why)


def _check_metadata(given: dict[str, Any]) -> None:
    total = 0
    keys = set()
    for index, item in enumerate(given.get("metadata", {}).get("items", ())):
        field = f"resource.metadata.items[{index}]"
        size = len(item.get("value", "").encode())
        total += size + len(item["key"])
        if item["key"] in keys:
            raise invalid(f"{field}.key", item["key"], "Metadata has duplicate keys.")
        keys.add(item["key"])
        if size > MOST_METADATA_VALUE:
            why = f"Metadata value must be at most {MOST_METADATA_VALUE} bytes."
            raise invalid(f"{field}.value", item["value"][:20], why)
    if total > MOST_METADATA:
        why = f"Metadata must be at most {MOST_METADATA} bytes in all."
        raise invalid("resource.metadata", total, why)
