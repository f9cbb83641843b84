"""What Google does after it has accepted a change: an operation, until it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..options._option_formats import last_part


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, wherever it runs: in a zone, in a region, or in the whole project."""

    action: str
    """The method that began it, as errors name it: ``"compute.instances.insert"``."""
    name: str
    zone: str = ""
    region: str = ""
    group: str = ""
    """What a bulk operation and its children have in common; "" for others."""
    target: str = ""
    """The URL of the resource that it changes."""
    project: str = ""
    """The project that it runs in, which may be the host project of a Shared VPC."""

    @classmethod
    def of(cls, action: str, operation: Any) -> Operation:
        """Return the handle of an operation of the SDK. Any: the SDK is imported late."""
        return cls(
            action,
            operation.name,
            zone=last_part(operation.zone),
            region=last_part(operation.region),
            group=operation.operation_group_id,
            target=operation.target_link,
            project=operation.self_link.partition("/projects/")[2].partition("/")[0],
        )

    @property
    def service(self) -> str:
        """The service that knows it."""
        return f"{'zone' if self.zone else 'region' if self.region else 'global'}_operations"

    @property
    def request(self) -> dict[str, str]:
        """The fields of a request for it."""
        given = {"project": self.project, "zone": self.zone, "region": self.region}
        return {"operation": self.name, **{key: name for key, name in given.items() if name}}
