"""Google's price list for tests: the Cloud Billing Catalog API, checked against its document.

The SKUs are a small part of the real ones, described in the words of these, with prices of 2026
or near them. Some are there to be mistaken for others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.catalog import REGIONS
from tests.support.gcp.errors import GceError

SERVICE = "services/6F81-5844-456A"
"""Compute Engine."""

CORES = {
    "E2 Instance": (0.02181, 0.00292),
    "N1 Predefined Instance": (0.031611, 0.004237),
    "N2 Instance": (0.031611, 0.004237),
    "N2D AMD Instance": (0.027502, 0.003686),
    "N4 Instance": (0.03, 0.004),
    "C3 Instance": (0.03398, 0.003938),
    "C4 Instance": (0.03465, 0.003938),
    "C4A Arm Instance": (0.03086, 0.003507),
    "T2A Arm Instance": (0.0272, 0.0034),
    "Compute optimized": (0.03398, 0.00455),
    "G2 Instance": (0.024988, 0.002927),
}
"""What a vCPU and a GiB cost an hour; spot costs a quarter."""
GPUS = {"Nvidia Tesla T4 GPU": 0.35, "Nvidia L4 GPU": 0.56004}
DISKS = {
    "Storage PD Capacity": 0.04,
    "Balanced PD Capacity": 0.1,
    "SSD backed PD Capacity": 0.17,
    "Hyperdisk Balanced Capacity": 0.08,
}
SPOT = 0.25


@dataclass
class PriceList:
    """The list; a test may change it."""

    skus: list[dict[str, Any]] = field(default_factory=lambda: [*_skus()])
    page_size: int = 25
    refusal: GceError | None = None
    """What all requests are answered."""
    requests: int = 0

    @implements("cloudbilling.services.skus.list")
    def list(self, call: Call) -> Any:
        self.requests += 1
        if call.parent != SERVICE:
            raise GceError(404, "notFound", "Requested entity was not found.")
        if self.refusal:
            raise self.refusal
        start = int(call.pageToken or 0)
        end = start + min(self.page_size, int(call.pageSize or 5000))
        token = str(end) if end < len(self.skus) else ""
        return {"skus": self.skus[start:end], "nextPageToken": token}


def sku(
    description: str,
    price: float,
    *,
    unit: str = "h",
    usage: str = "OnDemand",
    regions: tuple[str, ...] = REGIONS,
    group: str = "CPU",
    family: str = "Compute",
    free: bool = False,
) -> dict[str, Any]:
    """Return a SKU as the API answers it; a part of ``free`` ones costs nothing."""
    nanos = round(price * 1e9)
    money = {"currencyCode": "USD", "units": str(nanos // 10**9), "nanos": nanos % 10**9}
    nothing = {"currencyCode": "USD", "units": "0", "nanos": 0}
    rates = [{"startUsageAmount": 0, "unitPrice": money}]
    if free:
        rates = [
            {"startUsageAmount": 0, "unitPrice": nothing},
            {"startUsageAmount": 30, "unitPrice": money},
        ]
    return {
        "name": f"services/6F81-5844-456A/skus/{abs(hash(description)):X}",
        "description": description,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": family,
            "resourceGroup": group,
            "usageType": usage,
        },
        "serviceRegions": [*regions],
        "pricingInfo": [
            {
                "effectiveTime": "2026-11-26T00:00:00Z",
                "pricingExpression": {"usageUnit": unit, "tieredRates": rates},
                "currencyConversionRate": 1,
            }
        ],
        "serviceProviderName": "Google",
    }


def _skus() -> list[dict[str, Any]]:
    skus = []
    for words, (core, ram) in CORES.items():
        for part, price, unit in (("Core", core, "h"), ("Ram", ram, "GiBy.h")):
            name = f"{words} {part} running in Americas"
            skus.append(sku(name, price, unit=unit, group=part))
            spot = f"Spot Preemptible {name}"
            skus.append(sku(spot, price * SPOT, unit=unit, usage="Preemptible", group=part))
    for words, price in GPUS.items():
        skus.append(sku(f"{words} running in Americas", price, group="GPU"))
        spot = f"{words} attached to Spot Preemptible VMs running in Americas"
        skus.append(sku(spot, price * SPOT, usage="Preemptible", group="GPU"))
    for words, price in DISKS.items():
        of_disks = {"unit": "GiBy.mo", "family": "Storage", "free": words.startswith("Storage")}
        skus.append(sku(words, price, **of_disks))  # type: ignore[arg-type]
    for words, usage in (("", "OnDemand"), (" attached to Spot Preemptible VMs", "Preemptible")):
        price = 0.08 * (1 if usage == "OnDemand" else SPOT)
        name = f"SSD backed Local Storage{words}"
        skus.append(sku(name, price, unit="GiBy.mo", usage=usage, group="LocalSSD"))
    everywhere = {"regions": ("global",), "group": "IpAddress", "family": "Network"}
    skus.append(sku("External IP Charge on a Standard VM", 0.005, **everywhere))  # type: ignore[arg-type]
    skus.append(
        sku("External IP Charge on a Spot Preemptible VM", 0.0025, **everywhere)  # type: ignore[arg-type]
    )
    return [*skus, *_others()]


def _others() -> list[dict[str, Any]]:
    """Return SKUs of which a part of the words is another one's."""
    return [
        sku("Commitment v1: N2 Cpu in Americas for 1 Year", 9.0, usage="Commit1Yr"),
        sku("N2 Custom Instance Core running in Americas", 9.0),
        sku("N2 Sole Tenancy Instance Core running in Americas", 9.0),
        sku("Reserved N2 Instance Core running in Americas", 9.0),
        sku("N2 Instance Core running in Mars", 9.0, regions=("mars-north1",)),
        sku("Regional Balanced PD Capacity", 9.0, unit="GiBy.mo", family="Storage"),
        sku("Static Ip Charge", 9.0, family="Network"),
        sku("N2 Instance Core running in a strange unit", 9.0, unit="By"),
    ]
