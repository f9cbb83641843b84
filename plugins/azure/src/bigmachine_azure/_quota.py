"""How much the subscription may have in the location: vCPUs, and public addresses.

"Check vCPU quotas" of the virtual machines' documentation says which quota is about what. Names
and values of real answers: Azure/azure-powershell issue 26256, Azure/azure-cli issue 28074.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import StartError

from ._api import Api
from ._errors import AzureError
from ._offers import Offer
from ._options import AzureOptions

logger = logging.getLogger("bigmachine.azure")

# Spot VMs count against the second one alone.
_CORES, _SPOT_CORES, _VMS = "cores", "lowprioritycores", "virtualmachines"
# All are about the addresses of machines: the first one counts basic ones, too. In free trials, the
# second is used up: StaticPublicIPCountLimitReached (Azure/data-management-zone issue 314).
_ADDRESSES = (
    "publicipaddresses",
    "staticpublicipaddresses",
    "standardskupublicipaddresses",
    "ipv4standardskupublicipaddresses",
)


class Quotas:
    """The quotas that a session's machines count against, as they were when they were read."""

    def __init__(self, options: AzureOptions, quotas: Mapping[str, Quota]) -> None:
        """``quotas`` are by `_key`."""
        self._options = options
        self._quotas = quotas

    def keep_possible(self, offers: Sequence[Offer]) -> list[Offer]:
        """Return the offers of which the quotas allow at least one machine.

        Raises `StartError` if there are none. A warning is logged if other resources use all of
        the quota just now.
        """
        possible = [o for o in offers if not self._short([o], lambda quota: quota.limit)]
        if not possible:
            names = ", ".join(dict.fromkeys(offer.type_name for offer in offers))
            lacking = self._short(offers, lambda quota: quota.limit)
            raise StartError(
                f"this subscription's quota does not allow a single {names}: {lacking}. Request "
                f"an increase (Quotas, in the Azure portal; free trials must be upgraded first), "
                f"or use other sizes, another market or location"
            )
        if lacking := self._short(possible, lambda quota: quota.room):
            logger.warning("other resources use this subscription's quota up just now: %s", lacking)
        for offer in offers:
            if offer not in possible:
                logger.debug("%s is left out: no quota", offer)
        return possible

    def warn(self, offers: Sequence[Offer], *, count: int) -> None:
        """Log a warning if there was no room for so many machines of any offer."""
        if lacking := self._short(offers, lambda quota: quota.room, count=count):
            logger.warning("%d machines are more than the quota may allow: %s", count, lacking)

    def _short(
        self, offers: Sequence[Offer], available: Callable[[Quota], float], *, count: int = 1
    ) -> str:
        """Return what so many machines of each offer lack; "" if one offer lacks nothing."""
        listed: dict[str, None] = {}
        for offer in offers:
            short = [
                f"{count * amount:g} of {self._quotas[name]}"
                for name, amount in self._needs(offer).items()
                if available(self._quotas[name]) < count * amount
            ]
            if not short:
                return ""
            listed |= dict.fromkeys(short)
        return "; ".join(listed)

    def _needs(self, offer: Offer) -> dict[str, int]:
        """Return how much of each known quota one machine needs."""
        vcpus = offer.size.quota_vcpus
        needs = {_VMS: 1}
        if offer.market == "spot":
            needs[_SPOT_CORES] = vcpus
        else:
            needs |= {_CORES: vcpus, _key(offer.size.family): vcpus}
        if self._options.public_address:
            needs |= dict.fromkeys(_ADDRESSES, 1)
        return {name: amount for name, amount in needs.items() if name in self._quotas}


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota: how much there may be, and how much there is now. ``name`` is Azure's for people."""

    name: str
    limit: float
    usage: float
    location: str

    @property
    def room(self) -> float:
        """How much is left."""
        return self.limit - self.usage

    def __str__(self) -> str:
        return (
            f"{self.name} in {self.location} are needed, and the limit is {self.limit:g} "
            f"({self.usage:g} in use)"
        )


async def find_quotas(api: Api, o: AzureOptions, *, location: str) -> Quotas:
    """Return the quotas of the location, as far as they can be read."""
    found: dict[str, Quota] = {}
    methods = ["usage.list", "usages.list"] if o.public_address else ["usage.list"]
    for method in methods:  # of Microsoft.Compute, and of Microsoft.Network
        try:
            raws = await api.read_all(method, location=location)
        except AzureError as error:
            if not error.is_denied:
                raise
            logger.debug("the quotas of %s can't be read: %s", location, error)
            continue
        found |= {_key(raw["name"]["value"]): _quota_from(raw, location) for raw in raws}
    return Quotas(o, found)


def _key(name: str) -> str:
    """Return a quota's name as it is compared.

    The SKUs and the usages write a family in several ways: ``standardDSv5Family``,
    ``StandardDsv6Family``, ``Standard NCASv3_T4 Family``.
    """
    return "".join(name.split()).lower()


def _quota_from(raw: Mapping[str, Any], location: str) -> Quota:
    name = raw["name"]
    limit = raw.get("limit", -1)
    return Quota(
        name=name.get("localizedValue") or name["value"],
        # Nothing says what a negative limit would be, and it can't be less than none.
        limit=limit if limit >= 0 else math.inf,
        usage=raw.get("currentValue", 0),
        location=location,
    )
