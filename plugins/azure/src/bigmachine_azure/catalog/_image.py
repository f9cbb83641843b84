"""An image, and the plan of the Azure Marketplace that it may be sold by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """What an image of the Azure Marketplace is sold by: a VM's ``plan``."""

    publisher: str
    product: str
    name: str

    @property
    def body(self) -> dict[str, str]:
        """The plan as requests have it."""
        return {"name": self.name, "publisher": self.publisher, "product": self.product}


@dataclass(frozen=True, slots=True)
class Image:
    """An image. ``name`` is its URN or ID, with its version, so that all machines boot the same.

    ``key`` is the property of an image reference that an ID is for: ``"id"``,
    ``"communityGalleryImageId"`` or ``"sharedGalleryImageId"``; "" for a URN.
    ``architecture``, ``generation`` and ``controllers`` are as those of a `VmSize`; all are empty
    if the caller may not read the image. The OS disk needs at least ``disk_gib``, 0 if that is
    unknown. ``needs_trusted_launch`` is whether it boots in VMs of that security type alone, as
    what was captured from one.
    """

    name: str
    key: str
    architecture: str
    generation: str
    controllers: frozenset[str]
    disk_gib: int = 0
    plan: Plan | None = None
    needs_trusted_launch: bool = False

    @property
    def reference(self) -> dict[str, str]:
        """The ``imageReference`` of requests."""
        if self.key:
            return {self.key: self.name}
        return dict(
            zip(("publisher", "offer", "sku", "version"), self.name.split(":"), strict=True)
        )
