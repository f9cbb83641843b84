"""Names that the driver chooses for VMs, where a provider identifies a VM by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class MachineNames:
    """The names of the machines of one start. Each is sent in one request at a time.

    What a request without an answer has launched may appear later: its names are not used again.
    """

    def __init__(self, names: Iterator[str]) -> None:
        self._new = names
        self._free: list[str] = []

    def take(self, count: int) -> list[str]:
        """Return so many full names, in order."""
        while len(self._free) < count:
            self._free.append(next(self._new))
        taken, self._free = self._free[:count], self._free[count:]
        return taken

    def give_back(self, names: Iterable[str]) -> None:
        """Take back names of which no VM exists."""
        self._free = [*names, *self._free]
