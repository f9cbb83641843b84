"""Which paths a list of patterns matches, by the rules of gitignore(5).

Written from git's ``dir.c`` and ``wildmatch.c``; a test compares the results with git's. It
does not use ``git ls-files``, so that the result does not depend on whether git is installed,
trusts the folder's owner, or has the files in its index.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_NEVER = r"(?!)"
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"!-~",
    "lower": "a-z",
    "print": r" -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


class Patterns:
    """A list of patterns, such as one ``.gitignore``; the last one that matches decides.

    Paths have ``/`` between their parts and none at the ends. ``base`` is the folder
    that the patterns are for; they match nothing outside of it.
    """

    def __init__(self, lines: Iterable[str], *, base: str = "") -> None:
        self._base = base + "/" if base else ""
        self._rules = [rule for line in lines if (rule := _parse(_bytewise(line)))]

    def decide(self, path: str, *, is_folder: bool) -> bool | None:
        """Return True if ``path`` matches, False if a ``!`` pattern matches last, else None."""
        if not path.startswith(self._base):
            return None
        path = _bytewise(path[len(self._base) :])
        name = path.rpartition("/")[2]
        for rule in reversed(self._rules):
            if rule.is_folder and not is_folder:
                continue
            if rule.regex.fullmatch(path if rule.is_anchored else name):
                return not rule.is_negated
        return None

    @property
    def is_anchored(self) -> bool:
        """Whether one of them has a slash that ties it to a place."""
        return any(rule.is_anchored and not rule.is_negated for rule in self._rules)

    def may_match_below(self, folder: str, *, only_anchored: bool = False) -> bool:
        """Return whether something below ``folder`` may match, though ``folder`` does not.

        If ``only_anchored``, patterns without a slash do not count: they match anywhere.
        """
        parts = _bytewise(folder).split("/")
        return any(
            not rule.is_negated and rule.may_match_below(parts)
            for rule in self._rules
            if rule.is_anchored or not only_anchored
        )


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: str
    is_negated: bool
    is_folder: bool
    is_anchored: bool
    regex: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        regex = re.compile(_translate(self.pattern), re.DOTALL)
        object.__setattr__(self, "regex", regex)

    def may_match_below(self, parts: list[str]) -> bool:
        if not self.is_anchored:
            return True
        own = self.pattern.split("/")
        for part, pattern in zip(parts, own, strict=False):
            if pattern == "**":
                return True
            if not re.fullmatch(_translate(pattern), part, re.DOTALL):
                return False
        return len(parts) < len(own)


def _bytewise(text: str) -> str:
    """Return one character per byte: ``?`` matches one byte."""
    return os.fsencode(text).decode("latin-1")


def _parse(line: str) -> _Rule | None:
    line = _without_trailing_spaces(line.rstrip("\n").removesuffix("\r"))
    if line.startswith("#"):
        return None
    is_negated = line.startswith("!")
    pattern = line[is_negated:]
    is_folder = pattern.endswith("/")
    pattern = pattern[: len(pattern) - is_folder]
    is_anchored = "/" in pattern
    pattern = pattern.removeprefix("/")
    if not pattern:
        return None
    return _Rule(pattern, is_negated, is_folder, is_anchored)


def _without_trailing_spaces(line: str) -> str:
    end = position = 0
    while position < len(line):
        if line[position] == "\\":
            position += 1  # the next character is literal, even a space
            end = position + 1
        elif line[position] != " ":
            end = position + 1
        position += 1
    return line[:end]


def _translate(pattern: str) -> str:
    """Return the regular expression that matches what git's wildmatch matches."""
    out = []
    position, length = 0, len(pattern)
    literal = len(re.split(r"[*?[\\]", pattern, maxsplit=1)[0])
    while position < length:
        char = pattern[position]
        begin, position = position, position + 1
        if char == "*":
            while position < length and pattern[position] == "*":
                position += 1
            # git compares the part before the first wildcard separately.
            at_begin = begin == literal or pattern[begin - 1] == "/"
            at_end = position == length or pattern[position] == "/"
            if position - begin == 1 or not (at_begin and at_end):
                out.append("[^/]*")
            elif position == length:
                out.append(".*")
            else:
                out.append("(?:.*/)?")
                position += 1
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            regex, position = _translate_class(pattern, position)
            out.append(regex)
        elif char == "\\":
            if position == length:
                return _NEVER
            out.append(re.escape(pattern[position]))
            position += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def _translate_class(pattern: str, position: int) -> tuple[str, int]:
    """Translate what follows a ``[``; return the regular expression and its end."""
    is_negated = pattern[position : position + 1] in ("!", "^")
    begin = position = position + is_negated
    items: list[str] = []
    while position < len(pattern):
        char = pattern[position]
        if char == "]" and position > begin:
            return f"(?!/)[{'^' if is_negated else ''}{''.join(items)}]", position + 1
        if pattern.startswith("[:", position):
            end = pattern.find(":]", position)
            known = _CLASSES.get(pattern[position + 2 : end]) if end > 0 else None
            if known is None:
                break
            items.append(known)
            position = end + 2
            continue
        low, position = _literal(pattern, position)
        high = low
        if pattern[position : position + 1] == "-" and pattern[position + 1 : position + 2] not in (
            "",
            "]",
        ):
            high, position = _literal(pattern, position + 1)
        items.append(re.escape(low))
        if low < high:  # for git, a reversed range is its first character
            items.append(f"{re.escape(low)}-{re.escape(high)}")
    return _NEVER, len(pattern)  # never closed


def _literal(pattern: str, position: int) -> tuple[str, int]:
    if pattern[position] == "\\":
        position += 1
    return pattern[position : position + 1], position + 1
