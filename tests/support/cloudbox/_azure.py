"""The metadata service and the wireserver of a virtual machine on Azure."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from tests.support.cloudbox._cloud import Cloud, Request, Response, find, listing
from tests.support.cloudbox._image import root

if TYPE_CHECKING:
    from tests.support.cloudbox._host import Host

WIRESERVER = "168.63.129.16"
CHASSIS = b"7783-7084-3265-9085-8269-3286-77"  # asset tag of every Azure VM; cloud-init checks it
DMI = "usr/lib/python3/dist-packages/cloudinit/dmi.py"

CLOUD_INIT = b"""\
datasource_list: [Azure]
datasource: {Azure: {apply_network_config: false}}
"""

# Azure provides this file on a CD at the first boot.
OVF = """\
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
    xmlns:wa="http://schemas.microsoft.com/windowsazure">
  <wa:ProvisioningSection>
    <wa:Version>1.0</wa:Version>
    <LinuxProvisioningConfigurationSet xmlns="http://schemas.microsoft.com/windowsazure">
      <ConfigurationSetType>LinuxProvisioningConfiguration</ConfigurationSetType>
      <HostName>{name}</HostName>
      <UserName>{user}</UserName>
      <DisableSshPasswordAuthentication>true</DisableSshPasswordAuthentication>
      <CustomData>{custom_data}</CustomData>
    </LinuxProvisioningConfigurationSet>
  </wa:ProvisioningSection>
  <wa:PlatformSettingsSection>
    <wa:Version>1.0</wa:Version>
    <PlatformSettings xmlns="http://schemas.microsoft.com/windowsazure">
      <ProvisionGuestAgent>false</ProvisionGuestAgent>
    </PlatformSettings>
  </wa:PlatformSettingsSection>
</Environment>
"""

GOAL_STATE = """\
<?xml version="1.0" encoding="utf-8"?>
<GoalState>
  <Version>2012-11-30</Version>
  <Incarnation>1</Incarnation>
  <Machine><ExpectedState>Started</ExpectedState></Machine>
  <Container>
    <ContainerId>{vm_id}</ContainerId>
    <RoleInstanceList>
      <RoleInstance>
        <InstanceId>{vm_id}</InstanceId>
        <State>Started</State>
        <Configuration></Configuration>
      </RoleInstance>
    </RoleInstanceList>
  </Container>
