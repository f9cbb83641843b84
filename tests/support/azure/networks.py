"""Virtual networks and their subnets."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.support.azure.calls import GROUP, Answer, Call, implements
from tests.support.azure.errors import ArmError, invalid_reference, not_found
from tests.support.azure.names import check_name
from tests.support.azure.resources import Document, ResourceType, new_etag

_SUBNETS = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/{{name}}/subnets"
_RESERVED = 4  # the first addresses of a subnet are Azure's, and so is the last one
_SUBNET = "network.Subnet"
PRIVATE_BY_DEFAULT = "2025-07-01"
"""Since this version, new subnets are private, unless ``defaultOutboundAccess`` says otherwise."""


class Networks(ResourceType):
    """Virtual networks; each document has its subnets."""

    operations = "virtual_networks"
    type = "Microsoft.Network/virtualNetworks"
    model = "network.VirtualNetwork"

    def add(
        self,
        name: str,
        *,
        group: str,
        location: str = "",
        prefixes: Sequence[str] = ("10.1.0.0/16",),
        subnets: Mapping[str, Any] | None = None,
    ) -> Document:
        """Add one, as one that the user has.

        ``subnets`` are address prefixes by name, or all properties of a subnet.
        """
        owner = self.arm.groups.all.get(group.lower()) or self.arm.groups.add(group)
        id = f"{owner['id']}/providers/{self.type}/{name}"
        given = {"default": "10.1.0.0/24"} if subnets is None else subnets
        document = {
            "id": id,
            "name": name,
            "type": self.type,
            "location": location or self.arm.location,
            "properties": {
                "addressSpace": {"addressPrefixes": [*prefixes]},
                "subnets": [
                    self._subnet(id, name, {"addressPrefix": of} if isinstance(of, str) else of)
                    for name, of in given.items()
                ],
                "provisioningState": "Succeeded",
            },
        }
        return self.arm.resources.add(document, is_users=True)

    def subnets(self) -> Iterator[Document]:
        """Yield all subnets there are."""
        for network in self.arm.resources.of_type(self.type):
            yield from network["properties"]["subnets"]

    def find_subnet(self, id: str, location: str, user: str) -> Document:
        """Return the subnet that ``user``, an id, names; raises `ArmError`."""
        for network in self.arm.resources.of_type(self.type):
            for subnet in network["properties"]["subnets"]:
                if subnet["id"].lower() == id.lower() and network["location"] == location:
                    return subnet
        raise invalid_reference(id, user)

    def new_address(self, subnet: Document) -> str:
        """Return a private address that nothing in a subnet has; raises `ArmError`."""
        taken = {
            of["properties"].get("privateIPAddress")
            for of in self.arm.interfaces.configurations()
            if of["properties"]["subnet"]["id"].lower() == subnet["id"].lower()
        }
        for prefix in _prefixes_of(subnet):
            block = ipaddress.ip_network(prefix)
            for number in range(_RESERVED, block.num_addresses - 1):
                if str(block[number]) not in taken:
                    return str(block[number])
        raise ArmError(
            400,
            "SubnetIsFull",
            f"Subnet {subnet['name']} with address prefix {_prefixes_of(subnet)[0]} does not have "
            "enough capacity for 1 IP addresses.",
        )

    # -- as a type of resources ---------------------------------------------------------

    def check(self, call: Call, new: Document, old: Document | None) -> None:
        properties = new["properties"]
        blocks = properties.get("addressSpace", {}).get("addressPrefixes", ())
        if not blocks:
            text = f"Virtual network {new['name']} must have an address space."
            raise ArmError(400, "InvalidRequestFormat", text)
        for block in blocks:
            _block(block, "InvalidAddressPrefixFormat")
        if old and "subnets" not in properties:  # they stay, since version 2023-09-01
            properties["subnets"] = [*old["properties"]["subnets"]]
        kept = {of.get("name", "").lower() for of in properties.get("subnets", ())}
        for subnet in old["properties"]["subnets"] if old else ():
            if subnet["name"].lower() not in kept:
                self._check_unused(subnet)  # a PUT with others takes it away (ray#44100)
        self._check_subnets(new["name"], blocks, properties.get("subnets", ()))

    def complete(self, call: Call, new: Document, old: Document | None) -> None:
        properties = new["properties"]
        properties["subnets"] = [
            self._subnet(new["id"], of["name"], self._with_defaults(call, of["properties"]))
            for of in properties.get("subnets", ())
        ]
        for subnet in properties["subnets"]:
            subnet["properties"]["provisioningState"] = "Updating"
        properties.setdefault("enableDdosProtection", False)
        properties["resourceGuid"] = self.arm.new_guid()

    def finish(self, document: Document) -> None:
        for subnet in document["properties"]["subnets"]:
            subnet["properties"]["provisioningState"] = "Succeeded"

    def check_delete(self, document: Document) -> None:
        for subnet in document["properties"]["subnets"]:
            self._check_unused(subnet)

    def view(self, document: Document) -> Document:
        subnets = [self.view_subnet(of) for of in document["properties"]["subnets"]]
        return {**document, "properties": {**document["properties"], "subnets": subnets}}

    # -- subnets ------------------------------------------------------------------------

    @implements("subnets.get", "GET", f"{_SUBNETS}/{{subnet}}", answer=_SUBNET)
    def get_subnet(self, call: Call) -> Any:
        return self.view_subnet(self._find_subnet(call))

    @implements("subnets.list", "GET", _SUBNETS, answer=f"{_SUBNET}[]")
    def list_subnets(self, call: Call) -> Any:
        found = self._network(call)["properties"]["subnets"]
        return self.arm.page(call, [self.view_subnet(of) for of in found])

    @implements(
        "subnets.create_or_update", "PUT", f"{_SUBNETS}/{{subnet}}", body=_SUBNET, answer=_SUBNET
    )
    def put_subnet(self, call: Call) -> Any:
        network = self._network(call)
        check_name(f"{self.type}/subnets", call.subnet)
        self.arm.operations.check_idle(network["id"])
        others = [
            of
            for of in network["properties"]["subnets"]
            if of["name"].lower() != call.subnet.lower()
        ]
        given = {"name": call.subnet, "properties": call.body.get("properties", {})}
        blocks = network["properties"]["addressSpace"]["addressPrefixes"]
        self._check_subnets(network["name"], blocks, [*others, given])
        subnet = self._subnet(
            network["id"], call.subnet, self._with_defaults(call, given["properties"])
        )
        subnet["properties"]["provisioningState"] = "Updating"
        is_new = len(others) == len(network["properties"]["subnets"])
        network["properties"]["subnets"] = [*others, subnet]

        def finish() -> None:
            subnet["properties"]["provisioningState"] = "Succeeded"

        return self.arm.operations.begin(
            call,
            201 if is_new else 200,
            self.view_subnet(subnet),
            location=network["location"],
            target=network["id"],
            finish=finish,
        )

    @implements("subnets.delete", "DELETE", f"{_SUBNETS}/{{subnet}}")
    def delete_subnet(self, call: Call) -> Any:
        network = self._network(call)
        self.arm.operations.check_idle(network["id"])
        found = [
            of
            for of in network["properties"]["subnets"]
            if of["name"].lower() == call.subnet.lower()
        ]
        if not found:
            return Answer(204)
        self._check_unused(found[0])
        found[0]["properties"]["provisioningState"] = "Deleting"

        def finish() -> None:
            network["properties"]["subnets"].remove(found[0])

        return self.arm.operations.begin(
            call, 202, location=network["location"], target=network["id"], finish=finish
        )

    @implements(
        "virtual_networks.list_usage",
        "GET",
        f"{GROUP}/providers/Microsoft.Network/virtualNetworks/{{name}}/usages",
        answer="network.VirtualNetworkUsage[]",
    )
    def list_usage(self, call: Call) -> Any:
        """Answer how many addresses each subnet has, without Azure's own, and how many are used."""
        network = self._network(call)
        return self.arm.page(call, [self._usage(of) for of in network["properties"]["subnets"]])

    def _usage(self, subnet: Document) -> dict[str, Any]:
        blocks = [ipaddress.ip_network(prefix) for prefix in _prefixes_of(subnet)]
        size = sum(block.num_addresses - _RESERVED - 1 for block in blocks if block.version == 4)
        users = self.view_subnet(subnet)["properties"].get("ipConfigurations", ())
        return {
            "currentValue": float(len(users)),
            "id": subnet["id"],
            "limit": float(size),
            "name": {"localizedValue": "Subnet size and usage", "value": "SubnetSpace"},
            "unit": "Count",
        }

    def view_subnet(self, subnet: Document) -> Document:
        """Return one as it is answered, with what is in it."""
        users = [
            {"id": of["id"]}
            for of in self.arm.interfaces.configurations()
            if of["properties"]["subnet"]["id"].lower() == subnet["id"].lower()
        ]
        properties = {**subnet["properties"], **({"ipConfigurations": users} if users else {})}
        return {**subnet, "properties": properties}

    def _network(self, call: Call) -> Document:
        self.arm.groups.require(call.group)
        found = self.arm.resources.find(re.sub("/(subnets|usages).*", "", self.arm.id_of(call)))
        if found is None:
            raise not_found(self.type, call.name, call.group)
        return found

    def _find_subnet(self, call: Call) -> Document:
        for subnet in self._network(call)["properties"]["subnets"]:
            if subnet["name"].lower() == call.subnet.lower():
                return subnet
        id = f"{self._network(call)['id']}/subnets/{call.subnet}"
        raise ArmError(404, "NotFound", f"Resource {id} not found.")

    def _subnet(self, network: str, name: str, properties: Mapping[str, Any]) -> Document:
        return {
            "name": name,
            "id": f"{network}/subnets/{name}",
            "etag": new_etag(),
            "type": f"{self.type}/subnets",
            "properties": {
                "provisioningState": "Succeeded",
                "delegations": [],
                "privateEndpointNetworkPolicies": "Disabled",
                "privateLinkServiceNetworkPolicies": "Enabled",
                **properties,
            },
        }

    def _with_defaults(self, call: Call, properties: Mapping[str, Any]) -> dict[str, Any]:
        is_private = call.api_version >= PRIVATE_BY_DEFAULT
        return {**({"defaultOutboundAccess": False} if is_private else {}), **properties}

    def _check_subnets(
        self, network: str, blocks: Sequence[str], subnets: Sequence[Mapping[str, Any]]
    ) -> None:
        inside = [_block(block, "InvalidAddressPrefixFormat") for block in blocks]
        seen: list[Any] = []
        for subnet in subnets:
            check_name(f"{self.type}/subnets", subnet.get("name", ""))
            for prefix in _prefixes_of(subnet):
                block = _block(prefix, "InvalidCIDRNotation")
                named = f"Subnet '{subnet['name']}' is not valid because its IP address range"
                where = f"virtual network '{network}'."
                if not any(block.version == of.version and block.subnet_of(of) for of in inside):
                    text = (
                        f"{named} is outside the IP address range of virtual network '{network}'."
                    )
                    raise ArmError(400, "NetcfgSubnetRangeOutsideVnet", text)
                if any(block.overlaps(of) for of in seen):
                    text = f"{named} overlaps with that of an existing subnet in {where}"
                    raise ArmError(400, "NetcfgSubnetRangesOverlap", text)
                seen.append(block)

    def _check_unused(self, subnet: Document) -> None:
        for of in self.arm.interfaces.configurations():
            if of["properties"]["subnet"]["id"].lower() == subnet["id"].lower():
                raise ArmError(
                    400,
                    "InUseSubnetCannotBeDeleted",
                    f"Subnet {subnet['name']} is in use by {of['id']} and cannot be deleted. In "
                    "order to delete the subnet, delete all the resources within the subnet. See "
                    "aka.ms/deletesubnet.",
                )


def _prefixes_of(subnet: Mapping[str, Any]) -> list[str]:
    properties = subnet.get("properties", {})
    one, many = properties.get("addressPrefix"), properties.get("addressPrefixes")
    if not one and not many:
        text = f"Subnet {subnet.get('name')} must have an address prefix."
        raise ArmError(400, "InvalidRequestFormat", text)
    return [one] if one else [*many]


def _block(text: str, code: str) -> Any:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        problem = f"The address prefix {text} is formatted incorrectly."
        raise ArmError(400, code, problem) from None
