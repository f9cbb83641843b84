"""Checks of what a session is given; their errors say what to write instead."""

from __future__ import annotations

import numbers
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence

from .._spelling import did_you_mean
from .._switches import is_switched_on
from .._values import EnvironmentOptions
from ..debug._address import host_and_port
from ..errors import UsageError
from ..process import settable

DEFAULT_DEBUG_ADDRESS = "127.0.0.1:3333"

_MAX_VALUE = 60  # characters of a value in a message


def check_session(*, name: object, profile: object, plugins: object, environment: object) -> None:
    """Check the arguments that all sessions have; raises `UsageError`."""
    for argument, value in (("name", name), ("profile", profile)):
        if value is not None and not isinstance(value, str):
            raise UsageError(f"the {argument} of a session is a string, not {_short(value)}")
    if isinstance(plugins, str) or not isinstance(plugins, Iterable):
        raise UsageError(f"plugins is a list: write plugins=[...], not {_short(plugins)}")
    if environment is not None and not isinstance(environment, EnvironmentOptions):
        raise UsageError(
            "environment is what is sent to machines: write environment=EnvironmentOptions(...), "
            f"not {_short(environment)}; environment variables are given to start(environ={{...}})"
        )


def debug_address(debug: object) -> str | None:
    """Return where a session serves its debug page: as asked, else as in ``BIGMACHINE_DEBUG``.

    None is nowhere. Raises `UsageError`.
    """
    setting = "debug"
    if debug is None:
        setting = "BIGMACHINE_DEBUG is on, off or an address"
        text = os.environ.get("BIGMACHINE_DEBUG", "")
        is_on = is_switched_on(text) if text else False
        debug = text if is_on is None else is_on
    if isinstance(debug, bool):
        return DEFAULT_DEBUG_ADDRESS if debug else None
    if not isinstance(debug, str):
        raise UsageError(
            f"debug is the address of a page: write debug=True or "
            f"debug={DEFAULT_DEBUG_ADDRESS!r}, not {_short(debug)}"
        )
    host_and_port(debug, setting=setting)
    return debug


def check_start(positional: Sequence[object], unknown: Mapping[str, object], wait: object) -> None:
    """Check how `start` was called; raises `UsageError`."""
    if positional:
        name = "services" if isinstance(positional[0], Mapping) else "services, environ or argv"
        raise UsageError(
            f"start takes {name} by name: write start(1, services={{...}}), with the number of "
            "machines first"
        )
    for name in unknown:
        raise UsageError(
            f"start takes services, environ, argv and wait, not {name}"
            f"{did_you_mean(name, ['services', 'environ', 'argv', 'wait'])}"
        )
    if not isinstance(wait, bool):
        raise UsageError(f"wait is True or False, not {_short(wait)}")


def machine_count(n: object) -> int:
    """Return the number of machines to start; raises `UsageError` if it is none."""
    # NumPy has integers of its own.
    if isinstance(n, numbers.Integral) and not isinstance(n, bool) and int(n) >= 1:
        return int(n)
    hint = ""
    is_text = isinstance(n, str) and n.strip().isdecimal()
    if is_text or (isinstance(n, float) and n.is_integer() and n >= 1):
        hint = f": write start({int(n)})"  # type: ignore[call-overload]
    elif isinstance(n, Mapping):
        hint = ": write start(1, services={...})"
    raise UsageError(f"the number of machines to start must be 1 or more, not {_short(n)}{hint}")


def checked_environ(environ: object) -> dict[str, str]:
    """Return the variables of machines; raises `UsageError` if they can be none."""
    if environ is None:
        return {}
    if not isinstance(environ, Mapping):
        raise UsageError(
            'environ is a mapping of strings: write environ={"NAME": "value"}, not '
            f"{_short(environ)}"
        )
    for name, value in environ.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise UsageError(f"environ: {_short(name)} cannot be the name of a variable")
        if not isinstance(value, str):
            hint = "" if value is None else f': write "{value}"'
            raise UsageError(f"environ[{name!r}] must be a string, not {_short(value)}{hint}")
        if "\0" in value:
            raise UsageError(f"environ[{name!r}] must not contain a null character")
    try:
        return settable(environ)
    except UnicodeEncodeError as exc:
        raise UsageError(f"environ: {_short(exc.object)} can't be encoded: {exc.reason}") from exc


def checked_argv(argv: object) -> Sequence[str]:
    """Return the command line of machines; raises `UsageError` if it is no list of strings."""
    if isinstance(argv, str):
        try:
            words = shlex.split(argv)
        except ValueError:  # such as an open quote
            words = argv.split()
        raise UsageError(f"argv is a list of strings: write argv={words}, not {_short(argv)}")
    if not isinstance(argv, Iterable) or isinstance(argv, bytes | Mapping):
        raise UsageError(f'argv is a list of strings, such as ["program", "x"], not {_short(argv)}')
    words = [*argv]
    for word in words:
        if not isinstance(word, str):
            raise UsageError(f'argv: {_short(word)} must be a string: write "{word}"')
    return words


def address_of(target: object) -> str:
    """Return the address of what `connect` was given: an address or a machine."""
    addr = target if isinstance(target, str) else getattr(target, "addr", None)
    if not isinstance(addr, str):
        raise UsageError(
            f"connect takes a machine or its address, https://HOST:PORT#NAME, not {_short(target)}"
        )
    return addr


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_VALUE else f"a {type(value).__name__}"
