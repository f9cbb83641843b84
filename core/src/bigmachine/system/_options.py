"""A system's options: declared by `option`, and resolved from everything that sets them.

Precedence, highest first: keyword, command line, environment variable, file, default. An
unknown option is an error wherever it is set: if it were ignored, a misspelt option could
start machines of the wrong size, and the user would see it only on the bill.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from .._values import EnvironmentOptions
from ..errors import PluginError, UsageError
from ..services._names import did_you_mean
from ._option_types import convert, type_name

T = TypeVar("T")


@overload
def option(*, help: str) -> Any: ...  # Any, as with `dataclasses.field`
@overload
def option(default: T, *, help: str) -> T: ...
def option(default: Any = dataclasses.MISSING, *, help: str) -> Any:
    """Declare one option of a system: a field of its ``Options`` dataclass.

    ``help`` is one sentence for ``bigmachine systems``. An option without a ``default`` is
    required::

        @dataclass(frozen=True, slots=True)
        class Options:
            image: str = option(help="The image that machines boot.")
            spot: bool = option(False, help="Whether to request spot machines.")
    """
    return dataclasses.field(default=default, kw_only=True, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a system without options."""


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """One option as users see it; ``default`` is None if it is ``required``."""

    name: str
    type: str
    default: object
    required: bool
    help: str
    env: str


def describe_options(options: type[Any], *, system_name: str) -> list[OptionInfo]:
    """List the options of a system's ``Options`` dataclass, in their order."""
    hints = _hints(options)
    return [
        OptionInfo(
            name=field.name,
            type=type_name(hints[field.name]),
            default=None if _is_required(field) else _default(field),
            required=_is_required(field),
            help=field.metadata.get("help", ""),
            env=_prefix(system_name) + field.name.upper(),
        )
        for field in _fields(options)
    ]


def resolve_options(
    options: type[T],
    *,
    system_name: str,
    keywords: Mapping[str, Any] | None = None,  # Any: each option has its own type
    texts: Mapping[str, str] | None = None,
    profile: str | None = None,
    other_systems: Iterable[str] = (),
    owner: str | None = None,
) -> T:
    """Make an object of a system's ``Options`` dataclass from all values that are set.

    ``keywords`` are arguments of the session. ``texts`` are from a command line, and are
    parsed like environment variables. The file is the nearest ``bigmachine.toml``, or
    ``pyproject.toml`` with a table ``tool.bigmachine``, in the current folder or above it.
    Its table ``[ec2]`` always applies; if ``profile`` is NAME, ``[profiles.NAME.ec2]`` takes
    precedence over it.

    Variables that start with the longer name of one of ``other_systems`` are ignored.
    ``owner`` says in messages whose options they are.

    Raises `UsageError`, which says where the value is set, for an unknown option, a value of
    the wrong type, a required option that is not set, and an unknown profile; `PluginError`
    if ``options`` is not a dataclass.
    """
    owner = owner or f"system {system_name!r}"
    hints = _hints(options)
    fields = {field.name: field for field in _fields(options)}
    sources = [
        _Source("as a keyword", dict(keywords or {})),
        _Source("on the command line", dict(texts or {}), is_text=True),
        *_environment(fields, system_name=system_name, other_systems=other_systems),
        *_file(system_name, profile=profile),
    ]
    values: dict[str, object] = {}
    for source in sources:
        for name, value in source.values.items():
            if name not in fields:
                raise UsageError(
                    f"{owner} has no option {name!r}{did_you_mean(name, fields)}"
                    f" (set {source.where}; "
                    + (f"options: {', '.join(fields)})" if fields else "it has none)")
                )
            if name not in values:
                try:
                    values[name] = convert(value, hints[name], is_text=source.is_text)
                except ValueError as exc:
                    raise UsageError(
                        f"option {name!r} of {owner} takes "
                        f"{type_name(hints[name])}, not {value!r} (set {source.where})"
                    ) from exc
    for name, field in fields.items():
        if name not in values and _is_required(field):
            raise UsageError(
                f"{owner} needs the option {name!r}"
                f" ({field.metadata.get('help') or type_name(hints[name])}): pass it as a "
                f"keyword, set {_prefix(system_name)}{name.upper()}, or put it in bigmachine.toml"
            )
    try:
        return options(**values)
    except (TypeError, ValueError) as exc:  # its own __post_init__
        raise UsageError(f"invalid options of {owner}: {exc}") from exc


