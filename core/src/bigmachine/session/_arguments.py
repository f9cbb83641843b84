"""Checks of what `start` is given, before anything is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import UsageError


def check_environ(environ: Mapping[str, str]) -> None:
    """Raise `UsageError` if one of them can't be an environment variable."""
    for name, value in environ.items():
        is_text = isinstance(name, str) and isinstance(value, str)
        if not (is_text and name and "=" not in name and "\0" not in name + value):
            raise UsageError(f"environ: {name!r}: {value!r} can't be an environment variable")


def check_argv(argv: Sequence[str] | None) -> None:
    """Raise `UsageError` if it can't be `sys.argv`."""
    if isinstance(argv, str) or not all(isinstance(one, str) for one in argv or ()):
        raise UsageError(f"argv must be a list of strings, not {argv!r}")
