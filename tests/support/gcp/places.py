"""Regions and zones, and the machine types, GPUs and types of disks that they have."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.catalog import DISK_TYPES, GPUS, REGIONS, ZONES
from tests.support.gcp.errors import GceError, invalid, not_found
from tests.support.gcp.lists import all_scopes, one_page

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

CREATED = "1969-12-31T16:00:00.000-08:00"


@dataclass
class Places:
    """What there is whatever anybody does."""

    gce: Gce

    def check_zone(self, zone: str) -> None:
        """Refuse a zone that does not exist, as Google does."""
        if zone not in ZONES:
            raise invalid("zone", zone, "Unknown zone.")

    def check_region(self, region: str) -> None:
        """Refuse a region that does not exist, as Google does."""
        if region not in REGIONS:
            raise invalid("region", region, "Unknown region.")

    @implements("zones.list")
    def list_zones(self, call: Call) -> Any:
        zones = [self._zone(zone) for zone in ZONES]
        return one_page(call, "compute#zoneList", zones, self.gce.link("zones"))

    @implements("zones.get")
    def get_zone(self, call: Call) -> Any:
        if call.zone not in ZONES:
            raise not_found(f"projects/{call.project}/zones/{call.zone}")
        return self._zone(call.zone)

    @implements("regions.list")
    def list_regions(self, call: Call) -> Any:
        regions = [self._region(region) for region in REGIONS]
        return one_page(call, "compute#regionList", regions, self.gce.link("regions"))

    @implements("regions.get")
    def get_region(self, call: Call) -> Any:
        if call.region not in REGIONS:
            raise not_found(f"projects/{call.project}/regions/{call.region}")
        return self._region(call.region)

    @implements("projects.get")
    def get_project(self, call: Call) -> Any:
        return {
            "kind": "compute#project",
            "id": self.gce.project_number,
            "name": self.gce.project,
            "creationTimestamp": CREATED,
            "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": "eA=="},
            "quotas": self.gce.quotas.documents(""),
            "selfLink": self.gce.link(""),
            "defaultServiceAccount": self.gce.default_account,
            "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
            "defaultNetworkTier": "PREMIUM",
            "vmDnsSetting": "ZONAL_ONLY",
        }

    @implements("machineTypes.list", "machineTypes.get", "machineTypes.aggregatedList")
    def machine_types(self, call: Call) -> Any:
        return self._offered(call, "machineType", call.machineType, self._types_of)

    @implements("acceleratorTypes.list", "acceleratorTypes.get", "acceleratorTypes.aggregatedList")
    def accelerator_types(self, call: Call) -> Any:
        return self._offered(call, "acceleratorType", call.acceleratorType, self._gpus_of)

    @implements("diskTypes.list", "diskTypes.get", "diskTypes.aggregatedList")
    def disk_types(self, call: Call) -> Any:
        return self._offered(call, "diskType", call.diskType, self._disk_types_of)

    def _offered(
        self, call: Call, kind: str, name: str, of_zone: Callable[[str], list[dict[str, Any]]]
    ) -> Any:
        """Answer the three methods that each kind of what zones have has."""
        plural = f"{kind}s"
        if call.method.endswith(".aggregatedList"):
            url = self.gce.link(f"aggregated/{plural}")
            items = {f"zones/{zone}": of_zone(zone) for zone in ZONES}
            unreachable = self.gce.unreachable_scopes()
            listed = f"compute#{kind}AggregatedList"
            return all_scopes(call, listed, plural, items, url, unreachable=unreachable)
        self.check_zone(call.zone)
        self.gce.check_reachable(call.zone)
        items_here = sorted(of_zone(call.zone), key=lambda item: str(item["name"]))
        path = f"zones/{call.zone}/{plural}"
        if not name:
            return one_page(call, f"compute#{kind}List", items_here, self.gce.link(path))
        for item in items_here:
            if item["name"] == name:
                return item
        raise self._missing(kind, f"projects/{call.project}/{path}/{name}")

    def _missing(self, kind: str, path: str) -> GceError:
        return not_found(path)

    def _types_of(self, zone: str) -> list[dict[str, Any]]:
        catalog = self.gce.catalog
        return [
            {**catalog.fields(of), **self._place(zone, "machineTypes", name)}
            for name, of in catalog.machine_types.items()
            if catalog.offers(name, zone)
        ]

    def _gpus_of(self, zone: str) -> list[dict[str, Any]]:
        return [
            {
                "kind": "compute#acceleratorType",
                "name": gpu.name,
                "description": gpu.description,
                "creationTimestamp": CREATED,
                "maximumCardsPerInstance": gpu.most,
                **self._place(zone, "acceleratorTypes", gpu.name, is_link=True),
            }
            for gpu in GPUS.values()
            if zone in gpu.zones
        ]

    def _disk_types_of(self, zone: str) -> list[dict[str, Any]]:
        return [
            {
                "kind": "compute#diskType",
                "name": of.name,
                "description": of.description,
                "creationTimestamp": CREATED,
                "validDiskSize": f"{of.least}GB-{of.most}GB",
                "defaultDiskSizeGb": str(of.default),
                **self._place(zone, "diskTypes", of.name, is_link=True),
            }
            for of in DISK_TYPES.values()
        ]

    def _place(self, zone: str, plural: str, name: str, *, is_link: bool = False) -> dict[str, Any]:
        path = f"zones/{zone}/{plural}/{name}"
        return {
            "id": str(zlib.crc32(path.encode()) + 1000),
            "zone": self.gce.link(f"zones/{zone}") if is_link else zone,
            "selfLink": self.gce.link(path),
        }

    def _zone(self, zone: str) -> dict[str, Any]:
        return {
            "kind": "compute#zone",
            "id": str(2000 + ZONES.index(zone)),
            "creationTimestamp": CREATED,
            "name": zone,
            "description": zone,
            "status": "DOWN" if zone in self.gce.catalog.zones_down else "UP",
            "region": self.gce.link(f"regions/{zone.rpartition('-')[0]}"),
            "selfLink": self.gce.link(f"zones/{zone}"),
            "availableCpuPlatforms": ["Intel Cascade Lake", "Intel Ice Lake"],
            "supportsPzs": False,
        }

    def _region(self, region: str) -> dict[str, Any]:
        document: dict[str, Any] = {
            "kind": "compute#region",
            "id": str(1000 + REGIONS.index(region)),
            "creationTimestamp": CREATED,
            "name": region,
            "description": region,
            "status": "UP",
            "zones": [self.gce.link(f"zones/{zone}") for zone in ZONES if zone[:-2] == region],
            "selfLink": self.gce.link(f"regions/{region}"),
            "supportsPzs": False,
        }
        if self.gce.quotas.are_unknown:
            # "Output only. Warning of fetching the `quotas` field for this region" (the document).
            document["quotaStatusWarning"] = {
                "code": "UNREACHABLE",
                "message": "The quotas of this region can't be fetched at the moment.",
            }
        else:
            document["quotas"] = self.gce.quotas.documents(region)
        return document
