"""Azure's retail prices: a public service that needs no credentials.

``https://prices.azure.com/api/retail/prices`` takes an OData filter of ``eq``, ``and``, ``or`` and
``contains``, and answers with pages of items ("Azure Retail Prices REST API"). It is slow unless
it is filtered tightly (grafana/cloudcost-exporter pull request 885). What the items of VMs, disks
and addresses are called was taken from the answers in public repositories: those of one size are
its price, its spot price ("D2s v5 Spot"), the one of a retired product ("D2s v5 Low Priority"),
and all of these again for Windows ("Virtual Machines Dv5 Series Windows"); some sizes also have
"Cloud Services" and "DedicatedHost" ones (mattrobinsonsre/terrapod issue 931).
"""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

import trio

from bigmachine.cloud import backoff
from bigmachine.errors import StartError

logger = logging.getLogger("bigmachine.azure")

PUBLIC_URL = "https://prices.azure.com"
_PATH = "/api/retail/prices"
_VERSION = "2023-01-01-preview"
_TIMEOUT = 30.0
_ATTEMPTS = 3  # it is busy now and then, and throttles
_MOST_PAGES = 20
_OTHER_PRODUCTS = ("windows", "cloud services", "cloudservices", "dedicatedhost", "dedicated host")
_HOURS_PER_MONTH = 730.0  # of a disk's month, by Azure's price calculator
_TO_AN_HOUR = {"1 Hour": 1.0, "1/Hour": 1.0, "1/Month": 1 / _HOURS_PER_MONTH}

_ADDRESS = "Standard IPv4 Static Public IP"


class RetailPrices:
    """Azure's price list, at a URL. Prices are US dollars an hour."""

    def __init__(self, url: str = PUBLIC_URL) -> None:
        self._url = url

    async def vm_prices(self, size: str, *, location: str) -> Mapping[str, float]:
        """Return what a VM of this size costs in a location, by market, as far as it is sold.

        Raises `StartError` if the service can't be reached.
        """
        items = await self._items(
            serviceName="Virtual Machines", armRegionName=location, armSkuName=size
        )
        prices: dict[str, float] = {}
        for item in items:
            market = _market(item)
            if market and (price := _price(item)):
                prices[market] = max(price, prices.get(market, 0.0))
        return prices

    async def disk_price(self, product: str, meter: str, *, location: str) -> float | None:
        """Return what a managed disk costs; None if that is unknown. Raises `StartError`."""
        items = await self._items(
            serviceName="Storage", armRegionName=location, productName=product, meterName=meter
        )
        return max(filter(None, map(_price, items)), default=None)

    async def address_price(self, *, location: str) -> float | None:
        """Return what a public address costs; None if that is unknown. Raises `StartError`.

        Where the list has none for the location, it is what most have.
        """
        items = await self._items(serviceName="Virtual Network", meterName=_ADDRESS)
        here = [item for item in items if item.get("armRegionName") == location]
        return max(filter(None, map(_price, here or items)), default=None)

    async def _items(self, **properties: str) -> list[dict[str, Any]]:
        conditions = {**properties, "priceType": "Consumption"}
        filter = " and ".join(f"{name} eq '{value}'" for name, value in conditions.items())
        query = urllib.parse.urlencode(
            {"api-version": _VERSION, "currencyCode": "USD", "$filter": filter}
        )
        url, items = f"{self._url}{_PATH}?{query}", list[dict[str, Any]]()
        for _ in range(_MOST_PAGES):
            page = await self._page(url)
            items += page.get("Items") or ()
            url = page.get("NextPageLink") or ""
            if not url:
                break
        return items

    async def _page(self, url: str) -> dict[str, Any]:
        for delay in backoff(_ATTEMPTS):
            try:
                return await trio.to_thread.run_sync(_fetch, url, abandon_on_cancel=True)
            except StartError as error:
                logger.debug("%s; retrying in %.1f s", error, delay)
            await trio.sleep(delay)
        return await trio.to_thread.run_sync(_fetch, url, abandon_on_cancel=True)


def _fetch(url: str) -> dict[str, Any]:
    try:
        # With the user's proxies and certificates, like the SDK's requests.
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as reply:
            page = json.load(reply)
    except urllib.error.HTTPError as exc:
        with exc:  # it is the response, too
            raise _unreadable(url, f"it answered {exc.code} {exc.reason}") from exc
    except (OSError, ValueError) as exc:
        raise _unreadable(url, str(getattr(exc, "reason", exc))) from exc
    if not isinstance(page, dict):
        raise _unreadable(url, "it returned something else")
    return page


def _unreadable(url: str, why: str) -> StartError:
    parts = urllib.parse.urlsplit(url)
    host = f"{parts.scheme}://{parts.netloc}"
    return StartError(f"Azure's price list can't be read ({why}): allow requests to {host}")


def _market(item: Mapping[str, Any]) -> str:
    """Return the market of an item about a VM with Linux; "" for another item."""
    product = item.get("productName", "").lower()
    if any(words in product for words in _OTHER_PRODUCTS):
        return ""
    words = f"{item.get('skuName', '')} {item.get('meterName', '')}".lower()
    if "low priority" in words:
        return ""
    return "spot" if " spot" in words else "on-demand"


def _price(item: Mapping[str, Any]) -> float:
    """Return the price of an hour; 0 if there is none that can be understood."""
    if item.get("currencyCode") != "USD" or item.get("type") != "Consumption":
        return 0.0
    factor = _TO_AN_HOUR.get(item.get("unitOfMeasure", ""), 0.0)
    return float(item.get("retailPrice") or 0.0) * factor
