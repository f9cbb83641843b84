"""The actions of Azure RBAC that each call needs, by "Azure resource provider operations".

A read needs ``…/read``, a PUT or PATCH ``…/write``, and a POST ``…/NAME/action``. What a new VM
names it needs, too: to join a subnet and a security group, to assign an identity, to make
interfaces, addresses and disks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import Call

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

_VERBS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"
_JOINS = "Microsoft.Network/virtualNetworks/subnets/join/action"


def actions_of(arm: Arm, call: Call) -> Iterator[tuple[str, str]]:
    """Yield what a call needs: an action, and the id of what it is needed for."""
    if call.method == "operations.status":
        yield _of_operation(arm, call)
    own = _own_action(call)
    if own:
        yield own, call.path
    if call.verb != "PUT":
        return
    if call.method == "virtual_machines.create_or_update":
        yield from _of_vm(arm, call)
    elif call.method == "network_interfaces.create_or_update":
        for ip in call.body.get("properties", {}).get("ipConfigurations", ()):
            yield _JOINS, ip["properties"]["subnet"]["id"]


def _own_action(call: Call) -> str:
    if call.method.startswith("operations."):
        return ""  # see `_of_operation`
    if call.method.startswith(("permissions.", "subscriptions.")):
        return ""  # each sees its own
    verb = _VERBS.get(call.verb, "")
    _, found, rest = call.path.rpartition("/providers/")
    if not found:
        return f"{_GROUPS}/{verb}" if call.group else ""
    parts = rest.strip("/").split("/")
    if len(parts) == 1:  # a provider itself
        return f"Microsoft.Resources/subscriptions/providers/{verb}"
    if call.method == "providers.register":
        return f"{parts[0]}/register/action"
    if call.verb == "POST":
        return "/".join([parts[0], *parts[1:-1:2], parts[-1], "action"])
    if parts[-1] == "instanceView":
        return f"{parts[0]}/{parts[1]}/instanceView/read"
    return "/".join([parts[0], *parts[1::2], verb])


def _of_operation(arm: Arm, call: Call) -> tuple[str, str]:
    """Return what it takes to follow an operation, and where: in its resource group is enough.

    "Track asynchronous Azure operations", "Permission for tracking async status".
    """
    kind = call.path.split("/")[-2]
    operation = arm.operations.all.get(call.operation)
    scope = "/".join(operation.target.split("/")[:5]) if operation else call.path
    return f"{call.provider}/locations/{kind[:1].lower()}{kind[1:]}/read", scope


def _of_vm(arm: Arm, call: Call) -> Iterator[tuple[str, str]]:
    group = f"/subscriptions/{call.subscription}/resourceGroups/{call.group}"
    properties = call.body.get("properties", {})
    yield "Microsoft.Compute/disks/write", group
    for id in call.body.get("identity", {}).get("userAssignedIdentities", ()):
        yield "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", id
    network = properties.get("networkProfile", {})
    for reference in network.get("networkInterfaces", ()):
        yield "Microsoft.Network/networkInterfaces/join/action", reference["id"]
    for configuration in network.get("networkInterfaceConfigurations", ()):
        yield "Microsoft.Network/networkInterfaces/write", group
        yield "Microsoft.Network/networkInterfaces/join/action", group
        yield from _of_nic(configuration.get("properties", {}), group)
    image = properties.get("storageProfile", {}).get("imageReference", {}).get("id", "")
    if "/galleries/" in image:
        yield "Microsoft.Compute/galleries/images/versions/read", image
    elif image:
        yield "Microsoft.Compute/images/read", image


def _of_nic(properties: Mapping[str, Any], group: str) -> Iterator[tuple[str, str]]:
    security = properties.get("networkSecurityGroup", {}).get("id")
    if security:
        yield "Microsoft.Network/networkSecurityGroups/join/action", security
    for ip in properties.get("ipConfigurations", ()):
        given = ip.get("properties", {})
        yield _JOINS, given.get("subnet", {}).get("id", group)
        for asg in given.get("applicationSecurityGroups", ()):
            join = "joinIpConfiguration/action"
            yield f"Microsoft.Network/applicationSecurityGroups/{join}", asg["id"]
        if given.get("publicIPAddressConfiguration"):
            yield "Microsoft.Network/publicIPAddresses/write", group
            yield "Microsoft.Network/publicIPAddresses/join/action", group
