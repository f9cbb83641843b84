"""Google's price list: the SKUs of what the tests' machine types are made of, at made-up prices.

Descriptions are those of Google's list, as gcloud's users show them: they alone say what a SKU is
of (Cyclenerd/google-cloud-pricing-cost-calculator, ``mapping.csv``).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.catalog import REGIONS
from tests.support.gcp.errors import GceError

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

SERVICE = "services/6F81-5844-456A"
"""Compute Engine."""
PLACES = {"europe-west4": "Netherlands", "us-central1": "Americas", "us-east1": "Americas"}
SERIES = {
    "a2": "A2",
    "c2": "Compute optimized",
    "c3": "C3",
    "c3d": "C3D",
    "c4": "C4",
    "c4a": "C4A Arm",
    "e2": "E2",
    "g2": "G2",
    "n1": "N1 Predefined",
    "n2": "N2",
    "n2d": "N2D AMD",
    "n4": "N4",
    "t2a": "T2A Arm",
    "t2d": "T2D AMD",
}
GPUS = {"T4": 0.35, "L4": 0.56, "V100": 2.48, "A100": 2.93, "A100 80GB": 3.93}
DISKS = {
    "Storage PD Capacity": 0.04,
    "Balanced PD Capacity": 0.1,
    "SSD backed PD Capacity": 0.17,
    "Hyperdisk Balanced Capacity": 0.08,
}


@dataclass
class PriceList:
    """The price list; a test may change the prices of a vCPU and a GiB, in dollars an hour."""

    gce: Gce
    per_core: float = 0.03
    per_gib: float = 0.004
    spot_part: float = 0.4
    """What a spot instance costs, of the price on demand."""
    series: dict[str, str] = field(default_factory=lambda: dict(SERIES))
    """What a series is called; one that isn't here has no price."""
    more: list[dict[str, Any]] = field(default_factory=list)
    """More SKUs: see `sku`."""

    @implements("cloudbilling.services.skus.list")
    def list(self, call: Call) -> Any:
        if call.parent != SERVICE:
            raise GceError(404, "notFound", "Requested entity was not found.")
        skus = [*self._skus(), *self.more]
        size = int(call.pageSize or 5000)
        start = int(call.pageToken.removeprefix("page-") or 0) if call.pageToken else 0
        rest = start + size < len(skus)
        return {
            "skus": skus[start : start + size],
            "nextPageToken": f"page-{start + size}" if rest else "",
        }

    def _skus(self) -> Iterator[dict[str, Any]]:
        for region in REGIONS:
            for usage, word, part in (
                ("OnDemand", "", 1.0),
                ("Preemptible", "Spot Preemptible ", self.spot_part),
            ):
                for name in self.series.values():
                    for what, price in (("Core", self.per_core), ("Ram", self.per_gib)):
                        instance = "" if name == "Compute optimized" else " Instance"
                        text = f"{word}{name}{instance} {what} running in {PLACES[region]}"
                        unit = "h" if what == "Core" else "GiBy.h"
                        yield sku(text, "Compute", usage, region, unit, price * part)
                for gpu, price in GPUS.items():
                    tesla = "" if gpu == "L4" else "Tesla "
                    verb = "attached to Spot Preemptible VMs running" if word else "running"
                    text = f"Nvidia {tesla}{gpu} GPU {verb} in {PLACES[region]}"
                    yield sku(text, "Compute", usage, region, "h", price * part)
                text = (
                    f"SSD backed Local Storage{' attached to Spot Preemptible VMs' if word else ''}"
                )
                yield sku(text, "Storage", usage, region, "GiBy.mo", 0.08 * part)
            for text, price in DISKS.items():
                yield sku(text, "Storage", "OnDemand", region, "GiBy.mo", price)
        for kind, price in (("Standard", 0.005), ("Spot Preemptible", 0.0025)):
            text = f"External IP Charge on a {kind} VM"
            yield sku(text, "Network", "OnDemand", "global", "h", price)
        text = "Commitment v1: N2 Cpu in Americas for 1 Year"
        yield sku(text, "Compute", "Commit1Yr", "us-central1", "h", self.per_core / 2)


def sku(
    text: str,
    family: str = "Compute",
    usage: str = "OnDemand",
    region: str = "us-central1",
    unit: str = "h",
    price: float = 1.0,
) -> dict[str, Any]:
    """Return a SKU as the price list has it."""
    id = f"{zlib.crc32(f'{text} {region} {usage}'.encode()):012X}"
    whole = int(price)
    return {
        "name": f"{SERVICE}/skus/{id}",
        "skuId": id,
        "description": text,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": family,
            "resourceGroup": "CPU",
            "usageType": usage,
        },
        "serviceRegions": [region],
        "pricingInfo": [
            {
                "summary": "",
                "pricingExpression": {
                    "usageUnit": unit,
                    "displayQuantity": 1,
                    "tieredRates": [
                        {
                            "startUsageAmount": 0,
                            "unitPrice": {
                                "currencyCode": "USD",
                                "units": str(whole),
                                "nanos": round((price - whole) * 1e9),
                            },
                        }
                    ],
                },
                "currencyConversionRate": 1,
                "effectiveTime": "2026-11-26T00:00:00.000Z",
            }
        ],
        "serviceProviderName": "Google",
    }
