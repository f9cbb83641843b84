"""``$filter`` of OData, as far as Azure's list of retail prices knows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r"\s*(?:(\(|\)|,)|'((?:[^']|'')*)'|([A-Za-z]+))")
_FUNCTIONS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "endswith": str.endswith,
    "startswith": str.startswith,
}


def parse(text: str, fields: frozenset[str]) -> Predicate:
    """Return what a filter says of an item; raises `ValueError` for one that Azure refuses.

    Values are compared case by case, as since ``2023-01-01-preview`` ("Azure Retail Prices
    overview", "Filter values are case sensitive").
    """
    return _Parser(text, fields).whole()


class _Parser:
    def __init__(self, text: str, fields: frozenset[str]) -> None:
        self._fields = fields
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"Invalid OData parameters supplied: {text[at:]}")
            mark, value, word = found.groups()
            kind = "mark" if mark else "word" if word else "value"
            self._tokens.append((kind, mark or word or (value or "").replace("''", "'")))
            at = found.end()

    def whole(self) -> Predicate:
        found = self._any()
        if self._tokens:
            raise ValueError(f"Invalid OData parameters supplied: {self._tokens[0][1]}")
        return found

    def _any(self) -> Predicate:
        parts = [self._all()]
        while self._accept("or"):
            parts.append(self._all())
        return lambda item: any(part(item) for part in parts)

    def _all(self) -> Predicate:
        parts = [self._one()]
        while self._accept("and"):
            parts.append(self._one())
        return lambda item: all(part(item) for part in parts)

    def _one(self) -> Predicate:
        if self._accept("("):
            found = self._any()
            self._expect(")")
            return found
        name = self._take("word")
        if name in _FUNCTIONS:
            return self._call(_FUNCTIONS[name])
        field = self._field(name)
        operator = self._take("word")
        if operator not in ("eq", "ne"):
            raise ValueError(f"Invalid OData parameters supplied: {operator}")
        value = self._take("value")
        return lambda item: (item.get(field, "") == value) is (operator == "eq")

    def _call(self, function: Callable[[str, str], bool]) -> Predicate:
        self._expect("(")
        field = self._field(self._take("word"))
        self._expect(",")
        value = self._take("value")
        self._expect(")")
        return lambda item: function(str(item.get(field, "")), value)

    def _field(self, name: str) -> str:
        if name not in self._fields:
            raise ValueError(f"Could not find a property named '{name}'.")
        return name

    def _accept(self, text: str) -> bool:
        if not self._tokens or self._tokens[0][0] == "value" or self._tokens[0][1] != text:
            return False
        self._tokens.pop(0)
        return True

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise ValueError(f"Invalid OData parameters supplied: '{text}' is missing")

    def _take(self, kind: str) -> str:
        if not self._tokens or self._tokens[0][0] != kind:
            raise ValueError(f"Invalid OData parameters supplied: a {kind} is missing")
        return self._tokens.pop(0)[1]
