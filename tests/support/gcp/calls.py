"""A call of a method of the API, and the methods that the tests' Compute Engine has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Handler = Callable[["Call"], Any]
HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


@dataclass(frozen=True)
class Call:
    """What was asked for, already checked against the discovery document."""

    method: str
    """As ``instances.get``."""
    parameters: Mapping[str, str]
    body: Mapping[str, Any]
    user: str
    """The account that asks."""
    api_version: str = ""
    """The date in ``X-Goog-Api-Version``; "" without one, which is the old behaviour."""
    quota_project: str = ""
    """The project in ``X-Goog-User-Project``; "" without one, which is that of the caller."""

    def __getitem__(self, name: str) -> str:
        return self.parameters[name]

    def __getattr__(self, name: str) -> str:
        """Return a parameter, as ``call.zone``; "" if it was not given."""
        return self.parameters.get(name, "")


def implements(*methods: str) -> Callable[[HandlerT], HandlerT]:
    """Mark what answers calls of these methods, as ``instances.get``."""

    def mark(handler: HandlerT) -> HandlerT:
        handler.methods = methods  # type: ignore[attr-defined]
        return handler

    return mark


def handlers_of(component: Any) -> Iterator[tuple[str, Handler]]:
    """Yield a component's marked functions, by the methods that they answer."""
    for name in dir(type(component)):
        for method in getattr(getattr(type(component), name), "methods", ()):
            yield method, getattr(component, name)
