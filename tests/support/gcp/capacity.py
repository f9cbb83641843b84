"""Capacity: how many more instances each pool has room for, and what Google says if none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.errors import OperationError

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

MANY = 1_000_000
HELP = {
    "help": {
        "links": [
            {
                "description": "Troubleshooting documentation",
                "url": "https://cloud.google.com/compute/docs/resource-error",
            }
        ]
    }
}


@dataclass
class Capacity:
    """How many more instances there are, by ``"MARKET TYPE ZONE"``; else any number."""

    gce: Gce
    left: dict[str, int] = field(default_factory=dict)
    with_details: bool = True
    """Whether the code ends in ``_WITH_DETAILS``, as it usually does."""

    def __setitem__(self, pool: str, count: int) -> None:
        self.left[pool] = count

    def take(self, document: Mapping[str, Any], zone: str) -> None:
        """Take room for one instance; raises `OperationError` where there is none."""
        pool = pool_of(document, zone)
        if self.left.get(pool, 1) <= 0:
            raise self.stockout(document, zone)
        if pool in self.left:
            self.left[pool] -= 1

    def room(self, pool: str) -> int:
        """Return how many more instances a pool has room for."""
        return self.left.get(pool, MANY)

    def stockout(self, document: Mapping[str, Any], zone: str) -> OperationError:
        """Return what Google answers; its words are of kubernetes/k8s.io#9834."""
        machine_type = str(document["machineType"]).rpartition("/")[2]
        path = f"projects/{self.gce.project}/zones/{zone}"
        text = f"The zone '{path}' does not have enough resources available to fulfill the request."
        code = "ZONE_RESOURCE_POOL_EXHAUSTED"
        if self.with_details:
            code += "_WITH_DETAILS"
            text += "  '(resource type:compute)'."
        else:
            text += "  Try a different zone, or try again later."
        localized = (
            f"A {machine_type} VM instance is currently unavailable in the {zone} zone. "
            "Alternatively, you can try your request again with a different VM hardware "
            "configuration or at a later time. For more information, see the troubleshooting "
            "documentation."
        )
        metadata = {"attachment": "", "vmType": machine_type, "zone": zone, "zonesAvailable": ""}
        info = {
            "reason": "resource_availability",
            "domain": "compute.googleapis.com",
            "metadatas": metadata,
        }
        details = [
            HELP,
            {"localizedMessage": {"locale": "en-US", "message": localized}},
            {"errorInfo": info},
        ]
        return OperationError(code, text, 503, details)


def pool_of(document: Mapping[str, Any], zone: str) -> str:
    """Return where an instance's capacity is from, as ``spot n2-standard-4 us-central1-a``."""
    is_spot = document.get("scheduling", {}).get("provisioningModel") == "SPOT"
    machine_type = str(document["machineType"]).rpartition("/")[2]
    return f"{'spot' if is_spot else 'on-demand'} {machine_type} {zone}"
