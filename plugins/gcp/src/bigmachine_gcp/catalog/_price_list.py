"""What Google's price list says of the resources that an instance is made of.

The list (Cloud Billing Catalog API, ``services.skus.list``) has no prices of machine types. It has
one entry (SKU) for each resource in each place: vCPUs and memory of a machine series, GPUs, disks,
addresses. Nothing but its ``description`` says which resource that is. The descriptions here are
those that several projects rely on: Cyclenerd/google-cloud-pricing-cost-calculator (mapping.csv),
cloudpilot-ai/karpenter-provider-gcp (pkg/providers/pricing), skypilot-org/skypilot (fetch_gcp.py).
What is not described so has no price here, which is better than a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COMPUTE_ENGINE = "services/6F81-5844-456A"
"""The service whose SKUs these are."""
FIELDS = (
    "nextPageToken,skus(description,category/usageType,serviceRegions,"
    "pricingInfo/pricingExpression(usageUnit,tieredRates/unitPrice))"
)
"""The part of an answer that is read here, for the parameter ``fields``: a fifth of it."""

_MARKETS = {"OnDemand": "on-demand", "Preemptible": "spot"}
_SPOT = "Spot Preemptible "
_HOURS_PER_MONTH = 730.0  # of a GiB-month, by Google's price calculator
_TO_AN_HOUR = {
    "h": 1.0,
    "GiBy.h": 1.0,
    "GBy.h": 2**30 / 10**9,  # what is measured here are GiB
    "GiBy.mo": 1 / _HOURS_PER_MONTH,
}
_CORE_OR_RAM = re.compile(r"(.+?)(?: Instance)? (Core|Ram) running in ")
_SERIES = re.compile(r"([A-Z]\d+[A-Za-z0-9]*)(?: AMD| Arm| Predefined| Memory-optimized)?")
_LOCAL_SSD = re.compile(r"([A-Z]\d+[A-Z]*) Instance Local SSD running in ")
_GPU = re.compile(r"(.+ GPU) (?:running|attached to Spot Preemptible VMs running) in ")
_GPUS = {
    "Nvidia H100 80GB GPU": "nvidia-h100-80gb",
    "Nvidia H100 80GB Mega GPU": "nvidia-h100-mega-80gb",
    "Nvidia H100 80GB Plus GPU": "nvidia-h100-mega-80gb",
    "Nvidia L4 GPU": "nvidia-l4",
    "Nvidia Tesla A100 80GB GPU": "nvidia-a100-80gb",
    "Nvidia Tesla A100 GPU": "nvidia-tesla-a100",
    "Nvidia Tesla P100 GPU": "nvidia-tesla-p100",
    "Nvidia Tesla P4 GPU": "nvidia-tesla-p4",
    "Nvidia Tesla T4 GPU": "nvidia-tesla-t4",
    "Nvidia Tesla V100 GPU": "nvidia-tesla-v100",
}
_DISKS = {
    "Balanced PD Capacity": "pd-balanced",
    "Hyperdisk Balanced Capacity": "hyperdisk-balanced",
    "SSD backed PD Capacity": "pd-ssd",
    "Storage PD Capacity": "pd-standard",
}
_ADDRESSES = {
    "External IP Charge on a Standard VM": "on-demand",
    "External IP Charge on a Spot Preemptible VM": "spot",
}


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit of a resource costs an hour, in US dollars, on a market, in these regions.

    ``resource`` is ``"n2 core"`` (a vCPU), ``"n2 ram"`` (a GiB), ``"c4 local-ssd"`` (a GiB, or
    ``"local-ssd"`` where it has no series), the name of a GPU, the type of a disk (a GiB), or
    ``"address"``. Disks cost the same on each market, which is then "".
    """

    market: str
    resource: str
    regions: frozenset[str]
    price: float


def rates_of(skus: Iterable[Mapping[str, Any]]) -> Iterable[Rate]:
    """Yield the rates that these SKUs are, as ``services.skus.list`` returns them."""
    for sku in skus:
        described = _resource(sku.get("description", ""), sku.get("category", {}))
        price = _price(sku.get("pricingInfo", ()))
        if described and price:
            yield Rate(*described, frozenset(sku.get("serviceRegions", ())), price)


def _resource(description: str, category: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the market and the resource that a SKU is about; None if it is another one."""
    market = _MARKETS.get(category.get("usageType", ""))
    if market is None:  # a commitment
        return None
    if description in _ADDRESSES:  # both are "OnDemand"
        return _ADDRESSES[description], "address"
    for words, disk in _DISKS.items():
        if description == words or description.startswith(f"{words} in "):
            return "", disk
    if description.startswith("SSD backed Local Storage"):
        return market, "local-ssd"
    if (gpu := _GPU.match(description)) and gpu[1] in _GPUS:
        return market, _GPUS[gpu[1]]
    rest = description.removeprefix(_SPOT)
    if local_ssd := _LOCAL_SSD.match(rest):
        return market, f"{local_ssd[1].lower()} local-ssd"
    if part := _CORE_OR_RAM.match(rest):
        series = "c2" if part[1] == "Compute optimized" else ""
        if name := _SERIES.fullmatch(part[1]):
            series = name[1].lower()
        return (market, f"{series} {part[2].lower()}") if series else None
    return None


def _price(pricing: Iterable[Mapping[str, Any]]) -> float:
    """Return the price of an hour; 0 if there is none that can be understood.

    Of several, as where a part is free each month, it is the highest.
    """
    expression = next(iter(pricing), {}).get("pricingExpression", {})
    factor = _TO_AN_HOUR.get(expression.get("usageUnit", ""), 0.0)
    prices = [
        float(money.get("units", 0)) + money.get("nanos", 0) / 1e9
        for rate in expression.get("tieredRates", ())
        if (money := rate.get("unitPrice", {})).get("currencyCode") == "USD"
    ]
    return max(prices, default=0.0) * factor
