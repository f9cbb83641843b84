"""How much the subscription may have in the location: vCPUs, and public addresses.

"Check vCPU quotas" of the virtual machines' documentation says which quota is about what. Names
and values of real answers: Azure/azure-powershell issue 26256, Azure/azure-cli issue 28074.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from bigmachine.cloud import Quota, Quotas

from ..api._api import Api
from ..api._errors import AzureError
from ..options._options import AzureOptions
from ._offers import Offer

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


class SubscriptionQuotas(Quotas[Offer]):
    """The quotas of a subscription that a session's machines count against, by `_key`."""

    system = "azure"
    account = "subscription"
    increased_at = "Quotas, in the Azure portal; free trials must be upgraded first"
    alternatives = "other sizes, another market or location"

    def __init__(self, options: AzureOptions, quotas: Mapping[str, Quota]) -> None:
        super().__init__(quotas)
        self._options = options

    def needs(self, offer: Offer) -> dict[str, float]:
        """Return how much of each quota one machine needs."""
        vcpus = offer.size.quota_vcpus
        needs: dict[str, float] = {_VMS: 1}
        if offer.market == "spot":
            needs[_SPOT_CORES] = vcpus
        else:
            needs |= {_CORES: vcpus, _key(offer.size.family): vcpus}
        if self._options.public_address:
            needs |= dict.fromkeys(_ADDRESSES, 1)
        return needs


async def find_quotas(api: Api, o: AzureOptions, *, location: str) -> SubscriptionQuotas:
    """Return the quotas of the location, as far as they can be read."""
    found: dict[str, Quota] = {}
    methods = ["usage.list", "usages.list"] if o.public_address else ["usage.list"]
    for method in methods:  # of Microsoft.Compute, and of Microsoft.Network
        try:
            raws = await api.read_all(method, location=location)
        except AzureError as error:
            logger.debug("the quotas of %s can't be read: %s", location, error)
            continue
        found |= {_key(raw["name"]["value"]): _quota_from(raw, location) for raw in raws}
    return SubscriptionQuotas(o, found)


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
        place=location,
    )
