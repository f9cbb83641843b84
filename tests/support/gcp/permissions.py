"""The IAM permissions that each call needs, by Google's reference of Compute Engine's methods.

Each method's page says them under "IAM permissions"; those of launches are in "Create VMs in bulk"
under "Required permissions".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.gcp.calls import Call

ACT_AS = "iam.serviceAccounts.actAs"
"""Needed for the instances' service account: better granted on that account alone."""

_VERBS = {
    "aggregatedList": ("list",),
    "delete": ("delete",),
    "get": ("get",),
    "getFromFamily": ("getFromFamily",),
    "getSerialPortOutput": ("getSerialPortOutput",),
    "insert": ("create",),
    "list": ("list",),
    "patch": ("get", "update"),
    "stop": ("stop",),
    "wait": ("get",),
}
"""The last parts of the permissions of methods."""


def permissions_of(call: Call) -> Iterator[tuple[str, str]]:
    """Yield what a call needs: a permission, and the path of what it is needed for.

    Raises `LookupError` for a method of which it is not said here.
    """
    resource, _, method = call.method.rpartition(".")
    if resource.startswith(("cloudbilling", "cloudresourcemanager", "iam.")):
        return  # public prices, and the caller's own permissions
    if resource == "instances" and method == "insert":
        yield from _of_launch(call, call.body, str(call.body.get("name", "")))
        return
    if method == "bulkInsert":
        name = next(iter(call.body.get("perInstanceProperties", {})), "")
        yield from _of_launch(call, call.body.get("instanceProperties", {}), name)
        return
    if method not in _VERBS and not method.startswith(("get", "list")):
        raise LookupError(f"{call.method}: say in {__file__} which permissions it needs")
    path = _path(call, resource, method)
    for verb in _VERBS.get(method, (method,)):
        yield f"compute.{resource}.{verb}", path
    if resource == "firewalls" and method in ("delete", "insert", "patch"):
        network = call.body.get("network", "global/networks/default")
        yield "compute.networks.updatePolicy", f"projects/{call.project}/{_short(network)}"


def _path(call: Call, resource: str, method: str) -> str:
    """Return what is named in Google's answer to who may not call this."""
    if resource == "projects":
        return f"projects/{call.project}"
    place = _place(call)
    if resource in ("regions", "zones"):
        return place if method == "get" else f"projects/{call.project}"
    if method in ("aggregatedList", "list"):
        return f"projects/{call.project}" if place.endswith("/global") else place
    name = call.parameters.get(resource.removesuffix("s"), call.body.get("name", ""))
    return f"{place}/{resource}/{name}".rstrip("/")


def _place(call: Call) -> str:
    for kind, name in (("zones", call.zone), ("regions", call.region)):
        if name:
            return f"projects/{call.project}/{kind}/{name}"
    return f"projects/{call.project}/global"


def _of_launch(call: Call, properties: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    path = f"{_place(call)}/instances/{name}"
    yield "compute.instances.create", path
    for key, permission in (
        ("labels", "compute.instances.setLabels"),
        ("metadata", "compute.instances.setMetadata"),
        ("tags", "compute.instances.setTags"),
        ("serviceAccounts", "compute.instances.setServiceAccount"),
    ):
        if properties.get(key):
            yield permission, path
    for account in properties.get("serviceAccounts", ()):
        yield ACT_AS, f"projects/{call.project}/serviceAccounts/{account['email']}"
    disk_path = f"{_place(call)}/disks/{name}"
    for disk in properties.get("disks", ()):
        params = disk.get("initializeParams", {})
        yield "compute.disks.create", disk_path
        if params.get("labels"):
            yield "compute.disks.setLabels", disk_path
        image = _short(params.get("sourceImage", ""))
        if image.startswith((f"projects/{call.project}/", "global/")):
            yield "compute.images.useReadOnly", image
    for nic in properties.get("networkInterfaces", ()):
        link = _short(nic.get("subnetwork") or nic.get("network", "global/networks/default"))
        path = link if link.startswith("projects/") else f"projects/{call.project}/{link}"
        yield "compute.subnetworks.use", path
        if nic.get("accessConfigs"):
            yield "compute.subnetworks.useExternalIp", path


def _short(link: str) -> str:
    """Return a URL's path below ``/compute/v1/``."""
    return link.partition("/compute/v1/")[2] or link
