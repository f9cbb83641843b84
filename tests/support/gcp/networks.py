"""Networks and their subnetworks: ``default``, in auto mode, and those that a test adds.

Those of a host project are of a Shared VPC, which this project is attached to.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.catalog import RANGES, REGIONS
from tests.support.gcp.errors import OperationError, not_found
from tests.support.gcp.lists import all_scopes, one_page

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce


@dataclass
class Subnetwork:
    """A subnetwork: an address range of a network in a region."""

    name: str
    network: str
    region: str
    block: str
    private_google_access: bool = False
    purpose: str = "PRIVATE"
    state: str = "READY"
    size: int | None = None
    """How many instances it has room for; all its block but four addresses, if None."""
    _addresses: Iterator[int] = field(default_factory=lambda: itertools.count(2))

    @property
    def room(self) -> int:
        block = ipaddress.ip_network(self.block).num_addresses
        return block - 4 if self.size is None else self.size

    def new_address(self) -> str:
        """Return one that no instance had yet."""
        return str(ipaddress.ip_network(self.block)[next(self._addresses)])


@dataclass
class Networks:
    """All networks, by name: mode ``auto``, ``custom`` or ``legacy``."""

    gce: Gce
    modes: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    """The projects of networks that are not our own project's, by network."""
    subnetworks: list[Subnetwork] = field(default_factory=list)
    _ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add("default")

    def add(self, name: str, *, mode: str = "auto", project: str = "") -> None:
        """Add a network; in auto mode, with a subnetwork in each region."""
        self.modes[name] = mode
        if project:
            self.hosts[name] = project
            self.gce.access.other_projects.add(project)
        if mode == "auto":
            for region in REGIONS:
                self.add_subnetwork(name, network=name, region=region, block=RANGES[region])

    def add_subnetwork(self, name: str, **fields: Any) -> Subnetwork:
        """Add a subnetwork, with the fields of `Subnetwork`."""
        subnetwork = Subnetwork(name, **fields)
        self.subnetworks.append(subnetwork)
        return subnetwork

    def remove(self, name: str) -> None:
        """Take a network away, as where projects are made without a default one."""
        del self.modes[name]
        self.subnetworks = [of for of in self.subnetworks if of.network != name]

    def project_of(self, network: str) -> str:
        """Return the project that a network is of."""
        return self.hosts.get(network, self.gce.project)

    def link(self, network: str, path: str = "") -> str:
        """Return the URL of a network, or of what is at a path below its project."""
        path = path or f"global/networks/{network}"
        return self.gce.link_of(f"projects/{self.project_of(network)}/{path}")

    def find(self, link: str) -> str:
        """Return the name of the network that a URL or a path leads to; "" if there is none."""
        name = link.rpartition("/")[2]
        path = self.gce.relative(link)
        url = self.gce.link(path) if path.startswith("global/") else self.gce.link_of(path)
        return name if name in self.modes and self.link(name) == url else ""

    def find_subnetwork(self, region: str, name: str, *, project: str = "") -> Subnetwork | None:
        """Return a subnetwork, by default of our own project."""
        wanted = (project or self.gce.project, region, name)
        for of in self.subnetworks:
            if (self.project_of(of.network), of.region, of.name) == wanted:
                return of
        return None

    def check_room(self, instance: Mapping[str, Any]) -> None:
        """Raise `OperationError` if a subnetwork has no address left for a new instance."""
        vms = [vm.document for vm in self.gce.instances.all.values()]
        for nic in instance["networkInterfaces"]:
            link = nic["subnetwork"]
            used = [of for vm in vms for of in vm["networkInterfaces"] if of["subnetwork"] == link]
            found = self.find_subnetwork_of(link)
            if found and len(used) >= found.room:
                # The code is that which cloudpilot-ai/karpenter-provider-gcp knows.
                text = f"IP space of '{link.partition('/compute/v1/')[2]}' is exhausted."
                raise OperationError("IP_SPACE_EXHAUSTED_WITH_DETAILS", text, 400)

    def find_subnetwork_of(self, link: str) -> Subnetwork | None:
        """Return the subnetwork that a URL or a path leads to."""
        path = self.gce.relative(link)
        url = self.gce.link_of(path) if path.startswith("projects/") else self.gce.link(path)
        for of in self.subnetworks:
            if self.link_of_subnetwork(of) == url:
                return of
        return None

    def of_network(self, network: str, region: str) -> Subnetwork | None:
        """Return the subnetwork that a network in auto mode has in a region."""
        for of in self.subnetworks:
            if (of.network, of.region) == (network, region):
                return of
        return None

    @implements("networks.list")
    def list(self, call: Call) -> Any:
        found = [self._document(name) for name in sorted(self.modes) if self._is_in(name, call)]
        return one_page(call, "compute#networkList", found, self.gce.link("global/networks"))

    @implements("networks.get")
    def get(self, call: Call) -> Any:
        if call.network not in self.modes or not self._is_in(call.network, call):
            raise not_found(f"projects/{call.project}/global/networks/{call.network}")
        return self._document(call.network)

    @implements("subnetworks.list")
    def list_subnetworks(self, call: Call) -> Any:
        self.gce.places.check_region(call.region)
        found = [
            self._of_subnetwork(of)
            for of in self.subnetworks
            if of.region == call.region and self._is_in(of.network, call)
        ]
        url = self.gce.link(f"regions/{call.region}/subnetworks")
        return one_page(call, "compute#subnetworkList", found, url)

    @implements("subnetworks.get")
    def get_subnetwork(self, call: Call) -> Any:
        self.gce.places.check_region(call.region)
        found = self.find_subnetwork(call.region, call.subnetwork, project=call.project)
        if found is None:
            path = f"regions/{call.region}/subnetworks/{call.subnetwork}"
            raise not_found(f"projects/{call.project}/{path}")
        return self._of_subnetwork(found)

    @implements("subnetworks.aggregatedList")
    def all_subnetworks(self, call: Call) -> Any:
        items = {
            f"regions/{region}": [
                self._of_subnetwork(of)
                for of in self.subnetworks
                if of.region == region and self._is_in(of.network, call)
            ]
            for region in REGIONS
        }
        url = self.gce.link("aggregated/subnetworks")
        return all_scopes(call, "compute#subnetworkAggregatedList", "subnetworks", items, url)

    def _is_in(self, network: str, call: Call) -> bool:
        return self.project_of(network) == call.project

    def _document(self, name: str) -> dict[str, Any]:
        document = {
            "kind": "compute#network",
            "id": self._id(name),
            "creationTimestamp": "2026-01-02T03:04:05.678-08:00",
            "name": name,
            "selfLink": self.link(name),
            "routingConfig": {"routingMode": "REGIONAL"},
            "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
        }
        if self.modes[name] == "legacy":
            return {**document, "IPv4Range": "10.240.0.0/16"}
        links = [self.link_of_subnetwork(of) for of in self.subnetworks if of.network == name]
        document["autoCreateSubnetworks"] = self.modes[name] == "auto"
        return {**document, "subnetworks": links} if links else document

    def _of_subnetwork(self, of: Subnetwork) -> dict[str, Any]:
        return {
            "kind": "compute#subnetwork",
            "id": self._id(f"{of.region}/{of.name}"),
            "creationTimestamp": "2026-01-02T03:04:05.678-08:00",
            "name": of.name,
            "network": self.link(of.network),
            "ipCidrRange": of.block,
            "gatewayAddress": str(ipaddress.ip_network(of.block)[1]),
            "region": self.link(of.network, f"regions/{of.region}"),
            "selfLink": self.link_of_subnetwork(of),
            "privateIpGoogleAccess": of.private_google_access,
            "purpose": of.purpose,
            "stackType": "IPV4_ONLY",
            "fingerprint": "eA==",
        }

    def link_of_subnetwork(self, of: Subnetwork) -> str:
        """Return the URL of a subnetwork."""
        return self.link(of.network, f"regions/{of.region}/subnetworks/{of.name}")

    def _id(self, name: str) -> str:
        return self._ids.setdefault(name, self.gce.new_id())
