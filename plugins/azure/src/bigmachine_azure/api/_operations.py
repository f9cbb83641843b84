"""What Azure does after it has accepted a change: an operation, until it is done."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FINAL_STATES = frozenset({"succeeded", "failed", "canceled"})
"""Of operations and of resources, in lowercase: all others go on, whatever their names."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A change that Azure has accepted, by the answer to the request that asked for it.

    Azure tells in one of three ways how it goes on ("Track asynchronous Azure operations"): at
    the URL in the header Azure-AsyncOperation, in that of Location, which answers 202 until it is
    done, or by the resource's own `provisioningState`.
    """

    action: str
    """The method that began it, as errors name it."""
    method: str
    """The HTTP method of the request: PUT, PATCH, POST or DELETE."""
    url: str
    """The URL of the request: for PUT and PATCH that of the resource."""
    status: int
    """The HTTP status of its answer: 200 and 204 are done, unless a header or a state says no."""
    result: Mapping[str, Any] = field(default_factory=dict)
    """The answer's body: of a PUT the resource as it was then; {} if there was none."""
    status_url: str = ""
    """The answer's Azure-AsyncOperation: ``{"status": …, "error": …}``; "" if it has none."""
    location_url: str = ""
    """The answer's Location; "" if it has none."""
    retry_after: float = 0.0
    """For how many seconds not to ask, at first."""

    @property
    def resource_url(self) -> str:
        """The URL that reads what is changed: without what only its change takes."""
        path, _, query = self.url.partition("?")
        given = urllib.parse.parse_qs(query)
        return f"{path}?{urllib.parse.urlencode({'api-version': given['api-version'][0]})}"

    @property
    def is_done(self) -> bool:
        """Whether the answer itself was the end."""
        has_location = self.status == 202 and bool(self.location_url)
        return not (self.status_url or has_location or is_in_progress(self.result))


def is_in_progress(resource: Mapping[str, Any]) -> bool:
    """Whether Azure still changes a resource, by its `provisioningState`."""
    state = provisioning_state(resource)
    return bool(state) and state.lower() not in FINAL_STATES


def provisioning_state(resource: Mapping[str, Any]) -> str:
    """Return the `provisioningState` of a resource's body; "" if it has none."""
    properties = resource.get("properties")
    state = properties.get("provisioningState") if isinstance(properties, Mapping) else None
    return str(state or "")
