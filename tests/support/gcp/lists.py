"""Answers of lists, by pages: of one scope, and of all zones ("aggregated")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tests.support.gcp.calls import Call
from tests.support.gcp.errors import invalid
from tests.support.gcp.filters import parse_filter

MOST = 500
"""On a page; "Acceptable values are 0 to 500", and 500 is the default."""

Item = Mapping[str, Any]


def one_page(call: Call, kind: str, items: Iterable[Item], url: str) -> dict[str, Any]:
    """Return a page of a list, whose kind is as ``compute#zoneList``, and which has that URL."""
    page, token = _page(call, items)
    answer: dict[str, Any] = {"kind": kind, "id": url.split("/compute/v1/")[-1], "selfLink": url}
    if page:
        answer["items"] = page
    return {**answer, **token}


def all_scopes(
    call: Call,
    kind: str,
    plural: str,
    items: Mapping[str, Collection[Item]],
    url: str,
    *,
    unreachable: Collection[str] = (),
) -> dict[str, Any]:
    """Return a page of what all scopes have, by scopes as ``zones/us-central1-a``.

    A scope that has nothing on this page is there with a warning. So is one that can't be reached,
    which `unreachables` names as well.
    """
    scope_of = {id(item): scope for scope, inner in items.items() for item in inner}
    seen = [
        item
        for scope in sorted(items)
        if scope not in unreachable
        for item in sorted(items[scope], key=lambda item: str(item["name"]))
    ]
    page, token = _page(call, seen)
    scopes: dict[str, Any] = {}
    for scope in sorted(items):
        here = [item for item in page if scope_of[id(item)] == scope]
        scopes[scope] = {plural: here} if here else {"warning": _nothing(scope)}
        if scope in unreachable:
            scopes[scope] = {"warning": _unreachable(scope)}
    answer = {
        "kind": kind,
        "id": url.split("/compute/v1/")[-1],
        "items": scopes,
        "selfLink": url,
        **token,
    }
    if unreachable:
        root = url.partition("/aggregated/")[0]
        answer["unreachables"] = [f"{root}/{scope}" for scope in unreachable]
    return answer


def _page(call: Call, items: Iterable[Item]) -> tuple[list[Item], dict[str, str]]:
    matches = parse_filter(call.filter)
    found = [item for item in items if matches(item)]
    if call.orderBy == "creationTimestamp desc":
        found.sort(key=lambda item: str(item.get("creationTimestamp", item.get("insertTime", ""))))
        found.reverse()
    elif call.orderBy not in ("", "name"):
        raise invalid("orderBy", call.orderBy, "Must be one of 'name', 'creationTimestamp desc'.")
    start = 0
    if call.pageToken:
        if not call.pageToken.startswith("page-"):
            raise invalid("pageToken", call.pageToken, "The token is invalid or expired.")
        start = int(call.pageToken.removeprefix("page-"))
    size = int(call.maxResults or MOST)
    page = found[start : start + size]
    rest = start + size < len(found) and size > 0
    return page, {"nextPageToken": f"page-{start + size}"} if rest else {}


def _nothing(scope: str) -> dict[str, Any]:
    return {
        "code": "NO_RESULTS_ON_PAGE",
        "message": f"There are no results for scope '{scope}' on this page.",
        "data": [{"key": "scope", "value": scope}],
    }


def _unreachable(scope: str) -> dict[str, Any]:
    return {
        "code": "UNREACHABLE",
        "message": f"Scope '{scope}' is unreachable.",
        "data": [{"key": "scope", "value": scope}],
    }
