"""Images of the marketplace, and how Azure's list of them describes each version.

Names are those of today (Azure's "Endorsed Linux distributions", juju/juju#23063); the documents
are as ``az vm image show`` prints them in Azure's page "Trusted Launch for Azure virtual machines".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NVME = "SCSI, NVMe"


@dataclass(frozen=True)
class Plan:
    """The plan of an image that is sold: who uses it accepts its terms, and names it in VMs."""

    name: str
    product: str
    publisher: str

    def fields(self) -> dict[str, str]:
        return {"name": self.name, "product": self.product, "publisher": self.publisher}


@dataclass(frozen=True)
class PlatformImage:
    """One SKU of the marketplace; its disk in GB."""

    publisher: str
    offer: str
    sku: str
    versions: tuple[str, ...] = ("1.0.20261001", "1.0.20261103")
    """From the oldest to the newest."""
    architecture: str = "x64"
    generation: str = "V2"
    controllers: str = NVME
    size: int = 30
    plan: Plan | None = None
    os: str = "Linux"
    deprecated: bool = False
    python: str = "3.12"
    """That of its distribution, for the cloud in a box."""

    @property
    def urn(self) -> str:
        return f"{self.publisher}:{self.offer}:{self.sku}"

    def properties(self) -> dict[str, Any]:
        """Return what ``virtualMachineImages`` answers of a version."""
        state = "ScheduledForDeprecation" if self.deprecated else "Active"
        properties: dict[str, Any] = {
            "hyperVGeneration": self.generation,
            "architecture": self.architecture,
            "replicaType": "Managed",
            "replicaCount": 10,
            "disallowed": {"vmDiskType": "Unmanaged"},
            "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": False},
            "imageDeprecationStatus": {"imageState": state},
            "features": [
                {"name": "SecurityType", "value": "TrustedLaunchSupported"},
                {"name": "IsAcceleratedNetworkSupported", "value": "True"},
                {"name": "DiskControllerTypes", "value": self.controllers},
            ],
            "osDiskImage": {"operatingSystem": self.os, "sizeInGb": self.size},
            "dataDiskImages": [],
        }
        if self.generation == "V1":
            properties["features"] = properties["features"][1:]
        if self.plan:
            properties["plan"] = self.plan.fields()
        return properties


def public_images() -> list[PlatformImage]:
    """Return the images that bigmachine may choose by itself, and some that need care."""
    canonical, debian = "Canonical", "Debian"
    images = []
    for offer, python in (("ubuntu-24_04-lts", "3.12"), ("ubuntu-26_04-lts", "3.14")):
        number = offer.removeprefix("ubuntu-").removesuffix("-lts").replace("_", ".")
        of = {
            "versions": tuple(f"{number}.2026{date}0" for date in ("0903", "1022", "1118")),
            "python": python,
        }
        images.append(PlatformImage(canonical, offer, "server", **of))  # type: ignore[arg-type]
        arm = PlatformImage(canonical, offer, "server-arm64", architecture="Arm64", **of)  # type: ignore[arg-type]
        old = PlatformImage(
            canonical,
            offer,
            "server-gen1",
            generation="V1",
            controllers="SCSI",
            **of,  # type: ignore[arg-type]
        )
        images += [arm, old]
    jammy = "0001-com-ubuntu-server-jammy"
    images += [
        PlatformImage(canonical, jammy, "22_04-lts-gen2", python="3.10"),
        PlatformImage(canonical, jammy, "22_04-lts-arm64", architecture="Arm64", python="3.10"),
        PlatformImage(
            canonical, jammy, "22_04-lts", generation="V1", controllers="SCSI", python="3.10"
        ),
    ]
    for release, python in (("12", "3.11"), ("13", "3.13")):
        offer = f"debian-{release}"
        versions = ("0.20261006.2261", "0.20261110.2297", "0.20261110.10001")
        of = {"versions": versions, "python": python}
        images += [
            PlatformImage(debian, offer, f"{release}-gen2", **of),  # type: ignore[arg-type]
            PlatformImage(debian, offer, f"{release}-arm64", architecture="Arm64", **of),  # type: ignore[arg-type]
            PlatformImage(debian, offer, release, generation="V1", controllers="SCSI", **of),  # type: ignore[arg-type]
        ]
    images.append(
        PlatformImage(
            "resf",
            "rockylinux-x86_64",
            "9-base",
            size=10,
            plan=Plan("9-base", "rockylinux-x86_64", "resf"),
        )
    )
    images.append(
        PlatformImage("RedHat", "RHEL", "9-lvm-gen2", controllers="SCSI", size=64, python="3.9")
    )
    images.append(
        PlatformImage("MicrosoftWindowsServer", "WindowsServer", "2022-g2", os="Windows", size=127)
    )
    return images
