"""The values of a whole session: of each machine, of the driver, and of all together."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._values import show_in_notebook
from ._metric import Metric
from ._openmetrics import openmetrics
from ._variables import VERSION, Variables, merge


@dataclass(frozen=True, repr=False)
class SessionVariables(Mapping[str, Metric]):
    """The metrics of a session by name, merged: ``session.variables()["rows"].sum``.

    ``machines`` has those of each machine by its name, ``driver`` those of the driver; merged
    are the machines', and what your program has counted in the driver. ``missing`` says of each
    machine that did not answer why.
    """

    machines: Mapping[str, Variables]
    driver: Variables
    missing: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<SessionVariables of {self._machines_text()}: {', '.join(self)}>"

    def __str__(self) -> str:
        """Return a table, a line for each metric of all together."""
        return f"{self._machines_text()}\n{self.merged}"

    _repr_pretty_ = show_in_notebook

    def _machines_text(self) -> str:
        missing = f", {len(self.missing)} missing" if self.missing else ""
        return f"{len(self.machines)} machine{'s' * (len(self.machines) != 1)}{missing}"

    @functools.cached_property
    def merged(self) -> Variables:
        """Those of all machines, and what the program has counted in the driver."""
        users = {n: one for n, one in self.driver.items() if not n.startswith("bigmachine_")}
        driver = Variables(users, self.driver.time, self.driver.scopes)
        return merge([*self.machines.values(), driver])

    def __getitem__(self, name: str) -> Metric:
        return self.merged[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.merged)

    def __len__(self) -> int:
        return len(self.merged)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; see `Variables.to_dict`."""
        return {
            "version": VERSION,
            "merged": self.merged.to_dict(),
            "machines": {name: one.to_dict() for name, one in self.machines.items()},
            "driver": self.driver.to_dict(),
            "missing": dict(self.missing),
        }

    def openmetrics(self) -> str:
        """Return all of it as text for Prometheus, in the OpenMetrics format.

        Each sample has a label ``machine``, which is ``driver`` for the driver's. Serve it as
        `bigmachine.metrics.OPENMETRICS_TYPE`.
        """
        return openmetrics({**self.machines, "driver": self.driver}, missing=self.missing)
