"""What can be bought."""

from __future__ import annotations

from typing import Protocol


class Offer(Protocol):
    """An instance type, on a market, in a zone: a capacity pool to try. ``str()`` names all three.

    ``zone`` is empty where the provider chooses one. An offer is hashable.
    """

    @property
    def market(self) -> str: ...

    @property
    def type_name(self) -> str: ...

    @property
    def zone(self) -> str: ...
