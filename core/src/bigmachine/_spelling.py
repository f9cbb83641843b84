"""What may be meant by a word that somebody has misspelt."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from .errors import UsageError

_VERY_CLOSE = 0.85  # of difflib's ratios

T = TypeVar("T")


def checks_names(cls: type[T]) -> type[T]:
    """Have a dataclass that users construct say what an unknown parameter may mean.

    `UsageError` instead of `TypeError`, which names no other before Python 3.13.
    """
    init = cls.__init__
    names = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]

    @functools.wraps(init)
    def checked(self: T, *args: Any, **kwargs: Any) -> None:  # Any: `init` checks them
        for name in kwargs:
            if name not in names:
                hint = did_you_mean(name, names) or f"; there is {', '.join(names)}"
                raise UsageError(f"{cls.__name__} has no {name!r}{hint}")
        init(self, *args, **kwargs)

    cls.__init__ = checked  # type: ignore[assignment]
    return cls


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of ``words``, or ``""``."""
    match = close_match(word, words)
    return f"; did you mean {match!r}?" if match else ""


def close_match(word: str, words: Iterable[str], *, cutoff: float = 0.65) -> str | None:
    """Return the one of ``words`` that is closest to a misspelt ``word``, or None.

    ``cutoff`` is `difflib`'s: at 0.65, ``gpc`` matches ``gcp``, but ``mainframe`` not ``main``.
    """
    matches = close_matches(word, words, cutoff=cutoff)
    return matches[0] if matches else None


def close_matches(word: str, words: Iterable[str], *, cutoff: float = 0.65) -> list[str]:
    """Return those of ``words`` that are close to a misspelt ``word``: one if it is very close."""
    import difflib  # takes milliseconds, and only mistakes need it

    by_form = {name.lower().replace("-", "_"): str(name) for name in words}
    form = word.lower().replace("-", "_")
    matches = difflib.get_close_matches(form, by_form, 1, max(cutoff, _VERY_CLOSE))
    matches = matches or difflib.get_close_matches(form, by_form, 3, cutoff)
    return [by_form[match] for match in matches]


def one_of(names: Sequence[str]) -> str:
    """Return ``"'a', 'b' or 'c'"``."""
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last
