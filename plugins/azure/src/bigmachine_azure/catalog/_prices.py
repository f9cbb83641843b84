"""What VMs cost an hour, by Azure's retail prices: a bill may have a discount."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import trio

from bigmachine.cloud import for_each, price_seconds
from bigmachine.errors import StartError
from bigmachine.system import Instance

from ..options._options import AzureOptions
from ._disk_types import disk_price, disk_type
from ._retail_prices import PUBLIC_URL, RetailPrices

logger = logging.getLogger("bigmachine.azure")

_TIMEOUT = 20.0  # a start must not wait longer for prices that are merely shown


@dataclasses.dataclass(frozen=True, slots=True)
class PriceKey:
    """What a VM's price depends on: its market, size and location."""

    market: str
    size: str
    location: str


class HasPrice(Protocol):
    """What has a price: an offer, or a VM."""

    @property
    def price_key(self) -> PriceKey: ...


class Prices:
    """Prices in US dollars, as far as Azure's list has them; each is requested once a session.

    A VM's price includes its disks and its public address, as the options give them. A bill has
    more on it, which depends on use: above all traffic, and the operations of standard disks.
    """

    def __init__(self, options: AzureOptions) -> None:
        self.failure: StartError | None = None
        """Why prices are unknown, and what to do about it."""
        self._options = options
        self._list = RetailPrices(options.endpoint_url.rstrip("/") or PUBLIC_URL)
        self._vms: dict[tuple[str, str], Mapping[str, float]] = {}  # by size and location
        self._extras: dict[str, float | None] = {}  # by location

    async def fetch(self, keys: Iterable[PriceKey]) -> None:
        """Request these prices. Failures are logged, and no error."""
        wanted = {(key.size, key.location) for key in keys}
        calls: list[Callable[[], Awaitable[None]]] = [
            *(_bind(self._fetch_vm, *each) for each in wanted - self._vms.keys()),
            *(
                _bind(self._fetch_extras, location)
                for location in {location for _, location in wanted} - self._extras.keys()
            ),
        ]
        timeout = price_seconds(self._options, shown=_TIMEOUT)
        with trio.move_on_after(timeout) as scope:
            try:
                await for_each(calls, lambda call: call())
            except StartError as error:
                self._note(error)
        if scope.cancelled_caught:
            self._note(StartError(f"Azure's price list had not answered after {timeout:g} s"))

    def per_hour(self, offer: HasPrice, /) -> float | None:
        """Return what a VM costs an hour, its disks and address included; None if unknown."""
        return self._with_extras(offer.price_key)

    def spot_per_hour(self, offer: HasPrice, /) -> float | None:
        """Return what a spot VM alone costs an hour; None if unknown."""
        return self._of_vm(dataclasses.replace(offer.price_key, market="spot"))

    def priced(self, instance: Instance, *, location: str) -> Instance:
        """Return an instance with its price."""
        details = instance.details
        key = PriceKey(details["market"], details["instance_type"], location)
        return dataclasses.replace(instance, cost_per_hour=self._with_extras(key))

    def _with_extras(self, key: PriceKey) -> float | None:
        vm, extras = self._of_vm(key), self._extras.get(key.location)
        return None if vm is None or extras is None else vm + extras

    def _of_vm(self, key: PriceKey) -> float | None:
        return self._vms.get((key.size, key.location), {}).get(key.market)

    async def _fetch_vm(self, size: str, location: str) -> None:
        self._vms[size, location] = await self._list.vm_prices(size, location=location)

    async def _fetch_extras(self, location: str) -> None:
        """Request what a VM's disks and its address cost together."""
        o = self._options
        name = disk_type(requested=o.disk_type)
        disks = [o.disk]
        if o.data_disk:
            disks += [math.ceil(o.data_disk / o.data_volumes)] * o.data_volumes
        prices: list[float | None] = []
        for gib in set(disks):
            meter = disk_price(name, gib=gib)
            price = await self._list.disk_price(meter.product, meter.meter, location=location)
            prices += [price] * disks.count(gib)
        if o.public_address:
            prices.append(await self._list.address_price(location=location))
        known = [price for price in prices if price is not None]
        self._extras[location] = sum(known) if len(known) == len(prices) else None

    def _note(self, failure: StartError) -> None:
        if self.failure is None:
            logger.info("prices are unknown: %s", failure)
        self.failure = failure


def _bind(call: Callable[..., Awaitable[None]], *args: str) -> Callable[[], Awaitable[None]]:
    return lambda: call(*args)
