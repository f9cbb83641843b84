"""What may be meant by a name that a provider does not have."""

from __future__ import annotations

from collections.abc import Iterable

from ..._spelling import close_match


def nearest_name(name: str, names: Iterable[str], *, example: str = "") -> str:
    """Return the end of a sentence: which of the provider's ``names`` may be meant by ``name``.

    If none is like it, that is what one looks like, the ``example``; "" without one. Capitals
    don't matter.
    """
    known = sorted(set(names))
    has_it = (each for each in known if name.lower() in each.lower())
    if match := next(has_it, None) or close_match(name, known):
        return f"did you mean {match!r}?"
    return f"a name is like {example!r}." if example else ""
