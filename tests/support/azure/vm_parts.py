"""What a VM has beside itself: interfaces with addresses, and disks; and what it leaves behind.

Some of it goes late or not at all: forced deletions leave interfaces (MicrosoftDocs/azure-docs
issue 117342), failed creations do (gardener/machine-controller-manager#298,
Azure/karpenter-provider-azure#92), and lists lag (cloudfoundry/bosh-azure-cpi-release#765).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.entra import Principal
from tests.support.azure.errors import ArmError, invalid, invalid_reference
from tests.support.azure.resources import Document, group_of

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

NETWORK_API_VERSIONS = ("2020-11-01", "2022-11-01")


@dataclass
class VmParts:
    """The parts of all VMs."""

    arm: Arm
    late_seconds: float = 0.15
    """How long after a VM its interfaces and disks go, if they go late."""
    _goes_with_nic: dict[str, bool] = field(default_factory=dict)
    """Whether a public address is deleted with its interface, by id."""
    _ghosts: dict[str, Document] = field(default_factory=dict)
    """VMs that were deleted, and which lists may still have, by id in lower case."""

    def check(self, vm: Mapping[str, Any]) -> None:
        """Refuse interfaces that can't be made, before anything is."""
        profile = vm["properties"]["networkProfile"]
        configurations = profile.get("networkInterfaceConfigurations", [])
        if not configurations and not profile.get("networkInterfaces"):
            text = "Required parameter 'networkInterfaces' is missing (null)."
            raise ArmError(400, "InvalidParameter", text, "networkProfile")
        if configurations and profile.get("networkApiVersion") not in NETWORK_API_VERSIONS:
            raise invalid("networkApiVersion", profile.get("networkApiVersion", ""))
        for configuration in configurations:
            properties = configuration.get("properties") or {}
            group = properties.get("networkSecurityGroup", {}).get("id", "")
            found = self.arm.resources.find(group) if group else None
            if group and (found is None or found["location"] != vm["location"]):
                raise invalid_reference(group, vm["id"])
            if not properties.get("ipConfigurations"):
                raise invalid("ipConfigurations", properties.get("ipConfigurations"))
            for ip in properties["ipConfigurations"]:
                subnet = ip.get("properties", {}).get("subnet", {}).get("id", "")
                self.arm.networks.find_subnet(subnet, vm["location"], vm["id"])

    def make_nics(self, vm: Document, profile: Mapping[str, Any]) -> None:
        """Make a VM's interfaces and addresses, and name them in the VM; raises `ArmError`."""
        references = vm["properties"]["networkProfile"].setdefault("networkInterfaces", [])
        for reference in references:
            nic = self.arm.resources.find(reference["id"])
            if nic is None:
                raise invalid_reference(reference["id"], vm["id"])
            self.arm.interfaces.check_free(nic, vm["id"])
            nic["properties"]["virtualMachine"] = {"id": vm["id"]}
        for configuration in profile.get("networkInterfaceConfigurations", ()):
            given = configuration["properties"]
            nic = self._make_nic(vm, configuration)
            of_vm = {
                "primary": given.get("primary", True),
                # The default is not documented; others' interfaces were left
                # (dask/dask-cloudprovider#195).
                "deleteOption": given.get("deleteOption", "Detach"),
            }
            references.append({"id": nic["id"], "properties": of_vm})

    def _make_nic(self, vm: Document, configuration: Mapping[str, Any]) -> Document:
        """Make an interface, whose name is the configuration's with something behind it."""
        given = configuration["properties"]
        kept = ("networkSecurityGroup", "enableAcceleratedNetworking", "dnsSettings", "primary")
        nic = self._new(vm, self.arm.interfaces.type, configuration)
        nic["properties"] = {key: given[key] for key in kept if key in given}
        nic["properties"]["virtualMachine"] = {"id": vm["id"]}
        nic["properties"]["ipConfigurations"] = []
        for wish in given["ipConfigurations"]:
            properties = dict(wish.get("properties", {}))
            public = properties.pop("publicIPAddressConfiguration", None)
            if public:
                properties["publicIPAddress"] = self._make_address(vm, public)
            ip = {"name": wish["name"], "properties": properties}
            nic["properties"]["ipConfigurations"].append(ip)
        return self.arm.interfaces.make(nic)

    def _make_address(self, vm: Document, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """Make a public address, and return how an interface names it."""
        given = configuration.get("properties", {})
        address = self._new(vm, self.arm.addresses.type, configuration)
        address["sku"] = {"name": "Basic", **configuration.get("sku", {})}
        address["properties"] = {
            "publicIPAllocationMethod": given.get("publicIPAllocationMethod", "Dynamic")
        }
        if "idleTimeoutInMinutes" in given:
            address["properties"]["idleTimeoutInMinutes"] = given["idleTimeoutInMinutes"]
        self.arm.addresses.make(address)
        self._goes_with_nic[address["id"]] = given.get("deleteOption", "Detach") == "Delete"
        return {"id": address["id"]}

    def _new(self, vm: Document, type: str, configuration: Mapping[str, Any]) -> Document:
        name = f"{configuration['name']}-{self.arm.new_guid()[:8]}"  # as Azure does
        return {
            "id": self.arm.id_in(group_of(vm["id"]), type, name),
            "name": name,
            "type": type,
            "location": vm["location"],
            "tags": dict(configuration.get("tags", {})),
        }

    def make_disks(self, vm: Document) -> None:
        storage = vm["properties"]["storageProfile"]
        for disk in [storage["osDisk"], *storage["dataDisks"]]:
            is_os = "lun" not in disk
            more: dict[str, Any] = {"osType": disk["osType"]} if is_os else {}
            made = self.arm.disks.create_for(
                vm,
                disk["name"],
                group=group_of(vm["id"]),
                size_gb=disk["diskSizeGB"],
                sku=disk["managedDisk"]["storageAccountType"],
                creationData={"createOption": "FromImage" if is_os else "Empty"},
                **more,
            )
            disk["managedDisk"]["id"] = made["id"]

    def leave(self, vm: Document, user: Principal, *, is_forced: bool, has_failed: bool) -> None:
        """See that somebody has deleted a VM: what goes with it goes, and the rest is let go.

        What the user may not delete stays: whether Azure asks for that is not documented.
        """
        key = vm["id"].lower()
        self._ghosts[key] = copy.deepcopy(vm)
        self.arm.chance.born("a VM that was deleted", key)
        of = vm["properties"]
        storage, network = of["storageProfile"], of["networkProfile"]
        for disk in [storage["osDisk"], *storage["dataDisks"]]:
            if found := self.arm.resources.find(disk["managedDisk"].get("id", "")):
                self.arm.disks.release(found, is_deleted=False)
                if disk["deleteOption"] == "Delete" and self._may_delete(user, found):
                    self._remove(found)
        for reference in network.get("networkInterfaces", ()):
            nic = self.arm.resources.find(reference["id"])
            if nic is None:
                continue
            nic["properties"].pop("virtualMachine", None)
            goes = reference.get("properties", {}).get("deleteOption") == "Delete"
            goes = goes and self._may_delete(user, nic)
            likely = 0.3 if has_failed else 0.1 if is_forced else 0.0
            if goes and not self.arm.chance.of("an interface that stays all the same", likely):
                self._remove(nic)
            elif has_failed:
                self.arm.interfaces.reserve(nic, vm["id"])

    def listed(self, group: str) -> list[Document]:
        """Return the VMs that a list still has, although they are no more."""
        return [
            vm
            for key, vm in self._ghosts.items()
            if (not group or group_of(vm["id"]).lower() == group.lower())
            and self.arm.resources.find(vm["id"]) is None
            and self.arm.chance.hides("a VM that was deleted", key)
        ]

    def _may_delete(self, user: Principal, part: Document) -> bool:
        return self.arm.access.allows(user, f"{part['type']}/delete", part["id"])

    def _remove(self, part: Document) -> None:
        """Delete a part, at once or a while later; with an interface, addresses may go."""

        def remove() -> None:
            if self.arm.resources.find(part["id"]) is not part:
                return
            self.arm.meter.accrue()
            self.arm.resources.remove(part["id"])
            for ip in part["properties"].get("ipConfigurations", ()):
                address = ip["properties"].get("publicIPAddress", {}).get("id", "")
                if self._goes_with_nic.get(address):
                    self.arm.resources.remove(address)

        if self.arm.chance.of("what is deleted after its VM", 0.3):
            self.arm.timeline.after(self.late_seconds, remove)
        else:
            remove()