def environment_options(
    given: EnvironmentOptions | None, *, is_shipped: bool, profile: str | None
) -> EnvironmentOptions:
    """Return the options that a session was given, or else those that `resolve_options` finds.

    The file's table is ``[environment]``; a variable is ``BIGMACHINE_ENVIRONMENT_EXCLUDE``.
    If the environment is not shipped, machines have the driver's code already, and nothing
    is looked up.
    """
    if given is not None or not is_shipped:
        return given or EnvironmentOptions()
    return resolve_options(
        EnvironmentOptions, system_name="environment", profile=profile, owner="the environment"
    )


def check_options(options: object, **problems: str | None) -> None:
    """Raise a `UsageError` that lists the ``problems`` by option; None means no problem.

    For a backend's `System.setup`: ``check_options(o, maxprocs=None if o.maxprocs > 0 else
    "must be at least 1")``.
    """
    found = [f"{name}: {text}" for name, text in problems.items() if text]
    if found:
        raise UsageError(f"{type(options).__name__}: " + "; ".join(found))


@dataclass(frozen=True, slots=True)
class _Source:
    """Values of options, and where they are set; if ``is_text``, they are strings to parse."""

    where: str
    values: Mapping[str, object]
    is_text: bool = False


def _environment(
    fields: Iterable[str], *, system_name: str, other_systems: Iterable[str]
) -> Iterator[_Source]:
    prefix = _prefix(system_name)
    known = {prefix + name.upper(): name for name in fields}
    others = tuple(p for p in map(_prefix, other_systems) if p != prefix and p.startswith(prefix))
    for variable, text in sorted(os.environ.items()):
        is_ours = variable.startswith(prefix) and not (others and variable.startswith(others))
        if variable in known or is_ours:
            name = known.get(variable, variable.removeprefix(prefix).lower())
            yield _Source(f"by the environment variable {variable}", {name: text}, is_text=True)


def _prefix(system_name: str) -> str:
    return f"BIGMACHINE_{re.sub('[^A-Z0-9]', '_', system_name.upper())}_"


def _file(system_name: str, *, profile: str | None) -> Iterator[_Source]:
    file, prefix, tables = _find_file() or (None, "", {})
    profiles = _table(tables, "profiles", file=file)
    if profile is not None:
        if profile not in profiles:
            raise UsageError(
                f"no profile {profile!r}{did_you_mean(profile, profiles)} "
                + (
                    f"(profiles in {file}: {', '.join(profiles) or 'none'})"
                    if file
                    else "(there is no bigmachine.toml in the current folder or above)"
                )
            )
        chosen = _table(_table(profiles, profile, file=file), system_name, file=file)
        yield _Source(f"in {file}, [{prefix}profiles.{profile}.{system_name}]", chosen)
    yield _Source(f"in {file}, [{prefix}{system_name}]", _table(tables, system_name, file=file))


def _find_file() -> tuple[Path, str, Mapping[str, Any]] | None:  # Any: whatever TOML holds
    try:
        here = Path.cwd()
    except OSError:  # it was deleted, and nothing is above it
        return None
    for folder in (here, *here.parents):
        file = folder / "bigmachine.toml"
        if file.is_file():
            return file, "", _read(file)
        file = folder / "pyproject.toml"
        # Only a file with this word is parsed: any other may be invalid.
        if file.is_file() and b"bigmachine" in file.read_bytes():
            table = _table(_table(_read(file), "tool", file=file), "bigmachine", file=file)
            if table:
                return file, "tool.bigmachine.", table
    return None


def _read(file: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"cannot read {file}: {exc}") from exc


def _table(tables: Mapping[str, Any], name: str, *, file: Path | None) -> Mapping[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"{name!r} in {file} must be a table, not {table!r}")
    return table


def _fields(options: type[Any]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(options) if field.init]


def _hints(options: type[Any]) -> dict[str, Any]:
    if not dataclasses.is_dataclass(options):
        raise PluginError(f"{options!r} must be a dataclass, each field made by bigmachine.option")
    try:
        return typing.get_type_hints(options)
    except Exception as exc:  # such as a name that only the type checker knows
        raise PluginError(f"cannot read the annotations of {options!r}: {exc}") from exc


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _default(field: dataclasses.Field[Any]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
