"""AWS's requests checked against AWS's own service models, which botocore has.

botocore itself checks types, minima and what is required. Its models also have maxima, patterns
and enums. For EC2, most limits are only in the text of a member's documentation, and some only in
the user guide. All of these are checked here, and in `combinations` what goes together.
"""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from botocore.model import OperationModel, ServiceModel, Shape
from botocore.session import Session

from tests.support.aws.combinations import refused_together
from tests.support.schemas import Schema, refusals

_SESSION = Session()
_SERVICES = {"servicequotas": "service-quotas"}
"""botocore's names of services, where requests are signed for other ones."""

_LIMITS = {
    # "You can specify up to 50 filters and up to 200 values per filter in a single request. Filter
    # strings can be up to 255 characters in length" ("List and filter using the CLI and API").
    "FilterList": {"max_items": 50},
    "Filter.Name": {"max_length": 255},
    "Filter.Values": {"min_items": 1, "max_items": 200},
    # "Maximum number of tags per resource – 50" ("Tag restrictions").
    "TagList": {"max_items": 50},
    # Today's texts don't say it. EC2 answered "Expecting a value greater than 5" (aws-sdk-ruby,
    # pull request 2575), and earlier texts said "between 5 and 1000", or "between 1 and 1000".
    **{
        f"Describe{kind}Request.MaxResults": {"minimum": 5, "maximum": 1000}
        for kind in ("Instances", "SpotInstanceRequests", "Volumes")
    },
    **{
        f"Describe{kind}Request.MaxResults": {"minimum": 1, "maximum": 1000}
        for kind in ("Images", "SpotPriceHistory")
    },
    # Only CreateLaunchTemplate and RunInstances say so ("Ensuring idempotency").
    "CreateFleetRequest.ClientToken": {"max_length": 64},
}
"""Limits that the models don't have, by shape and member; quoted from EC2's user guide, where no
other source is named."""

_NUMBERS = ("integer", "long", "double", "float")
_TEXTS = (
    (_NUMBERS, r"between (?P<minimum>\d+) and (?P<maximum>\d+)"),
    (_NUMBERS, r"integers from (?P<minimum>\d+) to (?P<maximum>\d+)"),
    (_NUMBERS, r"minimum value of (?P<minimum>\d+)"),
    (_NUMBERS, r"maximum (?:value )?of (?P<maximum>\d+)"),
    (("string",), r"up to (?P<max_length>\d+) (?:\w+ )?characters"),
    (("string",), r"maximum (?:of )?(?P<max_length>\d+) (?:\w+ )?characters"),
    (("list",), r"up to (?P<max_items>\d+) (?:\w+ )?ids"),
)
"""The types of values, and how the texts of the models state their limits."""

_CHARACTERS = re.compile(
    r"(?:valid|allowed) characters(?: are|:) a-z, A-Z, 0-9, spaces, and (\S+)", re.I
)
_VALUES = re.compile(r"valid values: (\S+(?: \| \S+)+)", re.I)
_PREFIX = re.compile(r"(?:may not begin|can't start) with (\S+)", re.IGNORECASE)
_FILTER = re.compile(r"<li>\s*<p>\s*<code>([^<]+)</code>")


def why_refused(environ: Mapping[str, Any], action: str, body: bytes) -> list[str]:
    """Return what AWS would refuse of a request, given as WSGI has it, by its parameters."""
    scope = re.search(r"/([\w-]+)/aws4_request", environ.get("HTTP_AUTHORIZATION", ""))
    if scope is None:
        return []  # not of an SDK
    model = _model(_SERVICES.get(scope[1], scope[1])).operation_model(action)
    sent = json.loads(body) if "HTTP_X_AMZ_TARGET" in environ else decode(body, model)
    problems = [*refusals(_schema(model.input_shape), sent, action)] if model.input_shape else []
    if scope[1] == "ec2" and not problems:
        problems = refused_together(action, sent)
    return problems


def decode(body: bytes, operation: OperationModel) -> dict[str, Any]:
    """Return the parameters of a request in the query protocol, as they were given to botocore.

    What is not in the model keeps its name and its text.
    """
    tree: dict[str, Any] = {}
    for key, value in parse_qsl(body.decode(), keep_blank_values=True):
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    for name in ("Action", "Version"):
        tree.pop(name, None)
    shape = operation.input_shape
    return dict(_value(tree, shape)) if shape else tree


