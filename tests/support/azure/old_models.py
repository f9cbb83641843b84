"""Azure's models, read from those SDKs that have them in the older form, with `_attribute_map`.

In this form the SDK has limits, too: what is required, patterns, lengths.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.azure.limits import limits_of
from tests.support.schemas import Schema

_TYPES = {"str": "string", "bool": "boolean", "int": "integer", "long": "integer"}
_TEXTS = {"iso-8601", "duration", "date", "rfc-1123"}
_LIMITS = ("pattern", "max_length", "min_length", "maximum", "minimum", "max_items", "min_items")
_ONLY_IN_ANSWERS = Schema(refused="is only in answers (readOnly)")


def schema_of_old(source: str, enums: str, name: str, *, is_request: bool) -> Schema:
    """Return that of a class; ``source`` and ``enums`` are the texts of the modules."""
    return _Reader(source, enums, is_request).schema(name)


class _Reader:
    def __init__(self, source: str, enums: str, is_request: bool) -> None:
        self._source = source
        self._enums = enums
        self._is_request = is_request

    @functools.cache  # noqa: B019 - there are few of them, and schemas refer to them for ever
    def schema(self, name: str) -> Schema:
        fields = [*self._fields(name)]

        @functools.cache
        def properties() -> dict[str, Schema]:
            return _nested(fields)

        required = [path[0] for path, is_required, _ in fields if is_required]
        return Schema(type="object", properties=properties, required=_unique(required))

    def _fields(self, name: str) -> Iterator[tuple[list[str], bool, Schema]]:
        """Yield paths, whether they are required, and schemas, of a class and its bases."""
        node = _class(self._source, name)
        for base in node.bases:
            inherited = ast.unparse(base)
            if f"\nclass {inherited}(" in self._source:
                yield from self._fields(inherited)
        texts = ast.get_docstring(node) or ""
        given = {ast.unparse(of.targets[0]): of for of in node.body if isinstance(of, ast.Assign)}
        validation = _literal(given.get("_validation"))
        for attribute, of in _literal(given.get("_attribute_map")).items():
            limits = validation.get(attribute, {})
            path = [re.sub(r"\\\\?\.", ".", part) for part in re.split(r"(?<!\\)\.", of["key"])]
            if self._is_request and limits.get("readonly"):
                yield path, False, Schema() if path in _ALWAYS else _ONLY_IN_ANSWERS
                continue
            is_required = bool(limits.get("required")) and self._is_request
            enum = self._enum(texts, attribute)
            if self._is_request:
                limits = {**limits, **limits_of(f"{name}.{path[-1]}")}
            yield path, is_required, self._of_type(of["type"], limits, enum)

    def _of_type(self, kind: str, limits: Mapping[str, Any], enum: tuple[str, ...]) -> Schema:
        found = {key: limits[key] for key in _LIMITS if key in limits and self._is_request}
        if kind.startswith("["):
            item = kind[1:-1]
            items = functools.cache(lambda: self._of_type(item, {}, enum))
            return Schema(type="array", items=items, **found)
        if kind.startswith("{"):
            value = kind[1:-1]
            more = {key: limits[key] for key in ("keys", "max_properties") if key in limits}
            values = functools.cache(lambda: self._of_type(value, {}, ()))
            return Schema(type="object", additional=values, **more)
        if kind in _TYPES:
            return Schema(type=_TYPES[kind], enum=enum, **found)
        if kind in _TEXTS:
            return Schema(type="string", **found)
        if f"\nclass {kind}(" in self._source:
            return self.schema(kind)
        return Schema(**found)

    def _enum(self, texts: str, attribute: str) -> tuple[str, ...]:
        """Return the values of a property, whose enum only the docstring names."""
        found = re.search(rf":vartype {attribute}:[^:]*?~[\w.]*\.(\w+)\b", texts)
        if not found or f"\nclass {found[1]}(" not in self._enums:
            return ()
        node = _class(self._enums, found[1])
        return tuple(ast.literal_eval(of.value) for of in node.body if isinstance(of, ast.Assign))


_ALWAYS = (["id"], ["name"], ["type"])
"""What may be sent back as it was read."""


def _nested(fields: list[tuple[list[str], bool, Schema]]) -> dict[str, Schema]:
    """Return schemas by names, of what the SDK has flattened as ``properties.principalId``."""
    outer = {path[0]: schema for path, _, schema in fields if len(path) == 1}
    names = _unique([path[0] for path, _, _ in fields if len(path) > 1])
    for name in names:
        inner = [(path[1:], needed, of) for path, needed, of in fields if path[0] == name]
        below = [field for field in inner if field[0]]
        required = _unique([path[0] for path, needed, _ in below if needed])
        outer[name] = Schema(
            type="object",
            properties=functools.cache(functools.partial(_nested, below)),
            required=required,
        )
    return outer


def _unique(names: list[str]) -> list[str]:
    return [*dict.fromkeys(names)]


def _class(source: str, name: str) -> ast.ClassDef:
    start = source.index(f"\nclass {name}(") + 1
    end = re.search(r"\n(?=\S)", source[start:])
    [node] = ast.parse(source[start : start + end.start()] if end else source[start:]).body
    assert isinstance(node, ast.ClassDef)
    return node


def _literal(node: ast.Assign | None) -> Any:
    return ast.literal_eval(node.value) if node else {}
