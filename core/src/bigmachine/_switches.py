"""The words for on and off, the same in every environment variable and option."""

from __future__ import annotations

import os

from .errors import UsageError

_WORDS = dict.fromkeys(("1", "true", "yes", "on"), True)
_WORDS |= dict.fromkeys(("0", "false", "no", "off"), False)


def is_switched_on(text: str) -> bool | None:
    """Whether a word, in capitals or not, says on or off; None if it is another word."""
    return _WORDS.get(text.lower())


def read_switch(variable: str, *, default: bool) -> bool:
    """Read an environment variable; raises `UsageError` unless it says on or off, or is empty."""
    text = os.environ.get(variable, "")
    value = is_switched_on(text) if text else default
    if value is None:
        raise UsageError(f"{variable}: must be on or off, not {text!r}")
    return value
