"""What may be meant by a name that a provider does not have."""

from __future__ import annotations

from collections.abc import Iterable


def nearest_name(name: str, names: Iterable[str], *, example: str = "") -> str:
    """Return the end of a sentence: which of the provider's ``names`` may be meant by ``name``.

    If none is like it, that is what one looks like, the ``example``; "" without one. Capitals
    don't matter.
    """
    import difflib  # takes milliseconds, and only mistakes need it

    known = {each.lower(): each for each in sorted(set(names))}
    low = name.lower()
    matches = [each for each in known if low in each] or difflib.get_close_matches(low, known, 1)
    if matches:
        return f"did you mean {known[matches[0]]!r}?"
    return f"a name is like {example!r}." if example else ""
