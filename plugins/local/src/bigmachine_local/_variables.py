"""Environment variables on their way from a driver to the machines that its zygote forks."""

from __future__ import annotations

import os
from collections.abc import Mapping


def changes(
    before: Mapping[str, str | None], after: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Return the variables that differ, by name; None for those that are no more."""
    changed: dict[str, str | None] = dict.fromkeys(before.keys() - after.keys())
    return changed | {name: value for name, value in after.items() if before.get(name) != value}


def portable(environ: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return variables as text that a process reads by `native`, whatever its encoding is.

    It is that of the locale, which a driver may have changed for the processes that it starts.
    """
    return {_portable(name): value and _portable(value) for name, value in environ.items()}


def native(environ: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return variables as `os.environ` has them in this process."""
    return {_native(name): value and _native(value) for name, value in environ.items()}


def _portable(text: str) -> str:
    return os.fsencode(text).decode("latin-1")


def _native(text: str) -> str:
    return os.fsdecode(text.encode("latin-1"))
