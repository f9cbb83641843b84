"""Persistent disks: made with instances, and left behind where they are not deleted with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.catalog import ZONES
from tests.support.gcp.errors import in_use, not_found
from tests.support.gcp.lists import all_scopes, one_page

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce


@dataclass
class Disks:
    """All disks, by zone and name."""

    gce: Gce
    all: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def add(self, zone: str, name: str, **fields: Any) -> dict[str, Any]:
        """Add a disk, with its fields as in the API."""
        path = f"zones/{zone}/disks/{name}"
        disk = {
            "kind": "compute#disk",
            "id": self.gce.new_id(),
            "creationTimestamp": self.gce.timeline.timestamp(),
            "name": name,
            "sizeGb": "10",
            "zone": self.gce.link(f"zones/{zone}"),
            "status": "READY",
            "selfLink": self.gce.link(path),
            "type": self.gce.link(f"zones/{zone}/diskTypes/pd-standard"),
            "labelFingerprint": "42WmSpB8rSM=",
            "physicalBlockSizeBytes": "4096",
            **fields,
        }
        self.all[zone, name] = disk
        return disk

    def detach(self, instance: Mapping[str, Any], zone: str) -> None:
        """Delete those of an ended instance that go with it, and let go of the others."""
        for attached in instance.get("disks", ()):
            name = str(attached.get("source", "")).rpartition("/")[2]
            disk = self.all.get((zone, name))
            if disk is None:
                continue
            if attached.get("autoDelete"):
                del self.all[zone, name]
            else:
                disk.pop("users", None)

    @implements("disks.list")
    def list(self, call: Call) -> Any:
        self.gce.places.check_zone(call.zone)
        self.gce.check_reachable(call.zone)
        url = self.gce.link(f"zones/{call.zone}/disks")
        return one_page(call, "compute#diskList", self._in(call.zone), url)

    @implements("disks.aggregatedList")
    def list_all(self, call: Call) -> Any:
        items = {f"zones/{zone}": self._in(zone) for zone in ZONES}
        unreachable = self.gce.unreachable_scopes()
        url = self.gce.link("aggregated/disks")
        kind = "compute#diskAggregatedList"
        return all_scopes(call, kind, "disks", items, url, unreachable=unreachable)

    @implements("disks.get")
    def get(self, call: Call) -> Any:
        return self._find(call)

    @implements("disks.delete")
    def delete(self, call: Call) -> Any:
        disk = self._find(call)
        path = f"zones/{call.zone}/disks/{call.disk}"
        if users := disk.get("users"):
            user = f"projects/{call.project}/{self.gce.relative(users[0])}"
            raise in_use(f"projects/{call.project}/{path}", user)

        def finish() -> None:
            self.all.pop((call.zone, call.disk), None)

        return self.gce.operations.begin(
            call, f"zones/{call.zone}", "delete", path, target_id=disk["id"], finish=finish
        )

    def _in(self, zone: str) -> list[dict[str, Any]]:
        return [disk for (where, _), disk in sorted(self.all.items()) if where == zone]

    def _find(self, call: Call) -> dict[str, Any]:
        self.gce.places.check_zone(call.zone)
        self.gce.check_reachable(call.zone)
        if (call.zone, call.disk) not in self.all:
            raise not_found(f"projects/{call.project}/zones/{call.zone}/disks/{call.disk}")
        return self.all[call.zone, call.disk]
