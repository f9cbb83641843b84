"""Requests and answers checked against Google's own discovery documents.

The documents are in google-api-python-client. Some limits are only in descriptions; these are
checked here as well.
"""

from __future__ import annotations

import functools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

from tests.support.schemas import Schema, refusals

_REQUEST_ID = "(?!0{8}-0{4}-0{4}-0{4}-0{12})[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_LABEL = "[a-z0-9_\u00df-\uffff-]*"

_LIMITS: dict[str, dict[str, Any]] = {
    # "The request ID must be a valid UUID with the exception that zero UUID is not supported"
    # (description of the parameter).
    "requestId": {"pattern": _REQUEST_ID},
    # "Keys ... must be 1-63 characters long", "each resource can have up to 64 labels" ("Organize
    # resources using labels").
    "labels": {
        "max_properties": 64,
        "keys": Schema(pattern=rf"[a-z]{_LABEL}", min_length=1, max_length=63),
    },
    "labels.*": {"pattern": _LABEL, "max_length": 63},
    # "description" of an instance: Google's answer is "must be at most 2048 characters long".
    "Instance.description": {"max_length": 2048},
    "InstanceProperties.description": {"max_length": 2048},
    "Firewall.description": {"max_length": 2048},
    "Disk.description": {"max_length": 2048},
}
"""Limits that the document has only in words, or not at all, by schema and property."""

_RANGE = re.compile(r"Acceptable values are\s+`(\d+)` to `(\d+)`, inclusive")
_OUTPUT_ONLY = re.compile(r"\s*(Output only\.|\[Output Only\])", re.IGNORECASE)


APIS = ("compute.v1", "cloudbilling.v1", "cloudresourcemanager.v1", "iam.v1")
"""The documents of those that the plugin uses."""


@dataclass(frozen=True)
class Method:
    """A method of an API, as its document describes it."""

    api: str
    """One of `APIS`."""
    id: str
    """As ``compute.instances.get``."""
    document: Mapping[str, Any]

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**_document(self.api)["parameters"], **self.document.get("parameters", {})}

    def problems(self, parameters: Mapping[str, str], body: Any) -> Iterator[str]:
        """Yield what Google would refuse of a request."""
        known = self.parameters
        for name, text in parameters.items():
            if name not in known:
                yield f"{name}: is unknown"
                continue
            schema = _of_property(self.api, known[name], name, self.id)
            yield from refusals(schema, _parse(text, schema), name)
        for name, described in known.items():
            if described.get("required") and name not in parameters:
                yield f"{name}: is required"
        if "request" in self.document:
            schema = named(self.api, self.document["request"]["$ref"], self.id)
            yield from refusals(schema, body or {}, "resource")
        elif body is not None:
            yield "resource: this method has no body"

    def ignored(self, body: Any) -> Iterator[str]:
        """Yield what Google would ignore of a request, because it is only in answers."""
        if "request" in self.document and isinstance(body, Mapping):
            yield from _output_only(self.api, self.document["request"], body, "resource")

    def problems_of_answer(self, answer: Any) -> Iterator[str]:
        """Yield what Google would never answer."""
        schema = named(self.api, self.document["response"]["$ref"])
        yield from refusals(schema, answer, f"answer of {self.id}")


