"""What can be bought: machine types, on markets, in zones, in the user's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..catalog._disk_types import attachable_local_ssds, disk_type, local_ssds
from ..catalog._images import Image
from ..catalog._machine_types import MachineType
from ..catalog._prices import PriceKey
from ..options._options import GcpOptions


@dataclass(frozen=True, slots=True)
class Disks:
    """The disks that an instance of one offer has.

    ``type_name`` is of the boot disk and the data disks. ``attached_ssds`` are the local SSDs that
    a launch request must name, which those that come with the type are not.
    """

    type_name: str
    attached_ssds: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine type, on a market, in a zone: a pool of capacity to try."""

    market: str
    machine_type: MachineType
    zone: str
    image: Image
    disks: Disks

    def __str__(self) -> str:
        return f"{self.market} {self.machine_type} in {self.zone}"

    @property
    def type_name(self) -> str:
        """The name of the machine type."""
        return self.machine_type.name

    @property
    def price_key(self) -> PriceKey:
        """What its price depends on."""
        return PriceKey(self.market, self.type_name, self.zone)


def list_offers(
    o: GcpOptions,
    types: Sequence[MachineType],
    images: Mapping[str, Image],
    zones: Sequence[str],
) -> list[Offer]:
    """List what can be bought, in order: zones change first, then types, and markets last.

    Raises `UsageError` for a type that the option ``disk_type`` does not fit.
    """
    disks = {each.name: _disks(each, o) for each in types}
    return [
        Offer(market, each, zone, images[each.architecture], disks[each.name])
        for market in o.markets
        for each in types
        if market in each.markets
        for zone in zones
        if zone in each.zones
    ]


def bulk_groups(offers: Sequence[Offer]) -> Iterator[list[Offer]]:
    """Yield the offers that one ``bulkInsert`` can choose among, in order.

    They differ in type and zone only. One request has one market, and one image and list of
    disks for all of its types, so a type that needs others comes in the next request.
    """
    group: list[Offer] = []
    for offer in offers:
        if group and _shape(offer) != _shape(group[0]):
            yield group
            group = []
        group.append(offer)
    if group:
        yield group


def _shape(offer: Offer) -> tuple[object, ...]:
    # Attached GPUs are properties of the request, and those of a type are not.
    accelerators = offer.machine_type.accelerators
    return offer.market, offer.image, offer.disks, accelerators


def _disks(machine_type: MachineType, o: GcpOptions) -> Disks:
    is_attached = o.local_disks and attachable_local_ssds(machine_type)
    return Disks(
        type_name=disk_type(machine_type, requested=o.disk_type),
        attached_ssds=local_ssds(machine_type) if is_attached else 0,
    )
