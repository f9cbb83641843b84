"""Azure in a box: virtual machines of the tests' Azure are hosts that boot, in a cloud in a box.

Each has Azure's metadata service and wireserver, and its image is Debian, whose cloud-init runs the
custom data. It reaches Resource Manager at the driver's address, by https, with the token that its
metadata service gives.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import uuid
from collections.abc import Iterator
from email.utils import format_datetime

from tests.support.azure.arm import LOCATION, Arm
from tests.support.azure.resources import group_of
from tests.support.azure.vm import Vm
from tests.support.azure.vm_lives import EVICTION_SECONDS
from tests.support.cloudbox import Azure as Instance
from tests.support.cloudbox import HostedVms, ticking
from tests.support.emulation.certificates import make_certificates
from tests.support.emulation.server import serving
from tests.support.lean_environment import lean_environ

IMAGE = "Debian:debian-12:12-gen2:latest"
"""The one whose Python the box's image has."""
SIZE = "Standard_D2s_v5"
GROUP, NETWORK, SUBNET = "hosts", "hosts", "machines"
SDK = ("azure-identity", "azure-mgmt-compute", "azure-mgmt-network")


def environ(arm: Arm) -> dict[str, str]:
    """Return the variables with which programs use an Azure in a box, unmodified.

    Credentials and the machines' identity are not among them: `fixtures.environ` has these.
    """
    network = f"resourceGroups/{GROUP}/providers/Microsoft.Network/virtualNetworks/{NETWORK}"
    return {
        "BIGMACHINE_AZURE_ENDPOINT_URL": arm.url,
        "BIGMACHINE_AZURE_LOCATION": LOCATION,
        "BIGMACHINE_AZURE_VM_SIZE": SIZE,
        "BIGMACHINE_AZURE_IMAGE": IMAGE,
        "BIGMACHINE_AZURE_NETWORK": f"/subscriptions/{arm.subscription}/{network}",
        "BIGMACHINE_AZURE_PUBLIC_ADDRESS": "false",
        **lean_environ("bigmachine-azure", "numpy", "rich", but=SDK, with_tests=True),
    }


class AzureBox(HostedVms):
    """The hosts behind an `Arm`, by the names of their virtual machines."""

    def __init__(self, arm: Arm) -> None:
        super().__init__()
        self._arm = arm

    def arrange(self) -> None:
        """Have a new Azure know the hosts' network, as one that its user has."""
        self._arm.box = self
        self._arm.networks.add(
            NETWORK,
            group=GROUP,
            prefixes=[self.block],
            subnets={SUBNET: {"addressPrefix": self.block, "defaultOutboundAccess": True}},
        )

    # -- what Azure asks for --------------------------------------------------------------

    def launch(self, vm: Vm) -> None:
        """Boot the host of a virtual machine, and give its interface the host's address."""
        of, profile = vm.document["properties"], vm.sent["properties"]["osProfile"]
        ids = tuple(vm.document.get("identity", {}).get("userAssignedIdentities", ()))
        keys = profile.get("linuxConfiguration", {}).get("ssh", {}).get("publicKeys", ())
        cloud = Instance(
            custom_data=base64.b64decode(vm.custom_data),
            name=vm.name,
            resource_group=group_of(vm.id),
            subscription=self._arm.subscription,
            location=vm.document["location"],
            vm_size=vm.size.name,
            vm_id=of["vmId"],
            is_spot=vm.is_spot,
            tags=vm.tags,
            identities=ids,
            token=self._token(ids[0]) if ids else None,
            user=profile["adminUsername"],
            public_keys=tuple(key["keyData"] for key in keys),
            authority=self._arm.certificate,
        )
        host = self.boot(vm.name, cloud, lambda: self._went_off(vm))
        for nic in self._arm.interfaces.of_vm(vm.id):
            nic["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] = (
                host.address
            )

    def end(self, vm: Vm) -> None:
        """End a virtual machine, as when it is deleted by force; return at once."""
        self.kill(vm.name)

    def is_off(self, vm: Vm) -> bool:
        """Whether the host of a virtual machine has ended."""
        return self.has_no_host(vm.name)

    def is_ready(self, vm: Vm) -> bool:
        """Whether its guest has reported that it is provisioned."""
        return "Ready" in self.instance(vm.name).reports

    def console(self, vm: Vm) -> str:
        """Return what its console shows."""
        return self.hosts[vm.name].console()

    def tell_evicted(self, vm: Vm) -> None:
        """Have its metadata service say that it is evicted soon."""
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=EVICTION_SECONDS)
        event = {
            "EventId": str(uuid.uuid4()).upper(),
            "EventStatus": "Scheduled",
            "EventType": "Preempt",
            "ResourceType": "VirtualMachine",
            "Resources": [vm.name],
            "NotBefore": format_datetime(at, usegmt=True),
            "Description": "",
            "EventSource": "Platform",
            "DurationInSeconds": -1,
        }
        self.instance(vm.name).events.append(event)

    # -- for tests ------------------------------------------------------------------------

    def instance(self, name: str) -> Instance:
        """Return what its metadata service knows; a test may change it."""
        cloud = self.hosts[name].cloud
        assert isinstance(cloud, Instance)
        return cloud

    def _token(self, identity: str) -> dict[str, str]:
        found = self._arm.resources.find(identity)
        assert found is not None
        token = self._arm.entra.issue(self._arm.identities.principal(found))
        return {"access_token": token, "expires_in": "86399", "token_type": "Bearer"}

    def _went_off(self, vm: Vm) -> None:
        with self._arm._lock:
            self._arm.vms.went_off(vm)


@contextlib.contextmanager
def azure_in_a_box(arm: Arm) -> Iterator[AzureBox]:
    """Have the virtual machines of ``arm`` be hosts while the block runs.

    They have private addresses alone, in a network of the user's, which is the box's.
    """
    box = AzureBox(arm)
    first = arm.url, arm.certificate
    try:
        certificates = make_certificates([box.address])
        arm.certificate = certificates.authority
        with serving(arm.respond, host=box.address, tls=certificates.server) as arm.url:
            arm.reset()
            box.arrange()
            with ticking(lambda: arm.advance(0)):
                yield box
    finally:
        arm.url, arm.certificate = first
        arm.reset()
        arm.box = None
        box.close()
