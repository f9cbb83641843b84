"""What instances cost an hour: computed from Google's price list."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import trio

from bigmachine.cloud import Offer, price_seconds
from bigmachine.errors import BigmachineError, StartError
from bigmachine.system import Instance

from ..api._advice import explain
from ..api._api import Api
from ..api._errors import GcpError
from ..options._options import GcpOptions
from ._disk_types import disk_types, local_ssd_gib, local_ssds
from ._machine_types import MachineType, describe_types
from ._price_cache import default_file, load_rates, save_rates
from ._price_list import COMPUTE_ENGINE, FIELDS, Rate, rates_of

logger = logging.getLogger("bigmachine.gcp")

_TIMEOUT = 20.0  # a start must not wait longer for prices that are merely shown
_PAGE_SIZE = 5000  # the most, and there are several times as many
# "Shared-core machine types" of VM pricing: a vCPU of theirs is billed as this part of one.
_SHARED_CORE = {"e2-micro": 0.25, "e2-small": 0.5, "e2-medium": 1.0}
# Types whose vCPUs and memory have SKUs of their own.
_OWN_SKUS = {"a3-megagpu-": "a3plus", "a3-ultragpu-": "a3ultra", "m4-ultramem-224": "m4ultramem224"}
# Local SSDs of these series have the SKU without a series, also where they come with the type.
_SHARED_LOCAL_SSD = frozenset({"a2", "a3", "c2", "c2d", "c3", "c3d", "g2", "m3", "n1", "n2", "n2d"})

_Parts = dict[tuple[str, str], float]
"""How much there is of resources, by market and resource: of what `Rate` says the price."""


@dataclasses.dataclass(frozen=True, slots=True)
class PriceKey:
    """What an instance's price depends on: its market, machine type and zone."""

    market: str
    machine_type: str
    zone: str


