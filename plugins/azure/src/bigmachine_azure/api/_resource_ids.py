"""IDs of resources, which Azure writes now in these capitals, now in others."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ID = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"/providers/(?P<provider>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+)(/.*)?"
)


@dataclass(frozen=True, slots=True)
class ResourceId:
    """The parts of a resource's ID, all in lower case: capitals make no difference to Azure.

    ``type`` is its type with its provider: ``microsoft.compute/virtualmachines``. ``str()`` is the
    ID, to compare it with others, and to send it.
    """

    subscription: str
    group: str
    type: str
    name: str

    @classmethod
    def parse(cls, id: str) -> ResourceId:
        """Parse an ID; that of a part of a resource, as of an address of an interface, is its.

        Raises `ValueError` for any other text.
        """
        found = _ID.fullmatch(id.lower())
        if found is None:
            raise ValueError(f"not the ID of a resource in a resource group: {id!r}")
        kind = f"{found['provider']}/{found['kind']}"
        return cls(found["subscription"], found["group"], kind, found["name"])

    def __str__(self) -> str:
        return (
            f"/subscriptions/{self.subscription}/resourcegroups/{self.group}"
            f"/providers/{self.type}/{self.name}"
        )


def normal_id(id: str) -> str:
    """Return a resource's ID as it can be compared; "" if it is empty or malformed."""
    try:
        return str(ResourceId.parse(id))
    except ValueError:
        return ""
