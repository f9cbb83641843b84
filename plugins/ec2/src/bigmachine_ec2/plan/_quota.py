"""How many vCPUs of each instance family this account may run in the region, by Service Quotas."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import trio

from bigmachine.cloud import for_each
from bigmachine.errors import StartError

from ..api._api import Api
from ..api._errors import AwsError
from ._offers import Offer

logger = logging.getLogger("bigmachine.ec2")

_TIMEOUT = 10.0  # a VPC without internet access may not reach Service Quotas

# Codes of the quotas, as `aws service-quotas list-service-quotas --service-code ec2` lists them:
# the vCPUs of on-demand instances, and of spot requests. A quota applies to the types whose names
# start with these letters ("Amazon EC2 instance type quotas").
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
    """A quota: how many vCPUs may run, including those that run already."""

    code: str
    name: str
    vcpus: float

    def __str__(self) -> str:
        return f"{self.name} ({self.code}): {self.vcpus:g} vCPUs"


async def find_quotas(api: Api, offers: Sequence[Offer]) -> dict[str, Quota]:
    """Return the quotas that apply to these offers, by code, as far as they can be read."""
    found: dict[str, Quota] = {}

    async def fetch(code: str) -> None:
        try:
            reply = await api.read(
                "service-quotas:GetServiceQuota", attempts=1, ServiceCode="ec2", QuotaCode=code
            )
        except AwsError as error:
            logger.debug("the quota %s can't be read: %s", code, error)
        else:
            raw = reply["Quota"]
            found[code] = Quota(code, raw.get("QuotaName", "its quota"), float(raw["Value"]))

    with trio.move_on_after(_TIMEOUT) as scope:
        await for_each({code for code in map(quota_code, offers) if code}, fetch)
    if scope.cancelled_caught:
        logger.debug("Service Quotas does not respond")
    return found


def check_quotas(
    offers: Sequence[Offer], quotas: Mapping[str, Quota], *, region: str
) -> tuple[Offer, ...]:
    """Return the offers of which the quotas allow at least one machine, or are unknown.

    Raises `StartError` if there are none.
    """
    possible = tuple(offer for offer in offers if max_machines([offer], quotas) != 0)
    if not possible:
        listed = "; ".join(map(str, quotas.values()))
        least = min(offer.instance_type.vcpus for offer in offers)
        raise StartError(
            f"this account's quota does not allow a single {_names(offers)} in {region}: a machine "
            f"has at least {least} vCPUs, and the quota is: {listed}. Request a quota increase "
            f"(Service Quotas, Amazon EC2; it takes hours or days), or use other types, another "
            f"market or another region"
        )
    return possible


def warn_of_quotas(offers: Sequence[Offer], quotas: Mapping[str, Quota], *, count: int) -> None:
    """Log a warning if the quotas do not allow so many machines, even if none run already."""
    room = max_machines(offers, quotas)
    if room is not None and count > room:
        listed = "; ".join(map(str, quotas.values()))
        logger.warning("%d machines are more than the quota allows: %s", count, listed)


def max_machines(offers: Sequence[Offer], quotas: Mapping[str, Quota]) -> int | None:
    """Return how many machines of the smallest types the quotas allow; None if unknown."""
    least: dict[str, int] = {}
    for offer in offers:
        code = quota_code(offer)
        if code not in quotas:
            return None
        least[code] = min(least.get(code, offer.instance_type.vcpus), offer.instance_type.vcpus)
    return sum(int(quotas[code].vcpus // vcpus) for code, vcpus in least.items())


def quota_code(offer: Offer) -> str:
    """Return the code of the quota for this type and market; "" if unknown."""
    [family] = re.findall("^[a-z]*", offer.instance_type.name)
    is_spot = offer.market == "spot"
    if is_spot and re.match("p[5-9]", offer.instance_type.name):
        return ""  # AWS once had another quota for these than for p2 to p4, and no longer has it
    return _CODES.get(family, ("", ""))[is_spot]


def _names(offers: Iterable[Offer]) -> str:
    return ", ".join(dict.fromkeys(offer.instance_type.name for offer in offers))
