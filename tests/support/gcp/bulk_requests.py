"""What a bulkInsert asks for: names, and where which machine types may be made."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call
from tests.support.gcp.capacity import pool_of
from tests.support.gcp.catalog import ZONES
from tests.support.gcp.errors import GceError, invalid
from tests.support.gcp.instance_rules import check_instance
from tests.support.schemas import REFUSED

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

MOST = 5000
"""Instances of one request."""
_PATTERN = re.compile(r"([^#]*)(#{1,18})([^#]*)")


@dataclass(frozen=True)
class Shape:
    """A machine type in a zone, and the instance that would be made there, without a name."""

    zone: str
    rank: int
    body: Mapping[str, Any]

    @property
    def pool(self) -> str:
        return pool_of(self.body, self.zone)


@dataclass(frozen=True)
class BulkRequest:
    """A checked request."""

    scope: str
    names: Sequence[str]
    least: int
    shapes: Sequence[Shape]
    """All that are allowed, of the best rank first."""
    target_shape: str
    limits: Mapping[str, int]
    """How many instances at most may be made in a zone, where that is limited."""

    def most_in(self, zone: str) -> int:
        return self.limits.get(zone, len(self.names))

    def zones_by_room(self, room: Mapping[str, int]) -> list[str]:
        """Return the zones in which instances are made, that with most room first."""
        zones = list(dict.fromkeys(shape.zone for shape in self.shapes))

        def most(zone: str) -> int:
            pools = {shape.pool for shape in self.shapes if shape.zone == zone}
            return min(sum(max(room[pool], 0) for pool in pools), self.most_in(zone))

        zones.sort(key=lambda zone: -min(most(zone), len(self.names)))
        return zones[:1] if self.target_shape == "ANY_SINGLE_ZONE" else zones

    def shapes_in(self, zones: Sequence[str], taken: Mapping[str, int]) -> list[Shape]:
        """Return those of these zones, in the order in which they are tried."""
        found = [shape for shape in self.shapes if shape.zone in zones]
        balance = taken if self.target_shape == "BALANCED" else dict.fromkeys(zones, 0)
        return sorted(found, key=lambda s: (s.rank, balance[s.zone], zones.index(s.zone)))


def parse(gce: Gce, call: Call, scope: str) -> BulkRequest:
    """Return what a request asks for; raises `GceError` where Google refuses it."""
    body = call.body
    names, least = _names(gce, body, scope)
    shapes = [
        shape
        for zone in _zones(body, scope)
        for shape in _shapes(gce, zone, body, is_regional=scope.startswith("regions/"))
    ]
    if not shapes:
        # Nothing is offered in any zone: the answer is that of the first one.
        zone = _zones(body, scope)[0]
        _checked(gce, zone, _instance(zone, body, _types(body)[0][1], {}))
    policy = body.get("locationPolicy", {})
    limits = {
        zone.rpartition("/")[2]: of["constraints"]["maxCount"]
        for zone, of in policy.get("locations", {}).items()
        if "maxCount" in of.get("constraints", {})
    }
    return BulkRequest(
        scope,
        names,
        least,
        sorted(shapes, key=lambda shape: shape.rank),
        policy.get("targetShape", "ANY_SINGLE_ZONE"),
        limits,
    )


def _names(gce: Gce, body: Mapping[str, Any], scope: str) -> tuple[list[str], int]:
    given = body.get("perInstanceProperties", {})
    pattern = body.get("namePattern", "")
    if bool(given) == bool(pattern):
        why = "Either it or perInstanceProperties must be set."
        raise invalid("resource.namePattern", pattern, why)
    if "count" not in body:
        raise GceError(400, "required", "Required field 'resource.count' not specified")
    count, least = int(body["count"]), int(body.get("minCount", body["count"]))
    if not 1 <= count <= MOST:
        raise invalid("resource.count", count, f"Must be between 1 and {MOST}.")
    if not 1 <= least <= count:
        raise invalid("resource.minCount", least, "Must be between 1 and count.")
    if given:
        if len(given) < count:
            why = "Must not exceed the number of entries in perInstanceProperties."
            raise invalid("resource.count", count, why)
        for name, properties in given.items():
            key = properties.get("name", name)
            if not re.fullmatch(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", key):
                why = "Must be a match of regex '[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?'"
                REFUSED.append(f"perInstanceProperties: {name!r}: {why}")
                raise invalid("resource.perInstanceProperties", name, why)
        return [*given][:count], least
    return _numbered(gce, pattern, count), least


def _numbered(gce: Gce, pattern: str, count: int) -> list[str]:
    found = _PATTERN.fullmatch(pattern)
    if found is None:
        raise invalid("resource.namePattern", pattern, "Must contain one sequence of 1 to 18 '#'.")
    start, digits, end = found.groups()
    regex = re.compile(rf"{re.escape(start)}(\d{{{len(digits)}}}){re.escape(end)}")
    used = [int(m[1]) for _, name in gce.instances.all if (m := regex.fullmatch(name))]
    first = max(used, default=0) + 1
    return [f"{start}{number:0{len(digits)}}{end}" for number in range(first, first + count)]


def _zones(body: Mapping[str, Any], scope: str) -> list[str]:
    place, _, name = scope.partition("/")
    policy = body.get("locationPolicy", {})
    if place == "zones":
        if policy:
            raise invalid("resource.locationPolicy", "…", "Only regional requests may have it.")
        return [name]
    zones = [zone for zone in ZONES if zone.startswith(f"{name}-")]
    for key in (*policy.get("locations", {}), *(of["zone"] for of in policy.get("zones", ()))):
        if not key.endswith(tuple(f"zones/{zone}" for zone in zones)):
            raise invalid("resource.locationPolicy", key, f"Must be a zone of region '{name}'.")
    named = {of["zone"].rpartition("/")[2] for of in policy.get("zones", ())}
    denied = {
        key.rpartition("/")[2]
        for key, of in policy.get("locations", {}).items()
        if of.get("preference") == "DENY"
    }
    allowed = [zone for zone in zones if zone not in denied and (not named or zone in named)]
    if not allowed:
        raise invalid("resource.locationPolicy", "…", "No zone is allowed.")
    return allowed


def _shapes(gce: Gce, zone: str, body: Mapping[str, Any], *, is_regional: bool) -> list[Shape]:
    if "instanceFlexibilityPolicy" in body and not is_regional:
        why = "Only regional requests may have it."
        raise invalid("resource.instanceFlexibilityPolicy", "…", why)
    shapes = []
    for rank, machine_type, selection in _types(body):
        is_known = machine_type in gce.catalog.machine_types
        if is_regional and is_known and not gce.catalog.offers(machine_type, zone):
            continue  # a zone of the region that has it is taken
        given = _instance(zone, body, machine_type, selection)
        shapes.append(Shape(zone, rank, _checked(gce, zone, given)))
    return shapes


def _types(body: Mapping[str, Any]) -> list[tuple[int, str, Mapping[str, Any]]]:
    """Return the machine types that are asked for: rank, name, and what is said for it."""
    properties = body.get("instanceProperties", {})
    selections = body.get("instanceFlexibilityPolicy", {}).get("instanceSelections", {})
    if not selections:
        if "machineType" not in properties:
            text = "Required field 'resource.instanceProperties.machineType' not specified"
            raise GceError(400, "required", text)
        return [(0, _bare(properties["machineType"], "machineType"), {})]
    return [
        (int(selection.get("rank", 0)), _bare(machine_type, "machineTypes"), selection)
        for selection in selections.values()
        for machine_type in selection["machineTypes"]
    ]


def _instance(
    zone: str, body: Mapping[str, Any], machine_type: str, selection: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what one of the instances would be, as ``instances.insert`` wants it."""
    given = copy.deepcopy(dict(body.get("instanceProperties", {})))
    given["machineType"] = f"zones/{zone}/machineTypes/{machine_type}"
    given["name"] = "not-yet-named"
    if "disks" in selection:
        given["disks"] = copy.deepcopy(list(selection["disks"]))
    for disk in given.get("disks", ()):
        params = disk.setdefault("initializeParams", {})
        if "diskType" in params:
            params["diskType"] = f"zones/{zone}/diskTypes/{_bare(params['diskType'], 'diskType')}"
    for card in given.get("guestAccelerators", ()):
        name = _bare(card["acceleratorType"], "acceleratorType")
        card["acceleratorType"] = f"zones/{zone}/acceleratorTypes/{name}"
    return given


def _checked(gce: Gce, zone: str, given: dict[str, Any]) -> dict[str, Any]:
    try:
        return check_instance(gce, zone, given)
    except GceError as error:
        error.message = error.message.replace("'resource.", "'resource.instanceProperties.")
        raise


def _bare(name: str, field: str) -> str:
    """Return a name; a URL in its place has Google fail (skypilot-org/skypilot)."""
    if "/" in name:
        REFUSED.append(f"bulkInsert: {field}: {name!r}: must be a name, not a URL")
        raise GceError(503, "internalError", "INTERNAL_ERROR")
    return name
