"""A call of an operation of the API, and the operations that the tests' Azure has.

Operations have the names of Azure's SDK, as ``virtual_machines.create_or_update`` of
``azure.mgmt.compute``; those of services without an SDK here are named likewise.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

from tests.support.azure.entra import Principal

Handler = Callable[["Call"], Any]
HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

SUBSCRIPTION = "/subscriptions/{subscription}"
GROUP = f"{SUBSCRIPTION}/resourceGroups/{{group}}"
"""Where the paths of resources begin that are in a resource group."""


@dataclass(frozen=True)
class Route:
    """An operation: where it is, and what is sent and answered."""

    name: str
    """As ``virtual_machines.get``."""
    verb: str
    template: str
    """The path, as ``/subscriptions/{subscription}/resourceGroups/{group}``."""
    body: str = ""
    """The model of what is sent, as ``compute.VirtualMachine``; "" if nothing is."""
    answer: str = ""
    """The model of what is answered; with ``[]`` behind it, a page of a list of these."""
    query: Sequence[str] = ()
    """Parameters that are known, beside ``api-version``."""

    @property
    def provider(self) -> str:
        """The namespace, as ``Microsoft.Compute``; ``Microsoft.Resources`` where there is none."""
        _, found, rest = self.template.rpartition("/providers/")
        name = rest.partition("/")[0]
        return name if found and not name.startswith("{") else "Microsoft.Resources"

    @property
    def type(self) -> str:
        """What it is about, as ``Microsoft.Compute/virtualMachines``, or ``…/locations/usages``."""
        _, found, rest = self.template.rpartition("/providers/")
        parts = rest.split("/")[1:] if found else self.template.strip("/").split("/")
        return "/".join([self.provider, *(of for of in parts if not of.startswith("{"))])


@dataclass(frozen=True)
class Call:
    """What was asked for, already checked against Azure's models."""

    method: str
    """The operation, as ``virtual_machines.get``."""
    verb: str
    path: str
    """As it was sent, which is an ARM id where it leads to a resource."""
    parameters: Mapping[str, str]
    """Those in the path."""
    query: Mapping[str, str]
    """The others, as ``$filter``, without ``api-version``."""
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: Mapping[str, Any]
    user: Principal
    """Who asks."""
    api_version: str
    provider: str
    """As ``Microsoft.Compute``."""

    def __getitem__(self, name: str) -> str:
        return self.parameters[name]

    def __getattr__(self, name: str) -> str:
        """Return a parameter of the path, as ``call.group``; "" if it has none."""
        return self.parameters.get(name, "")


@dataclass(frozen=True)
class Answer:
    """What an operation's function returns where a status of 200 and a body are not all."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def implements(
    name: str,
    verb: str,
    template: str,
    *,
    body: str = "",
    answer: str = "",
    query: Sequence[str] = (),
) -> Callable[[HandlerT], HandlerT]:
    """Mark what answers calls of an operation, with the fields of `Route`; may be repeated.

    It returns the body of an answer with status 200, an `Answer`, or raises `ArmError`.
    """

    def mark(handler: HandlerT) -> HandlerT:
        route = Route(name, verb, template, body, answer, query)
        handler.routes = [*getattr(handler, "routes", ()), route]  # type: ignore[attr-defined]
        return handler

    return mark


class Routes:
    """The operations of all components, found by verb and path; case does not matter in paths."""

    def __init__(self, components: Sequence[Any]) -> None:
        self._routes: dict[int, list[tuple[list[str], Route, Handler]]] = defaultdict(list)
        for component in components:
            for route, handler in _routes_of(component):
                parts = route.template.lower().strip("/").split("/")
                self._routes[len(parts)].append((parts, route, handler))

    def find(self, verb: str, path: str) -> tuple[Route, Handler, dict[str, str]] | None:
        """Return an operation, what answers it, and the parameters that are in the path."""
        parts = path.strip("/").split("/")
        for pattern, route, handler in self._routes[len(parts)]:
            if route.verb == verb and all(map(_fits, pattern, parts)):
                names = route.template.strip("/").split("/")
                return route, handler, _in_path(names, parts)
        return None


def _routes_of(component: Any) -> Iterator[tuple[Route, Handler]]:
    yield from component.routes() if hasattr(component, "routes") else ()
    for route, name in _marked(type(component)):
        yield route, getattr(component, name)


@functools.cache
def _marked(kind: type) -> list[tuple[Route, str]]:
    """Return the functions of a class that `implements` has marked, by name."""
    return [
        (route, name) for name in dir(kind) for route in getattr(getattr(kind, name), "routes", ())
    ]


def _fits(wanted: str, part: str) -> bool:
    return wanted.startswith("{") or wanted == part.lower()


def _in_path(names: Sequence[str], parts: Sequence[str]) -> dict[str, str]:
    return {
        name[1:-1]: unquote(part)
        for name, part in zip(names, parts, strict=True)
        if name.startswith("{")
    }
