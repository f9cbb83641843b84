"""How much of each family this account may run in the region, as Service Quotas has it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import trio

from bigmachine.errors import StartError

from ._api import Api
from ._batch import for_each
from ._errors import AwsError
from ._offers import Offer

logger = logging.getLogger("bigmachine.ec2")

_TIMEOUT = 10.0  # a VPC without internet may have no way to Service Quotas

# Codes of the quotas, as `aws service-quotas list-service-quotas --service-code ec2` lists them:
# vCPUs that run on demand, and those of spot requests. A family's quota is by the letters that
# the names of its types begin with ("Amazon EC2 instance type quotas").
_STANDARD = ("L-1216C47A", "L-34B43A08")
_G_AND_VT = ("L-DB2E81BA", "L-3819A6DF")
_CODES = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), _STANDARD),
    "dl": ("L-6E869C2A", "L-85EED4F7"),
    "f": ("L-74FC7D96", "L-88CF9481"),
    "g": _G_AND_VT,
    "hpc": ("L-F7808C92", ""),
    "inf": ("L-1945791B", "L-B5D1601B"),
    "p": ("L-417A185B", "L-7212CCBC"),
    "trn": ("L-2C3B7624", "L-6B0D517C"),
    "u": ("L-43DA4232", ""),
    "vt": _G_AND_VT,
    "x": ("L-7295265B", "L-E3A00192"),
}


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota: how many vCPUs, counting those that run already."""

    code: str
    name: str
    vcpus: float

    def __str__(self) -> str:
        return f"{self.name} ({self.code}): {self.vcpus:g} vCPUs"


async def find_quotas(api: Api, offers: Sequence[Offer]) -> dict[str, Quota]:
    """Return the quotas that these offers fall under, by code: those that may be asked for."""
    found: dict[str, Quota] = {}

    async def ask(code: str) -> None:
        try:
            reply = await api.read(
                "service-quotas:GetServiceQuota", tries=1, ServiceCode="ec2", QuotaCode=code
            )
        except AwsError as error:
            logger.debug("the quota %s is not to be had: %s", code, error)
        else:
            raw = reply["Quota"]
            found[code] = Quota(code, raw.get("QuotaName", "its quota"), float(raw["Value"]))

    with trio.move_on_after(_TIMEOUT) as scope:
        await for_each({code for code in map(quota_code, offers) if code}, ask)
    if scope.cancelled_caught:
        logger.debug("Service Quotas does not answer")
    return found


def check_quotas(offers: Sequence[Offer], quotas: Mapping[str, Quota], *, region: str) -> None:
    """Raise `StartError` if it is known that not one of these can be bought."""
    if machines_within(offers, quotas) == 0:
        told = "; ".join(map(str, quotas.values()))
        least = min(offer.kind.vcpus for offer in offers)
        raise StartError(
            f"this account may run none of {_names(offers)} in {region}, where a machine has "
            f"{least} vCPUs or more, and the quota is: {told}. Have it raised (Service Quotas, "
            f"Amazon EC2; it takes hours or days), or use other types or another market or region"
        )


def warn_of_quotas(offers: Sequence[Offer], quotas: Mapping[str, Quota], *, count: int) -> None:
    """Say so if it is known that so many can't be bought, whatever runs already."""
    room = machines_within(offers, quotas)
    if room is not None and count > room:
        told = "; ".join(map(str, quotas.values()))
        logger.warning("%d machines are more than the quota has room for: %s", count, told)


def machines_within(offers: Sequence[Offer], quotas: Mapping[str, Quota]) -> int | None:
    """Return how many of the smallest the quotas have room for; None where that is not known."""
    least: dict[str, int] = {}
    for offer in offers:
        code = quota_code(offer)
        if code not in quotas:
            return None
        least[code] = min(least.get(code, offer.kind.vcpus), offer.kind.vcpus)
    return sum(int(quotas[code].vcpus // vcpus) for code, vcpus in least.items())


def quota_code(offer: Offer) -> str:
    """Return the code of the quota for this type and market, or nothing where it is not known."""
    [family] = re.findall("^[a-z]*", offer.kind.name)
    is_spot = offer.market == "spot"
    if is_spot and re.match("p[5-9]", offer.kind.name):
        return ""  # AWS had these under another quota than p2 to p4, and then no more
    return _CODES.get(family, ("", ""))[is_spot]


def _names(offers: Iterable[Offer]) -> str:
    return ", ".join(dict.fromkeys(offer.kind.name for offer in offers))
