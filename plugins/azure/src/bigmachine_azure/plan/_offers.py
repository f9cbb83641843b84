"""What can be bought: VM sizes, on markets, in zones, in the user's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..catalog._image import Image
from ..catalog._prices import PriceKey
from ..catalog._vm_sizes import VmSize
from ..options._options import AzureOptions


@dataclass(frozen=True, slots=True)
class Offer:
    """A VM size, on a market, in a zone: a pool of capacity to try.

    ``zone`` is "" for a VM that Azure may put anywhere in the ``location``. All of its disks are
    of the type ``disk_type``.
    """

    market: str
    size: VmSize
    location: str
    zone: str
    image: Image
    disk_type: str

    def __str__(self) -> str:
        zone = f", zone {self.zone}" if self.zone else ""
        return f"{self.market} {self.size} in {self.location}{zone}"

    @property
    def type_name(self) -> str:
        """The name of the size."""
        return self.size.name

    @property
    def disk_controller(self) -> str:
        """The ``diskControllerType`` to request; "" where Azure's own choice is right.

        Without one, a size that has NVMe alone may be taken for one with SCSI
        (kubermatic/machine-controller issue 1980).
        """
        return "NVMe" if self.size.controllers == {"NVMe"} else ""

    @property
    def price_key(self) -> PriceKey:
        """What its price depends on."""
        return PriceKey(self.market, self.type_name, self.location)


def list_offers(
    o: AzureOptions,
    sizes: Sequence[VmSize],
    images: Mapping[str, Image],
    *,
    location: str,
    disk_type: str,
    markets: Sequence[str],
) -> list[Offer]:
    """List what can be bought, in order: zones change first, then sizes, and markets last.

    ``images`` are by the name of the size; ``markets`` are those that the subscription has.
    """
    return [
        Offer(market, size, location, zone, images[size.name], disk_type)
        for market in markets
        for size in sizes
        if market in size.markets
        for zone in o.zone_names or ("",)
        if not zone or zone in size.zones
    ]
