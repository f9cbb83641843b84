"""One virtual machine: its document, and what is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.azure.capacity import is_spot
from tests.support.azure.errors import ArmError
from tests.support.azure.images import Source
from tests.support.azure.resources import Document
from tests.support.azure.sizes import Size


@dataclass
class Vm:
    """A VM; its document is what is answered."""

    document: Document
    size: Size
    source: Source
    sent: Mapping[str, Any]
    """The body of the request that it is from, with its custom data."""
    power: str = ""
    """``running``, ``stopped``, ``deallocated``…; "" before it is allocated."""
    failure: ArmError | None = None
    """Why it could not be made."""
    is_settled: bool = False
    """Whether the operation that makes it may end."""
    console: str = ""
    """What its first serial port has shown."""
    history: list[str] = field(default_factory=list)
    """The power states that it has had."""

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def state(self) -> str:
        """Its provisioning state."""
        return str(self.document["properties"]["provisioningState"])

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.document.get("tags", {}))

    @property
    def is_spot(self) -> bool:
        return is_spot(self.document)

    @property
    def is_billed(self) -> bool:
        """Whether its size is paid for."""
        return self.power not in ("", "deallocated")

    @property
    def custom_data(self) -> str:
        """What its guest finds as custom data, in base64."""
        return str(self.sent["properties"].get("osProfile", {}).get("customData", ""))
