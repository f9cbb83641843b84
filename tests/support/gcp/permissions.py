"""The IAM permissions that each method needs, by Google's reference of Compute Engine's methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

READS = {
    "aggregatedList": "list",
    "wait": "get",
}
"""Methods that need the permission of another one."""


def permissions_of(gce: Gce, call: Call) -> Iterator[tuple[str, str]]:
    """Yield what a call needs: a permission, and the path of what it is needed for."""
    resource, _, method = call.method.partition(".")
    place = _place(gce, call)
    if resource in ("instances", "regionInstances") and method in ("insert", "bulkInsert"):
        yield from _of_insert(gce, call, place)
        return
    name = call.parameters.get(resource.removesuffix("s"), "")
    path = f"{place}/{resource}/{name}".rstrip("/") if method != "list" else place
    if resource in ("projects", "zones", "regions"):
        path = place
    yield f"compute.{resource}.{_verb(method)}", path
    if resource == "firewalls" and method in ("insert", "patch", "delete"):
        network = f"projects/{gce.project}/global/networks/default"
        yield "compute.networks.updatePolicy", network


def _verb(method: str) -> str:
    known = {**READS, "insert": "create", "patch": "update"}
    return known.get(method, method)


def _place(gce: Gce, call: Call) -> str:
    project = f"projects/{call.parameters.get('project', gce.project)}"
    if call.zone:
        return f"{project}/zones/{call.zone}"
    if call.region:
        return f"{project}/regions/{call.region}"
    return project if call.method.split(".")[0] in ("projects",) else f"{project}/global"


def _of_insert(gce: Gce, call: Call, place: str) -> Iterator[tuple[str, str]]:
    """Yield what an instance needs ("Create a VM", Required permissions)."""
    properties = call.body.get("instanceProperties", call.body)
    name = call.body.get("name") or next(iter(call.body.get("perInstanceProperties", {"x": {}})))
    path = f"{place}/instances/{name}"
    yield "compute.instances.create", path
    for key, permission in {
        "labels": "compute.instances.setLabels",
        "metadata": "compute.instances.setMetadata",
        "tags": "compute.instances.setTags",
        "serviceAccounts": "compute.instances.setServiceAccount",
    }.items():
        if properties.get(key):
            yield permission, path
    for disk in properties.get("disks", ()):
        params = disk.get("initializeParams", {})
        yield "compute.disks.create", f"{place}/disks/{name}"
        if params.get("labels"):
            yield "compute.disks.setLabels", f"{place}/disks/{name}"
        if f"projects/{gce.project}/" in params.get("sourceImage", ""):
            yield "compute.images.useReadOnly", gce.relative(params["sourceImage"])
    for nic in properties.get("networkInterfaces", ()):
        yield from _of_nic(gce, nic)


def _of_nic(gce: Gce, nic: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    subnetwork = gce.relative(nic.get("subnetwork", nic.get("network", "global/networks/default")))
    path = f"projects/{gce.project}/{subnetwork}"
    yield "compute.subnetworks.use", path
    if nic.get("accessConfigs"):
        yield "compute.subnetworks.useExternalIp", path
