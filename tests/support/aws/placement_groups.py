"""EC2's placement groups, which moto does not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class PlacementGroups:
    """The placement groups of the account; none at first."""

    _items: dict[str, str] = field(default_factory=dict)  # by name, in XML

    def add(self, name: str, strategy: str, *, state: str = "available") -> None:
        """Have one more."""
        self._items[name] = (
            f"<item><groupName>{name}</groupName><state>{state}</state>"
            f"<strategy>{strategy}</strategy></item>"
        )

    def describe(self, parameters: Mapping[str, str]) -> bytes:
        """Return the response to DescribePlacementGroups, which may be filtered by a name."""
        name = parameters.get("Filter.1.Value.1")
        found = [item for key, item in self._items.items() if name in (None, key)]
        return (
            '<DescribePlacementGroupsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
            f"<requestId>r</requestId><placementGroupSet>{''.join(found)}</placementGroupSet>"
            "</DescribePlacementGroupsResponse>"
        ).encode()
