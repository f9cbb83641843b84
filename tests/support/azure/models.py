"""Azure's models, read from the source of Azure's SDK: names, types, enums, what is read-only.

The source is read, not imported: to import the SDK takes seconds, and only a driver need do it.
Limits that the SDK's models don't have are in `limits`.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.azure.limits import OPEN_ENUMS, limits_of
from tests.support.azure.old_models import schema_of_old
from tests.support.schemas import Schema

_PACKAGES = {
    "compute": "compute",
    "network": "network",
    "resources": "resource/resources",
    "subscriptions": "resource/subscriptions",
    "identities": "msi/v2024_11_30",
    "authorization": "authorization/v2022_04_01",
    "schedules": "devtestlabs",
}
"""Where the models of a service are, below ``azure/mgmt``."""
_OLD = {
    "identities": "_managed_service_identity_client_enums",
    "authorization": "_authorization_management_client_enums",
    "schedules": "_dev_test_labs_client_enums",
}
"""Services whose models have the SDK's older form, and the modules of their enums."""
_TYPES = {"str": "string", "bool": "boolean", "int": "integer", "float": "number"}
_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)
_ONLY_IN_ANSWERS = Schema(refused="is only in answers (readOnly)")


@dataclass(frozen=True)
class _Property:
    name: str
    """As in JSON."""
    type: ast.expr
    is_read_only: bool

    @property
    def is_required(self) -> bool:
        return not self.is_read_only and not _is_optional(self.type)


def schema_of(model: str, *, is_request: bool) -> Schema:
    """Return that of a model as ``compute.VirtualMachine``; ``…[]`` is a page of a list of it."""
    if model.endswith("[]"):
        return _page_of(schema_of(model.removesuffix("[]"), is_request=is_request))
    return _schema(model, is_request)


def _page_of(item: Schema) -> Schema:
    fields = {
        "value": Schema(type="array", items=lambda: item),
        "nextLink": Schema(type="string"),
    }
    return Schema(type="object", properties=lambda: fields, required=["value"])


@functools.cache
def _schema(model: str, is_request: bool) -> Schema:
    package, _, name = model.partition(".")
    if package in _OLD:
        modules = (_source(package, module) for module in ("_models_py3", _OLD[package]))
        return schema_of_old(*modules, name, is_request=is_request)

    @functools.cache
    def properties() -> dict[str, Schema]:
        return {
            of.name: _ONLY_IN_ANSWERS
            if is_request and of.is_read_only and of.name not in _ALWAYS
            else _of_type(package, of.type, f"{name}.{of.name}", is_request)
            for of in _properties(package, name)
        }

    required = [of.name for of in _properties(package, name) if of.is_required and is_request]
    return Schema(type="object", properties=properties, required=required)


_ALWAYS = {"id", "name", "type", "etag", "location"}
"""Read-only by some models, and sent back all the same with what was read; Azure takes it."""


def _of_type(package: str, kind: ast.expr, name: str, is_request: bool) -> Schema:
    """Return that of a property by its annotation; ``name`` is as ``VirtualMachine.zones``."""
    inner = functools.partial(_of_type, package, is_request=is_request)
    limits: dict[str, Any] = limits_of(name) if is_request else {}
    if isinstance(kind, ast.Constant) and isinstance(kind.value, str):
        kind = ast.parse(kind.value, mode="eval").body
    if isinstance(kind, ast.Subscript):
        outer, arguments = ast.unparse(kind.value), _arguments(kind)
        if outer == "Optional":
            return inner(arguments[0], name)
        if outer == "Union":
            return _of_union(package, arguments, name, limits)
        if outer in ("list", "dict"):
            last = "[]" if outer == "list" else ".*"
            inside = functools.cache(lambda: inner(arguments[-1], f"{name}{last}"))
            if outer == "list":
                return Schema(type="array", items=inside, **limits)
            return Schema(type="object", additional=inside, **limits)
    text = ast.unparse(kind)
    if text.startswith("_models."):
        return _schema(f"{package}.{text.removeprefix('_models.')}", is_request)
    if text.startswith("datetime."):
        return Schema(type="string", **limits)
    return Schema(type=_TYPES.get(text, ""), **limits)


def _of_union(
    package: str, arguments: list[ast.expr], name: str, limits: Mapping[str, Any]
) -> Schema:
    """Return that of ``Union[str, "_models.Some"]``, which is how the SDK has enums."""
    of_enum = ast.literal_eval(arguments[-1]) if isinstance(arguments[-1], ast.Constant) else ""
    values: tuple[str, ...] = ()
    if isinstance(of_enum, str) and name not in OPEN_ENUMS:
        values = _enum(package, of_enum.rpartition(".")[2])
    return Schema(type="string" if values else "", enum=values, **limits)


@functools.cache
def _properties(package: str, name: str) -> tuple[_Property, ...]:
    """Return those of a class, and of the classes that it inherits from."""
    node = _class(package, "_models", name)
    found: dict[str, _Property] = {}
    for base in node.bases:
        inherited = ast.unparse(base)
        if inherited in _classes(package, "_models"):
            found.update((of.name, of) for of in _properties(package, inherited))
    found.update((of.name, of) for of in _own_properties(node))
    return tuple(found.values())


def _own_properties(node: ast.ClassDef) -> Iterator[_Property]:
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.value, ast.Call):
            continue
        options = {of.arg: of.value for of in statement.value.keywords}
        name = ast.unparse(statement.target)
        if "name" in options:
            name = ast.literal_eval(options["name"])
        visibility = ast.literal_eval(options["visibility"]) if "visibility" in options else []
        yield _Property(name, statement.annotation, visibility == ["read"])


@functools.cache
def _enum(package: str, name: str) -> tuple[str, ...]:
    node = _class(package, "_enums", name)
    return tuple(ast.literal_eval(of.value) for of in node.body if isinstance(of, ast.Assign))


def _class(package: str, module: str, name: str) -> ast.ClassDef:
    start, end = _classes(package, module)[name]
    [node] = ast.parse(_source(package, module)[start:end]).body
    assert isinstance(node, ast.ClassDef)
    return node


@functools.cache
def _classes(package: str, module: str) -> Mapping[str, tuple[int, int]]:
    """Return where the source of each class begins and ends."""
    source = _source(package, module)
    starts = [(of[1], of.start()) for of in _CLASS.finditer(source)]
    ends = [start for _, start in starts[1:]] + [len(source)]
    return {name: (start, end) for (name, start), end in zip(starts, ends, strict=True)}


@functools.cache
def _source(package: str, module: str) -> str:
    found = find_spec("azure.mgmt")  # a namespace, so that this imports nothing
    assert found is not None
    assert found.submodule_search_locations is not None
    for folder in found.submodule_search_locations:
        path = Path(folder, _PACKAGES[package], "models", f"{module}.py")
        if path.exists():
            return path.read_text()
    raise LookupError(f"azure/mgmt/{_PACKAGES[package]} is not installed")


def _arguments(kind: ast.Subscript) -> list[ast.expr]:
    return [*kind.slice.elts] if isinstance(kind.slice, ast.Tuple) else [kind.slice]


def _is_optional(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Optional"
