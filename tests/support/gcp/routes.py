"""Routes of networks: each network begins with one to the internet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.lists import one_page

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce


@dataclass
class Routes:
    """The routes of all networks but those in ``without_internet``."""

    gce: Gce
    without_internet: set[str] = field(default_factory=set)
    """Networks whose default route somebody has deleted."""

    @implements("routes.list")
    def list(self, call: Call) -> Any:
        found = [
            self._document(name, {"nextHopGateway": self._gateway}, "0.0.0.0/0")
            for name in self.gce.networks.modes
            if name not in self.without_internet
            and self.gce.networks.project_of(name) == call.project
        ]
        found += [
            self._document(of.network, {"nextHopNetwork": self._network(of.network)}, of.block)
            for of in self.gce.networks.subnetworks
            if self.gce.networks.project_of(of.network) == call.project
        ]
        return one_page(call, "compute#routeList", found, self.gce.link("global/routes"))

    @property
    def _gateway(self) -> str:
        return self.gce.link("global/gateways/default-internet-gateway")

    def _network(self, name: str) -> str:
        return self.gce.networks.link(name)

    def _document(self, network: str, hop: dict[str, str], block: str) -> dict[str, Any]:
        return {
            "kind": "compute#route",
            "name": "default-route-r-" + self.gce.new_id(),
            "network": self._network(network),
            "destRange": block,
            "priority": 1000,
            **hop,
        }
