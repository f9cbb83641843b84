"""Azure's list of retail prices, which needs no credentials (``prices.azure.com`` in real life).

Its items are as those that others have stored of it: of each size there is one for each of Linux,
Windows, spot and low priority, and only words tell them apart ("Azure Retail Prices overview").
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.support.azure.odata import parse
from tests.support.azure.places import LOCATIONS
from tests.support.azure.sizes import SIZES, Size

PATH = "/api/retail/prices"
ADDRESS = 0.005
"""What a standard IPv4 address costs an hour."""
DISKS = {
    "Premium_LRS": ("Premium SSD Managed Disks", "P", (4.0, 5.28, 10.21, 19.71, 38.02, 73.22)),
    "StandardSSD_LRS": ("Standard SSD Managed Disks", "E", (1.2, 2.4, 4.8, 9.6, 19.2, 38.4)),
    "Standard_LRS": ("Standard HDD Managed Disks", "S", (0.8, 1.54, 3.01, 5.89, 11.33, 21.76)),
}
"""Types of disks: product, letter of the tiers, and what these cost a month."""
TIERS = {"3": 16, "4": 32, "6": 64, "10": 128, "15": 256, "20": 512}
"""Tiers of disks, and how many GiB each has at most; a disk costs what its tier does."""
HOURS = 730.0
"""Of a month, as Azure counts them."""
_PRICE_PAGE = 100
_FILTERABLE = frozenset(
    {
        *("armRegionName", "armSkuName", "location", "Location", "meterId", "meterName"),
        *("priceType", "productId", "productName", "serviceFamily", "serviceId", "serviceName"),
        *("skuId", "skuName", "unitOfMeasure"),
    }
)


def disk_price(kind: str, size: int) -> float:
    """Return what a disk of a type and of so many GiB costs an hour, running or not."""
    _, _, prices = DISKS.get(kind, DISKS["Premium_LRS"])
    fits = [price for price, most in zip(prices, TIERS.values(), strict=True) if size <= most]
    return (fits[0] if fits else prices[-1] * size / 512) / HOURS


@dataclass
class RetailPrices:
    """The list; a test may change it, or have it be out of reach."""

    items: list[dict[str, Any]] = field(default_factory=lambda: [*_all_items()])
    """A test may add to them, but not change one: they are the same in all of this process."""
    page_size: int = _PRICE_PAGE
    status: int = 200
    """What all requests are answered, if not 200."""
    requests: list[str] = field(default_factory=list)
    """The filters that were asked for."""
    url: str = ""
    """Of the server, for the links to next pages."""

    def answer(self, query: Mapping[str, str]) -> tuple[int, Any]:
        """Answer a request: status and content."""
        text = query.get("$filter", "")
        self.requests.append(text)
        if self.status != 200:
            return self.status, {"Error": {"Code": "ServiceUnavailable", "Message": "Busy."}}
        try:
            is_wanted = parse(text, _FILTERABLE) if text else lambda item: True
        except ValueError as error:
            return 400, {"Error": {"Code": "InvalidRequest", "Message": str(error)}}
        found = [item for item in self.items if is_wanted({**item, "priceType": item["type"]})]
        start = int(query.get("$skip", 0))
        page = found[start : start + self.page_size]
        rest = start + self.page_size < len(found)
        more = urlencode({**query, "$skip": start + self.page_size})
        return 200, {
            "BillingCurrency": "USD",
            "CustomerEntityId": "Default",
            "CustomerEntityType": "Retail",
            "Items": page,
            "NextPageLink": f"{self.url}{PATH}?{more}" if rest else None,
            "Count": len(page),
        }


def item(location: str, price: float, **fields: Any) -> dict[str, Any]:
    """Return one item, with the fields that all have."""
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": location,
        "location": LOCATIONS.get(location, location),
        "effectiveStartDate": "2026-11-01T00:00:00Z",
        "meterId": f"{abs(hash((location, *fields.values()))):032x}",
        "productId": "DZH318Z08NCX",
        "skuId": "DZH318Z08NCX/00F5",
        "serviceId": "DZH313Z7MMC8",
        "serviceName": "Virtual Machines",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": "",
        **fields,
    }


@functools.cache
def _all_items() -> tuple[dict[str, Any], ...]:
    return tuple(_items())


def _items() -> Iterator[dict[str, Any]]:
    for location in LOCATIONS:
        for size in SIZES.values():
            if location in size.locations:
                yield from _items_of(size, location)
        for product, letter, prices in DISKS.values():
            for (tier, _), price in zip(TIERS.items(), prices, strict=True):
                of: dict[str, Any] = {
                    "serviceName": "Storage",
                    "serviceFamily": "Storage",
                    "productName": product,
                    "skuName": f"{letter}{tier} LRS",
                }
                name = f"{letter}{tier} LRS Disk"
                yield item(location, price, **of, meterName=name, unitOfMeasure="1/Month")
                yield item(
                    location, 0.002, **of, meterName=f"{name} Operations", unitOfMeasure="10K"
                )
                yield item(location, 9.0, **of, meterName=f"{name} Mount", unitOfMeasure="1/Month")
        address = {
            "serviceName": "Virtual Network",
            "serviceFamily": "Networking",
            "productName": "IP Addresses",
        }
        for sku, price in (("Standard", ADDRESS), ("Basic", 0.0036), ("Global", 0.01)):
            name = f"{sku} IPv4 Static Public IP"
            yield item(location, price, **address, skuName=sku, meterName=name)


def _items_of(size: Size, location: str) -> Iterator[dict[str, Any]]:
    short = size.name.removeprefix("Standard_").replace("_", " ")
    product = f"Virtual Machines {_series(short)} Series"
    for suffix, share in (
        ("", 1.0),
        (" Spot", size.spot_price / size.price),
        (" Low Priority", 0.4),
    ):
        for os, more in (("", 0.0), (" Windows", 0.046 * size.vcpus)):
            yield item(
                location,
                round(size.price * share + more, 6),
                armSkuName=size.name,
                productName=f"{product}{os}",
                skuName=f"{short}{suffix}",
                meterName=f"{short}{suffix}",
            )
    yield item(
        location,
        round(size.price * 8760 * 0.6, 2),
        armSkuName=size.name,
        productName=product,
        skuName=short,
        meterName=short,
        type="Reservation",
        reservationTerm="1 Year",
    )
    dev_test = {"productName": f"{product} Windows", "type": "DevTestConsumption"}
    yield item(
        location, size.price, armSkuName=size.name, skuName=short, meterName=short, **dev_test
    )


def _series(short: str) -> str:
    """Return ``Dsv5`` of ``D2s v5``."""
    name, _, version = short.partition(" ")
    return "".join(letter for letter in name if not letter.isdigit()) + version.split(" ")[-1]
