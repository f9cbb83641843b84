"""Environment variables as a process can have them, whatever the encoding of its locale is."""

from __future__ import annotations

import os
from collections.abc import Mapping


def settable(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that `os.environ` takes: what the locale can't encode is UTF-8.

    `UnicodeEncodeError` if that can't encode it either.
    """
    return {_settable(name): _settable(value) for name, value in environ.items()}


def _settable(text: str) -> str:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))
    return text
