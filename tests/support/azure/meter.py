"""The meter: what is billed at any moment, and what it has come to.

A VM costs what its size costs as long as it is allocated: also while it is *stopped*, which is what
a guest that powers itself off gets. Deallocated, it costs its disks and its address. These cost as
long as there are any ("States and billing status of Azure Virtual Machines").
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.azure.capacity import is_spot, size_of
from tests.support.azure.retail_prices import ADDRESS, disk_price
from tests.support.azure.sizes import SIZES

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm


@dataclass
class Meter:
    """Dollars, by what costs them: ``vm NAME``, ``disk NAME``, ``address NAME``."""

    arm: Arm
    spent: Counter[str] = field(default_factory=Counter)
    """What each has cost so far, as of the last `accrue`."""

    def __post_init__(self) -> None:
        self._since = self.arm.timeline.now()

    @property
    def total(self) -> float:
        """Return what all has cost since the tests' Azure was reset."""
        self.accrue()
        return sum(self.spent.values())

    @property
    def rate(self) -> float:
        """Return what all costs an hour now; 0.0 means that the meter stands still."""
        return sum(self.rates().values())

    def rates(self) -> dict[str, float]:
        """Return what costs how much an hour, now."""
        rates = {}
        for vm in self.arm.vms.all.values():
            if vm.is_billed:
                size = SIZES[size_of(vm.document)]
                price = size.spot_price if is_spot(vm.document) else size.price
                rates[f"vm {vm.name}"] = price
        for disk in self.arm.resources.of_type("Microsoft.Compute/disks"):
            kind, size_gb = disk["sku"]["name"], disk["properties"]["diskSizeGB"]
            rates[f"disk {disk['name']}"] = disk_price(kind, size_gb)
        for address in self.arm.resources.of_type("Microsoft.Network/publicIPAddresses"):
            rates[f"address {address['name']}"] = ADDRESS
        return rates

    def stopped_but_billed(self) -> list[str]:
        """List the VMs that do nothing and cost as much as if they did."""
        vms = self.arm.vms.all.values()
        return sorted(vm.name for vm in vms if vm.power == "stopped" and vm.is_billed)

    def accrue(self) -> None:
        """Bill what has passed; called before anything changes."""
        now = self.arm.timeline.now()
        hours, self._since = (now - self._since) / 3600, now
        for name, rate in self.rates().items():
            self.spent[name] += rate * hours  # type: ignore[assignment]
