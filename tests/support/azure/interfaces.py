"""Network interfaces, and what they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.azure.calls import Call
from tests.support.azure.errors import ArmError, invalid_reference
from tests.support.azure.resources import Document, ResourceType, check_ready, new_etag

RESERVED_SECONDS = 180.0
"""How long an interface stays with a virtual machine whose creation failed."""


class Interfaces(ResourceType):
    """Network interfaces."""

    operations = "network_interfaces"
    type = "Microsoft.Network/networkInterfaces"
    model = "network.NetworkInterface"

    def __init__(self, arm: Any) -> None:
        super().__init__(arm)
        self._reserved: dict[str, tuple[str, float]] = {}

    def all(self) -> list[Document]:
        return self.arm.resources.of_type(self.type)

    def configurations(self) -> Iterator[dict[str, Any]]:
        """Yield the IP configurations of all interfaces."""
        for nic in self.all():
            yield from nic["properties"]["ipConfigurations"]

    def of_vm(self, vm: str) -> list[Document]:
        """Return those of a virtual machine, by its id."""
        return [
            nic
            for nic in self.all()
            if nic["properties"].get("virtualMachine", {}).get("id", "").lower() == vm.lower()
        ]

    def user_of_address(self, address: str) -> dict[str, Any] | None:
        """Return the IP configuration that has a public address, by the address's id."""
        for of in self.configurations():
            if of["properties"].get("publicIPAddress", {}).get("id", "").lower() == address.lower():
                return of
        return None

    def reserve(self, nic: Document, vm: str) -> None:
        """Keep one for a virtual machine whose creation failed: for 180 seconds, nobody else's."""
        until = self.arm.timeline.now() + RESERVED_SECONDS
        self._reserved[nic["id"].lower()] = vm, until

    def check_free(self, nic: Document, vm: str) -> None:
        """Refuse one to a virtual machine that another one has; raises `ArmError`."""
        owner, until = self._reserved.get(nic["id"].lower(), ("", 0.0))
        if owner and owner.lower() != vm.lower() and self.arm.timeline.now() < until:
            raise ArmError(
                400,
                "NicReservedForAnotherVm",
                "Nic(s) in request is reserved for another Virtual Machine for 180 seconds. Please "
                f"provide another nic(s) or retry after 180 seconds. Reserved VM: {owner}",
            )
        other = nic["properties"].get("virtualMachine", {}).get("id", "")
        if other and other.lower() != vm.lower():
            raise ArmError(
                400,
                "NicInUse",
                f"Network Interface {nic['id']} is used by existing resource {other}. In order to "
                "delete the network interface, it must be dissociated from the resource. To learn "
                "more, see aka.ms/deletenic.",
            )

    def make(self, nic: Document) -> Document:
        """Make one that a virtual machine's own request asks for; raises `ArmError`."""
        self._check(nic)
        self._complete(nic)
        nic["properties"]["provisioningState"] = "Succeeded"
        nic["etag"] = new_etag()
        return self.arm.resources.add(nic)

    # -- as a type of resources ---------------------------------------------------------

    def check(self, call: Call, new: Document, old: Document | None) -> None:
        self._check(new)

    def complete(self, call: Call, new: Document, old: Document | None) -> None:
        if old and "virtualMachine" in old["properties"]:
            new["properties"]["virtualMachine"] = old["properties"]["virtualMachine"]
        self._complete(new)

    def check_delete(self, document: Document) -> None:
        self.check_free(document, "")

    def _check(self, nic: Document) -> None:
        properties = nic["properties"]
        if not properties.get("ipConfigurations"):
            text = f"Network interface {nic['id']} must have one or more IP configurations."
            raise ArmError(400, "NetworkInterfaceMustHaveAtLeastOneIpConfiguration", text)
        group = properties.get("networkSecurityGroup", {}).get("id")
        found = self.arm.resources.find(group) if group else None
        if group and (found is None or found["location"] != nic["location"]):
            raise invalid_reference(group, nic["id"])
        if found:
            check_ready(found, nic["id"])
        for of in properties["ipConfigurations"]:
            wanted = of.get("properties", {})
            subnet = wanted.get("subnet", {}).get("id", "")
            check_ready(
                self.arm.networks.find_subnet(subnet, nic["location"], nic["id"]), nic["id"]
            )
            for asg in wanted.get("applicationSecurityGroups", ()):
                if self.arm.resources.find(asg["id"]) is None:
                    raise invalid_reference(asg["id"], nic["id"])
            address = wanted.get("publicIPAddress", {}).get("id")
            if address and self.arm.resources.find(address) is None:
                raise invalid_reference(address, nic["id"])
            user = self.user_of_address(address) if address else None
            if user and not user["id"].lower().startswith(nic["id"].lower() + "/"):
                text = f"Resource {nic['id']} is referencing public IP address {address} that is "
                text += f"already allocated to resource {user['id']}."
                raise ArmError(400, "PublicIPAddressInUse", text)

    def _complete(self, nic: Document) -> None:
        properties = nic["properties"]
        for index, of in enumerate(properties["ipConfigurations"]):
            of["id"] = f"{nic['id']}/ipConfigurations/{of['name']}"
            of["type"] = f"{self.type}/ipConfigurations"
            of["etag"] = new_etag()
            given = of["properties"]
            subnet = self.arm.networks.find_subnet(
                given["subnet"]["id"], nic["location"], nic["id"]
            )
            given.setdefault("privateIPAddress", self.arm.networks.new_address(subnet))
            given.setdefault("privateIPAllocationMethod", "Dynamic")
            given.setdefault("privateIPAddressVersion", "IPv4")
            given.setdefault("primary", index == 0)
            given["provisioningState"] = "Succeeded"
        properties.setdefault("enableAcceleratedNetworking", False)
        properties.setdefault("enableIPForwarding", False)
        properties["nicType"] = "Standard"
        properties["resourceGuid"] = self.arm.new_guid()
        digits = self.arm.new_guid().upper()
        properties["macAddress"] = f"00-0D-3A-{digits[:2]}-{digits[2:4]}-{digits[4:6]}"