def find_method(verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
    """Return the method that answers at a path, and the parameters that are in the path."""
    parts = path.strip("/").split("/")
    for api in APIS:
        for pattern, method in _routes(api)[verb, len(parts)]:
            pairs = [*zip(pattern, parts, strict=True)]
            if all(_fits(wanted, part) for wanted, part in pairs):
                return method, _in_path(method, pattern, parts)
    return None


def _fits(wanted: str, part: str) -> bool:
    """Whether a part of a path is as a pattern has it: ``{name}``, or ``{name}:verb``."""
    if not wanted.startswith("{"):
        return part == wanted
    verb = wanted.partition("}")[2]
    return part.endswith(verb) if verb else ":" not in part


@functools.cache
def named(api: str, name: str, method: str = "") -> Schema:
    """Return a schema of an API; for requests, with what a ``method`` requires."""
    return _of_object(api, _document(api)["schemas"][name], name, method)


@functools.cache
def _document(api: str) -> Any:
    folder = files("googleapiclient") / "discovery_cache" / "documents"
    return json.loads((folder / f"{api}.json").read_bytes())


@functools.cache
def _routes(api: str) -> Mapping[tuple[str, int], list[tuple[list[str], Method]]]:
    document = _document(api)
    routes: dict[tuple[str, int], list[tuple[list[str], Method]]] = defaultdict(list)
    for method in _methods(document):
        parts = (document["servicePath"] + method["flatPath"]).split("/")
        routes[method["httpMethod"], len(parts)].append((parts, Method(api, method["id"], method)))
    return routes


def _in_path(method: Method, pattern: list[str], parts: list[str]) -> dict[str, str]:
    template = method.document["path"]
    if whole := re.search(r"{\+(\w+)}", template):
        # One parameter that is several parts of the path, as ``services/6F81-5844-456A``.
        start = template[: whole.start()].count("/")
        end = len(parts) - template[whole.end() :].count("/")
        verb = template[whole.end() :].partition("/")[0]
        return {whole[1]: "/".join(parts[start:end]).removesuffix(verb)}
    return {
        name[1:].partition("}")[0]: unquote(part.removesuffix(name.partition("}")[2]))
        for name, part in zip(pattern, parts, strict=True)
        if name.startswith("{")
    }


def _methods(resource: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from _methods(inner)


def _of_object(api: str, described: Mapping[str, Any], name: str, method: str) -> Schema:
    properties = described.get("properties", {})

    @functools.cache
    def inner() -> dict[str, Schema]:
        return {
            key: _of_property(api, value, f"{name}.{key}", method)
            for key, value in properties.items()
        }

    required = [
        key
        for key, value in properties.items()
        if method in value.get("annotations", {}).get("required", ())
    ]
    return Schema(type="object", properties=inner, required=required)


def _of_property(api: str, described: Mapping[str, Any], name: str, method: str) -> Schema:
    if "$ref" in described:
        return named(api, described["$ref"], method)
    limits = _limits(described, name)
    kind = described.get("type", "")
    if kind == "array":
        of_items = described["items"]
        return Schema(
            type=kind, items=lambda: _of_property(api, of_items, f"{name}[]", method), **limits
        )
    if kind == "object" and "properties" in described:
        return _of_object(api, described, name, method)
    if kind == "object":
        of_values = described.get("additionalProperties", {})
        value = f"{name.rpartition('.')[2]}.*"
        return Schema(
            type=kind, additional=lambda: _of_property(api, of_values, value, method), **limits
        )
    return Schema(type="" if kind == "any" else kind, format=described.get("format", ""), **limits)


def _limits(described: Mapping[str, Any], name: str) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for key in ("minimum", "maximum"):
        if key in described:
            limits[key] = float(described[key])
    if found := _RANGE.search(described.get("description", "")):
        limits.update(minimum=float(found[1]), maximum=float(found[2]))
    if "pattern" in described:
        limits["pattern"] = described["pattern"]
    if "enum" in described:
        limits["enum"] = tuple(described["enum"])
    limits.update(_LIMITS.get(name.rpartition(".")[2], {}))
    limits.update(_LIMITS.get(name, {}))
    return limits


def _parse(text: str, schema: Schema) -> Any:
    """Return the value that a parameter's text means, or the text where it means none."""
    if schema.type in ("integer", "number"):
        try:
            return int(text)
        except ValueError:
            return text
    return {"true": True, "false": False}.get(text, text) if schema.type == "boolean" else text


def _output_only(api: str, described: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    if "$ref" in described:
        described = _document(api)["schemas"][described["$ref"]]
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _output_only(api, described.get("items", {}), item, f"{path}[{index}]")
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        inner = described.get("properties", {}).get(key) or described.get(
            "additionalProperties", {}
        )
        if inner.get("readOnly") or _OUTPUT_ONLY.match(inner.get("description", "")):
            yield f"{path}.{key}: is only in answers, so it is ignored"
        else:
            yield from _output_only(api, inner, item, f"{path}.{key}")
