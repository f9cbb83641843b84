"""Types of managed disks: which the machines' disks are of, and how Azure bills their sizes."""

from __future__ import annotations

from dataclasses import dataclass

from bigmachine.errors import UsageError

DEFAULT = "StandardSSD_LRS"

# "Azure managed disk types": these can't be used as OS disks.
_DATA_ONLY = ("PremiumV2_LRS", "UltraSSD_LRS")
# The largest disk of each size that is billed, in GiB, by "Understand Azure Disk Storage billing":
# a disk is billed as the next larger one. The smallest three are not sold as standard HDDs.
_TIERS = (
    (4, 1),
    (8, 2),
    (16, 3),
    (32, 4),
    (64, 6),
    (128, 10),
    (256, 15),
    (512, 20),
    (1024, 30),
    (2048, 40),
    (4096, 50),
    (8192, 60),
    (16384, 70),
    (32767, 80),
)
_MIN_STANDARD_HDD_GIB = 32


@dataclass(frozen=True, slots=True)
class DiskPrice:
    """How the retail prices name a disk: its product, and the meter of its size."""

    product: str
    meter: str


def disk_type(*, requested: str) -> str:
    """Return the type of the machines' disks, by the option ``disk_type``. Raises `UsageError`."""
    if requested in _DATA_ONLY:
        raise UsageError(
            f"disk_type: {requested} disks can't hold an operating system, and all disks of a "
            f"machine are of one type: name Premium_LRS, or omit it"
        )
    return requested or DEFAULT


def disk_price(name: str, *, gib: int) -> DiskPrice:
    """Return what the price of a disk of this type and size is listed as."""
    kind, _, redundancy = name.partition("_")
    product, letter = {
        "Premium": ("Premium SSD Managed Disks", "P"),
        "Standard": ("Standard HDD Managed Disks", "S"),
        "StandardSSD": ("Standard SSD Managed Disks", "E"),
    }[kind]
    size = max(gib, _MIN_STANDARD_HDD_GIB) if kind == "Standard" else gib
    tier = next((tier for most, tier in _TIERS if size <= most), _TIERS[-1][1])
    return DiskPrice(product, f"{letter}{tier} {redundancy} Disk")