</GoalState>
"""


@dataclass
class Azure(Cloud):
    """A virtual machine: the arguments of its creation, and its current state.

    Its image runs cloud-init, which runs the custom data and reports to the wireserver. ``api``
    answers requests to the Azure Resource Manager, at the address of the metadata service.
    """

    custom_data: bytes = b""
    name: str = "vm-1"
    resource_group: str = "group-1"
    subscription: str = "00000000-0000-0000-0000-000000000001"
    location: str = "eastus"
    vm_size: str = "Standard_D2s_v5"
    vm_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    is_spot: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)  # scheduled, such as Preempt
    approved: list[str] = field(default_factory=list)  # ids of events that the VM approved
    identities: tuple[str, ...] = ()  # resource ids of its managed identities
    token: dict[str, str] | None = None  # of any of them
    user: str = "azureuser"
    public_keys: tuple[str, ...] = ()
    public_address: str = ""  # of the Standard SKU
    authority: str = ""  # a certificate that its image trusts, in PEM
    api: Callable[[Request], Awaitable[Response]] | None = None
    reports: list[str] = field(
        default_factory=list
    )  # states reported to the wireserver, such as "Ready"

    @property
    def resource_id(self) -> str:
        """Its id in the Azure Resource Manager."""
        group = f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
        return f"{group}/providers/Microsoft.Compute/virtualMachines/{self.name}"

    def files(self, host: Host, /) -> dict[str, bytes]:
        data = base64.b64encode(self.custom_data).decode()
        # cloud-init recognizes Azure by DMI data, which it does not read in a container.
        dmi = (root() / DMI).read_text()
        dmi = dmi.replace('"/sys/class/dmi/id"', '"/etc/dmi"').replace(
            "if is_container():", "if 0:"
        )
        trust = {"usr/lib/ssl/cert.pem": self.authority.encode()} if self.authority else {}
        return {
            **trust,
            "etc/cloud/cloud.cfg.d/95_cloud.cfg": CLOUD_INIT,
            "etc/dmi/chassis_asset_tag": CHASSIS,
            "etc/dmi/product_uuid": self.vm_id.encode(),
            DMI: dmi.encode(),
            "var/lib/cloud/seed/azure/ovf-env.xml": OVF.format(
                name=escape(self.name), user=escape(self.user), custom_data=data
            ).encode(),
        }

    async def answer(self, request: Request, host: Host, /) -> Response:
        if request.to == WIRESERVER:
            return self._wire(request)
        if self.api is not None and request.path.startswith("/subscriptions/"):
            return await self.api(request)
        if request.headers.get("metadata", "").lower() != "true":
            return bad_request("Bad request. Required metadata header not specified")
        if "x-forwarded-for" in request.headers:
            return bad_request("Bad request. The request came through a proxy")
        if "api-version" not in request.query:
            return bad_request("Bad request. api-version was not specified in the request")
        _, _, service, *path = request.path.rstrip("/").split("/")
        if service == "instance":
            return self._instance("/".join(path), request, host)
        elif service == "scheduledevents":
            return self._events(request)
        elif service == "identity" and path == ["oauth2", "token"]:
            return self._token(request)
        elif service == "loadbalancer" and self.public_address:
            addresses = {
                "frontendIpAddress": self.public_address,
                "privateIpAddress": host.address,
            }
            balancer = {"publicIpAddresses": [addresses], "inboundRules": [], "outboundRules": []}
            return Response.of_json({"loadbalancer": balancer})
        return Response(404)

    def _instance(self, path: str, request: Request, host: Host) -> Response:
        try:
            found = find(self._tree(host), path)
        except LookupError:
            return Response(404)
        if request.query.get("format") != "text":
            return Response.of_json(found)
        return Response(body=listing(found) if isinstance(found, dict | list) else str(found))

    def _events(self, request: Request) -> Response:
        if request.method == "POST":
            ids = re.findall(rb'"EventId"\s*:\s*"([^"]+)"', request.body)
            self.approved += [event.decode() for event in ids]
            return Response()
        return Response.of_json({"DocumentIncarnation": len(self.events), "Events": self.events})

    def _token(self, request: Request) -> Response:
        chosen = request.query.get("msi_res_id", "").lower()
        if self.token is None or (chosen and chosen not in map(str.lower, self.identities)):
            return bad_request("Identity not found")
        elif len(self.identities) > 1 and not chosen:
            return bad_request("Multiple user assigned identities exist, please specify one")
        elif "resource" not in request.query:
            return bad_request("Required query variable 'resource' is missing")
        return Response.of_json({"resource": request.query["resource"], **self.token})

    def _wire(self, request: Request) -> Response:
        if request.query.get("comp") == "health":
            self.reports += re.findall(r"<State>(\w+)</State>", request.body.decode())
            return Response()
        if request.query.get("comp") == "goalstate":
            body = GOAL_STATE.format(vm_id=self.vm_id)
            return Response(200, body, {"Content-Type": "text/xml; charset=utf-8"})
        return Response(404)

    def _tree(self, host: Host) -> dict[str, Any]:
        card = {
            "ipv4": {
                "ipAddress": [{"privateIpAddress": host.address, "publicIpAddress": ""}],
                "subnet": [{"address": f"{host.address.rpartition('.')[0]}.0", "prefix": "24"}],
            },
            "ipv6": {"ipAddress": []},
            "macAddress": host.mac.replace(":", "").upper(),
        }
        compute = {
            "azEnvironment": "AzurePublicCloud",
            "location": self.location,
            "name": self.name,
            "osProfile": {
                "adminUsername": self.user,
                "computerName": self.name,
                "disablePasswordAuthentication": "true",
            },
            "osType": "Linux",
            "priority": "Spot" if self.is_spot else "Regular",
            "publicKeys": [
                {"keyData": key, "path": f"/home/{self.user}/.ssh/authorized_keys"}
                for key in self.public_keys
            ],
            "resourceGroupName": self.resource_group,
            "resourceId": self.resource_id,
            "subscriptionId": self.subscription,
            "tagsList": [{"name": name, "value": value} for name, value in self.tags.items()],
            "userData": "",
            "vmId": self.vm_id,
            "vmSize": self.vm_size,
        }
        return {"compute": compute, "network": {"interface": [card]}}


def bad_request(description: str) -> Response:
    return Response.of_json(
        {"error": "invalid_request", "error_description": description}, status=400
    )
