"""Filters of lists: AIP-160 as Compute Engine has it, and its older ``eq`` and ``ne``.

What the description of the parameter ``filter`` says: ``field OP value``, with OP one of ``= != >
< <= >= :``; ``:*`` is "is there"; expressions in parentheses are joined by AND, which may be left
out, OR and NOT. Or ``field eq REGEX`` and ``field ne REGEX``, where the whole value must match. Not
both kinds in one filter. What can't be parsed here is refused, as Google refuses it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.gcp.errors import GceError

Test = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<punctuation>[()]|!=|<=|>=|[=<>:])|"(?P<double>(?:[^"\\]|\\.)*)"|"""
    r"""'(?P<single>(?:[^'\\]|\\.)*)'|(?P<word>[^\s()=!<>:"']+))"""
)
_OPERATORS = ("=", "!=", "<", "<=", ">", ">=", ":")


def parse_filter(text: str) -> Test:
    """Return the test that a filter means; raises `GceError` if it means none."""
    if not text.strip():
        return lambda item: True
    try:
        return _Parser(text).parse()
    except (ValueError, IndexError, re.error):
        raise GceError(
            400,
            "invalid",
            f"Invalid value for field 'filter': '{text}'. Invalid list filter expression.",
        ) from None


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(text)
            kind = str(found.lastgroup)
            self._tokens.append((kind, re.sub(r"\\(.)", r"\1", found[kind])))
            at = found.end()
        self._at = 0
        self._styles: set[str] = set()

    def parse(self) -> Test:
        test = self._conjunction()
        if self._at != len(self._tokens) or len(self._styles) > 1:
            raise ValueError("more than one filter")
        return test

    def _conjunction(self) -> Test:
        # In AIP-160, OR binds more tightly than AND.
        tests = [self._disjunction()]
        while self._at < len(self._tokens) and not self._is(")"):
            if self._is("AND"):
                self._at += 1
            tests.append(self._disjunction())
        return lambda item: all(test(item) for test in tests)

    def _disjunction(self) -> Test:
        tests = [self._term()]
        while self._is("OR"):
            self._at += 1
            tests.append(self._term())
        return lambda item: any(test(item) for test in tests)

    def _term(self) -> Test:
        if self._is("NOT"):
            self._at += 1
            test = self._term()
            return lambda item: not test(item)
        if not self._is("("):
            return self._comparison()
        self._at += 1
        test = self._conjunction()
        if not self._is(")"):
            raise ValueError("unclosed")
        self._at += 1
        return test

    def _comparison(self) -> Test:
        kind, field = self._take()
        _, operator = self._take()
        if kind != "word" or operator not in (*_OPERATORS, "eq", "ne"):
            raise ValueError(field)
        kind, value = self._take()
        if kind == "punctuation":
            raise ValueError(value)
        path = field.split(".")
        self._styles.add("regex" if operator in ("eq", "ne") else "aip")
        if operator in ("eq", "ne"):
            regex = re.compile(value)
            return lambda item: (
                any(regex.fullmatch(_text(v)) for v in _values(item, path)) == (operator == "eq")
            )
        return lambda item: _compare(_values(item, path), operator, value)

    def _is(self, text: str) -> bool:
        kind, value = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        return kind in ("word", "punctuation") and value == text

    def _take(self) -> tuple[str, str]:
        token = self._tokens[self._at]
        self._at += 1
        return token


def _values(item: Any, path: list[str]) -> list[Any]:
    """Return what a path leads to; through a list, all that it leads to in its items."""
    if isinstance(item, list):
        return [value for inner in item for value in _values(inner, path)]
    if not path:
        return [item]
    if not isinstance(item, Mapping) or path[0] not in item:
        return []
    return _values(item[path[0]], path[1:])


def _compare(values: list[Any], operator: str, wanted: str) -> bool:
    if operator == ":" and wanted == "*":
        return bool(values)
    if operator == "!=":
        return not any(_is_equal(value, wanted) for value in values)
    if operator == "=":
        return any(_is_equal(value, wanted) for value in values)
    if operator == ":":
        return any(
            wanted.lower()
            in (_text(v).lower(), *(map(str.lower, v) if isinstance(v, Mapping) else ()))
            or wanted.lower() in _text(v).lower()
            for v in values
        )
    return any(_is_ordered(value, operator, wanted) for value in values)


def _is_equal(value: Any, wanted: str) -> bool:
    return fnmatch.fnmatchcase(_text(value), wanted) if "*" in wanted else _text(value) == wanted


def _is_ordered(value: Any, operator: str, wanted: str) -> bool:
    try:
        left: Any = float(value)
        right: Any = float(wanted)
    except (TypeError, ValueError):
        left, right = _text(value), wanted
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[
        operator
    ]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