def _value(node: Any, shape: Shape) -> Any:
    """Return what was serialized as ``node``, by "Amazon EC2 query protocol" of Smithy's docs."""
    if shape.type_name == "structure":
        names = {_wire_name(name, member): name for name, member in shape.members.items()}
        return {
            names.get(key, key): _value(value, shape.members[names[key]]) if key in names else value
            for key, value in node.items()
        }
    if shape.type_name == "list":
        return [_value(node[key], shape.member) for key in sorted(node, key=int)]
    if shape.type_name in ("integer", "long"):
        return int(node)
    if shape.type_name in ("float", "double"):
        return float(node)
    return node == "true" if shape.type_name == "boolean" else node


def _wire_name(name: str, member: Shape) -> str:
    own = member.serialization
    given = str(own.get("queryName") or own.get("name") or name)
    return given if "queryName" in own else given[0].upper() + given[1:]


@functools.cache
def _model(service: str) -> ServiceModel:
    return _SESSION.get_service_model(service)


@functools.cache
def _schema(shape: Shape, member: str = "") -> Schema:
    """Return the schema of a shape, which is this ``member`` of another one, as in `_LIMITS`."""
    limits = {**_stated(shape), **_documented(shape), **_LIMITS.get(shape.name, {})}
    limits.update(_LIMITS.get(member, {}))
    if shape.type_name == "structure":
        members = functools.cache(lambda: _members(shape))
        return Schema(properties=members, required=tuple(shape.required_members), **limits)
    if shape.type_name == "list":
        known = _filter_names(shape) if shape.name == "FilterList" else ""
        return Schema(
            items=lambda: _filter(shape.member, known) if known else _schema(shape.member), **limits
        )
    if shape.type_name == "map":
        return Schema(additional=lambda: _schema(shape.value), **limits)
    return Schema(**limits)


def _members(shape: Shape) -> dict[str, Schema]:
    return {name: _schema(member, f"{shape.name}.{name}") for name, member in shape.members.items()}


def _stated(shape: Shape) -> dict[str, Any]:
    """Return the limits that the model has in its own words."""
    of = {"string": "_length", "blob": "_length", "list": "_items"}.get(shape.type_name, "imum")
    known = shape.metadata
    limits = {f"{key}{of}": known[key] for key in ("min", "max") if key in known}
    if shape.type_name == "map":
        limits = {}
    if shape.type_name == "string":
        limits.update({"enum": tuple(shape.enum), "pattern": known.get("pattern", "")})
    return limits


def _documented(shape: Shape) -> dict[str, Any]:
    """Return the limits that the text of a member states."""
    text = html.unescape(re.sub(r"<[^>]+>", " ", shape.documentation))
    text = re.sub(r"(?<=\d),(?=\d{3})", "", " ".join(text.split()))
    limits: dict[str, Any] = {}
    for types, pattern in _TEXTS:
        if shape.type_name in types and (found := re.search(pattern, text, re.IGNORECASE)):
            limits.update({key: int(value) for key, value in found.groupdict().items()})
    if shape.type_name != "string":
        return limits
    characters, prefix = _CHARACTERS.search(text), _PREFIX.search(text)
    if characters or prefix:
        allowed = f"[a-zA-Z0-9 {re.escape(characters[1].rstrip('.'))}]" if characters else "."
        limits["pattern"] = f"(?!{re.escape(prefix[1]) if prefix else '$^'}){allowed}*"
    if not shape.enum and (found := _VALUES.search(text)):
        limits["enum"] = tuple(found[1].split(" | "))
    return limits


def _filter_names(filters: Shape) -> str:
    """Return a pattern of the names that the text of an action's filters lists; "" for none."""
    names = {html.unescape(name) for name in _FILTER.findall(filters.documentation)}
    tags = {name for name in names if name.startswith("tag") and name != "tag-key"}
    return "|".join([*map(re.escape, sorted(names - tags)), *(["tag:.+"] if tags else [])])


def _filter(shape: Shape, names: str) -> Schema:
    members = {**_members(shape), "Name": Schema(pattern=names)}
    return Schema(properties=lambda: members, required=("Name", "Values"))