class Prices:
    """Prices in US dollars, as far as Google's price list tells them; it is requested once a day.

    An instance's price includes its GPUs and local SSDs, and the disks and the external address
    that the options give it. A bill has more on it, which depends on use: above all, traffic.

    ``cache_file`` keeps the list for other sessions; by default a file of the user's, and none
    with an emulator.
    """

    def __init__(self, api: Api, options: GcpOptions, *, cache_file: Path | None = None) -> None:
        self.failure: BigmachineError | None = None
        """Why prices are unknown, and what to do about it."""
        self._api = api
        self._options = options
        self._cache_file = cache_file
        if cache_file is None and not options.endpoint_url:
            self._cache_file = default_file()
        self._rates: tuple[Rate, ...] | None = None
        self._by_region: dict[str, dict[tuple[str, str], float]] = {}
        self._types: dict[str, MachineType] = {}

    async def fetch(self, keys: Iterable[PriceKey]) -> None:
        """Request these prices. Failures are logged, and no error."""
        zones = {key.machine_type: key.zone for key in keys}
        unknown = [name for name in zones if name not in self._types]
        if unknown:
            try:
                self._types |= await describe_types(
                    self._api, unknown, zones={zones[name] for name in unknown}
                )
            except GcpError as error:
                self._note(error)
        if zones:
            await self._fetch_rates()

    def per_hour(self, offer: Offer, /) -> float | None:
        """Return what an instance costs an hour, its extras included; None if unknown."""
        machine_type = self._types.get(offer.type_name)
        if machine_type is None:
            return None
        return self._with_extras(offer.market, machine_type, offer.zone)

    def spot_per_hour(self, offer: Offer, /) -> float | None:
        """Return what a spot instance alone costs an hour; None if unknown."""
        machine_type = self._types.get(offer.type_name)
        return self._sum(self._parts("spot", machine_type), offer.zone) if machine_type else None

    def priced(self, instance: Instance) -> Instance:
        """Return an instance with its price."""
        machine_type = self._types.get(instance.details["instance_type"])
        cost = None
        if machine_type is not None:
            cost = self._with_extras(instance.details["market"], machine_type, instance.zone)
        return dataclasses.replace(instance, cost_per_hour=cost)

    def _with_extras(self, market: str, machine_type: MachineType, zone: str) -> float | None:
        o = self._options
        possible = disk_types(machine_type)
        disk = o.disk_type if o.disk_type in possible else possible[0]
        extras: _Parts = {("", disk): o.disk + o.data_disk}
        if o.public_address:
            extras[market, "address"] = 1
        return self._sum({**self._parts(market, machine_type), **extras}, zone)

    def _parts(self, market: str, machine_type: MachineType) -> _Parts:
        """Return how much of which resources an instance itself is made of."""
        o, name, series = self._options, machine_type.name, _series_of_skus(machine_type)
        parts: _Parts = {
            (market, f"{series} core"): _SHARED_CORE.get(name, machine_type.vcpus),
            (market, f"{series} ram"): machine_type.memory_bytes / (1 << 30),
        }
        accelerators = machine_type.accelerators
        if o.accelerator:
            accelerators = ((o.accelerator_type, o.accelerator_count),)
        for gpu, count in accelerators:
            parts[market, gpu] = count
        ssds = machine_type.local_ssds or (o.local_disks and local_ssds(machine_type))
        if ssds:
            is_shared = machine_type.series in _SHARED_LOCAL_SSD
            resource = "local-ssd" if is_shared else f"{machine_type.series} local-ssd"
            parts[market, resource] = ssds * local_ssd_gib(machine_type)
        return parts

    def _sum(self, parts: _Parts, zone: str) -> float | None:
        rates = self._in_region(zone.rpartition("-")[0])
        if not parts.keys() <= rates.keys():
            return None
        return sum(amount * rates[part] for part, amount in parts.items())

    def _in_region(self, region: str) -> Mapping[tuple[str, str], float]:
        """Return the prices in a region, by market and resource: of several, the highest."""
        if region not in self._by_region:
            found: dict[tuple[str, str], float] = {}
            for rate in self._rates or ():
                if rate.regions & {region, "global"}:
                    key = rate.market, rate.resource
                    found[key] = max(found.get(key, 0.0), rate.price)
            self._by_region[region] = found
        return self._by_region[region]

    async def _fetch_rates(self) -> None:
        if self._rates is not None:
            return
        timeout = price_seconds(self._options, shown=_TIMEOUT)
        with trio.move_on_after(timeout) as scope:
            try:
                self._rates = await self._load_rates()
            except GcpError as error:
                self._note(error)
        if scope.cancelled_caught:
            self._note(StartError(f"Google's price list was not complete after {timeout:g} s"))
        self._rates = self._rates or ()

    async def _load_rates(self) -> tuple[Rate, ...]:
        file = self._cache_file
        if file is None:
            return await self._read_rates()
        rates = await trio.to_thread.run_sync(load_rates, file)
        if rates is None:
            rates = await self._read_rates()
            if rates:  # else something is wrong with it
                await trio.to_thread.run_sync(save_rates, file, rates)
        return rates

    async def _read_rates(self) -> tuple[Rate, ...]:
        rates: list[Rate] = []
        token = ""
        while True:
            page: Any = await self._api.read_json(
                "cloudbilling",
                f"v1/{COMPUTE_ENGINE}/skus",
                currencyCode="USD",
                pageSize=_PAGE_SIZE,
                pageToken=token,
                fields=FIELDS,
            )
            rates += rates_of(page.get("skus", ()))
            token = page.get("nextPageToken", "")
            if not token:
                return tuple(rates)

    def _note(self, error: GcpError | StartError) -> None:
        failure = explain(error) if isinstance(error, GcpError) else error
        if self.failure is None:
            logger.info("prices are unknown: %s", failure)
        self.failure = failure


def _series_of_skus(machine_type: MachineType) -> str:
    """Return the series in whose SKUs a type's vCPUs and memory are; "?" for none that is known."""
    name = machine_type.name
    if "custom-" in name or name in ("f1-micro", "g1-small"):
        return "?"
    for prefix, series in _OWN_SKUS.items():
        if name.startswith(prefix):
            return series
    return machine_type.series
