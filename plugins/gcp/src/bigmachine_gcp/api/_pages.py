"""The pages of Google's lists: their items, and the places that Google could not reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Codes of warnings in a list that say that something is missing in it. The usual one,
# NO_RESULTS_ON_PAGE, says that a place has nothing.
_INCOMPLETE = frozenset({"UNREACHABLE", "PARTIAL_SUCCESS"})


def items_of(page: Any) -> list[Any]:
    """Return the items of a page of a list, or of an aggregated list. Any: the SDK's messages."""
    if not _is_aggregated(page):
        return list(page.items)
    return [item for scoped in page.items.values() for item in getattr(scoped, _key(scoped))]


def unseen_scopes(page: Any) -> Iterator[str]:
    """Yield the places, as ``zones/us-central1-a``, whose resources the page does not have."""
    fields = _fields(page)
    if "unreachables" in fields:
        for place in page.unreachables:
            yield place.partition("/projects/")[2].partition("/")[2] or place
    if "warning" in fields and page.warning.code in _INCOMPLETE:
        yield _data(page.warning).get("scope", page.warning.message)
    if _is_aggregated(page):
        for scope, scoped in page.items.items():
            if scoped.warning.code in _INCOMPLETE:
                yield scope


def _is_aggregated(page: Any) -> bool:
    return hasattr(page.items, "values")


def _key(scoped: Any) -> str:
    """Return the field of a place's part of an aggregated list that has the resources."""
    return next(name for name in _fields(scoped) if name != "warning")


def _fields(message: Any) -> list[str]:
    return [field.name for field in type(message).pb(message).DESCRIPTOR.fields]


def _data(warning: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in warning.data}
