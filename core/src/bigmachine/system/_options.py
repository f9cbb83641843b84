"""A system's options, gathered from keywords, the environment, a profile file and defaults.

Each of the four overrides those after it. A value nobody asked for is an error
wherever it stands: a misspelt option that was ignored would be a machine of the
wrong size, and found on the bill.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import numbers
import os
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, overload

from .._values import EnvironmentOptions
from ..errors import PluginError, UsageError
from ..services._names import did_you_mean

T = TypeVar("T")

_UNIONS = (typing.Union, types.UnionType)
_LISTS = (tuple, list, Sequence)
_NUMBERS = {int: numbers.Integral, float: numbers.Real}  # NumPy's are these too
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@overload
def option(*, help: str) -> Any: ...  # Any, as `dataclasses.field` does: the field has the type
@overload
def option(default: T, *, help: str) -> T: ...
def option(default: Any = dataclasses.MISSING, *, help: str) -> Any:
    """Declare one option of a system, a field of its ``Options`` dataclass.

    ``help`` is one sentence for ``bigmachine systems``. Without a ``default`` the
    option is required::

        @dataclass(frozen=True, slots=True)
        class Options:
            image: str = option(help="The image that machines boot.")
            spot: bool = option(False, help="Whether to ask for spot machines.")
    """
    return dataclasses.field(default=default, kw_only=True, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """One option as users see it; ``default`` is None where it is ``required``."""

    name: str
    type: str
    default: object
    required: bool
    help: str
    env: str


def describe_options(options: type[Any], *, system_name: str) -> list[OptionInfo]:
    """List what a system's ``Options`` dataclass takes, in its own order."""
    hints = _hints(options)
    return [
        OptionInfo(
            name=field.name,
            type=_type_name(hints[field.name]),
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
    """Make an instance of a system's ``Options`` dataclass from all that was set.

    The file is the nearest ``bigmachine.toml``, or ``pyproject.toml`` with a
    ``tool.bigmachine`` table, in the current folder or above it. Its table ``[ec2]``
    always applies, and ``[profiles.NAME.ec2]`` over it where ``profile`` is NAME.
    ``texts`` were given on a command line, and are parsed as variables are.
    ``other_systems`` own the variables that start like this system's but go on
    with their longer name. ``owner`` says in words whose options they are.

    Raises `UsageError`, saying where it stands, for an option that doesn't
    exist, a value of another type, a required option that nothing sets, and an
    unknown profile; `PluginError` if ``options`` is no dataclass.
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
                    values[name] = _convert(value, hints[name], is_text=source.is_text)
                except ValueError as exc:
                    raise UsageError(
                        f"option {name!r} of {owner} takes "
                        f"{_type_name(hints[name])}, not {value!r} (set {source.where})"
                    ) from exc
    for name, field in fields.items():
        if name not in values and _is_required(field):
            raise UsageError(
                f"{owner} needs the option {name!r}"
                f" ({field.metadata.get('help') or _type_name(hints[name])}): pass it as a "
                f"keyword, set {_prefix(system_name)}{name.upper()}, or put it in bigmachine.toml"
            )
    try:
        return options(**values)
    except (TypeError, ValueError) as exc:  # its own __post_init__
        raise UsageError(f"the options of {owner} are refused: {exc}") from exc


def environment_options(
    given: EnvironmentOptions | None, *, is_shipped: bool, profile: str | None
) -> EnvironmentOptions:
    """Return what a session was given, or else what is set as `resolve_options` finds it.

    The table is ``[environment]``, and a variable ``BIGMACHINE_ENVIRONMENT_EXCLUDE``. They
    have no effect unless ``is_shipped``: then the machines have the driver's code already.
    """
    if given is not None or not is_shipped:
        return given or EnvironmentOptions()
    return resolve_options(
        EnvironmentOptions, system_name="environment", profile=profile, owner="the environment"
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """Some options and where they were set; ``is_text`` if every value is a string to parse."""

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
                    else f"(there is no bigmachine.toml in {os.getcwd()} or above)"
                )
            )
        chosen = _table(_table(profiles, profile, file=file), system_name, file=file)
        yield _Source(f"in {file}, [{prefix}profiles.{profile}.{system_name}]", chosen)
    yield _Source(f"in {file}, [{prefix}{system_name}]", _table(tables, system_name, file=file))


def _find_file() -> tuple[Path, str, Mapping[str, Any]] | None:  # Any: whatever TOML holds
    here = Path.cwd()
    for folder in (here, *here.parents):
        file = folder / "bigmachine.toml"
        if file.is_file():
            return file, "", _read(file)
        file = folder / "pyproject.toml"
        # The word is looked for first: someone else's file need not be parsed, nor be well-formed.
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
        raise UsageError(f"{file} can't be read: {exc}") from exc


def _table(tables: Mapping[str, Any], name: str, *, file: Path | None) -> Mapping[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"{name!r} in {file} must be a table, not {table!r}")
    return table


def _convert(value: Any, kind: Any, *, is_text: bool) -> object:  # Any: checked here, by kind
    """Return ``value`` as the annotation ``kind`` has it, or raise `ValueError`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        if types.NoneType in arguments and (value is None or (is_text and value in ("", "none"))):
            return None
        for member in arguments:
            with contextlib.suppress(ValueError):
                return _convert(value, member, is_text=is_text)
    elif origin in _LISTS:
        if is_text:
            value = [item.strip() for item in str(value).split(",") if item.strip()]
        if isinstance(value, Sequence) and not isinstance(value, str):
            items = [_convert(item, arguments[0], is_text=is_text) for item in value]
            return items if origin is list else tuple(items)
    elif choices := _choices(kind):
        for written, choice in choices.items():
            if value in (written, choice) or (is_text and value == str(written)):
                return choice
    elif not isinstance(kind, type):  # nothing this module knows how to check
        return value
    elif is_text and kind is bool:
        if str(value).lower() in _BOOLEANS:
            return _BOOLEANS[str(value).lower()]
    elif is_text:
        if kind in (int, float, str, Path):
            return kind(value)
    elif kind in _NUMBERS:
        if isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool):
            return kind(value)
    elif isinstance(value, kind):
        return value
    elif kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(value)


def _choices(kind: Any) -> dict[object, object]:
    """Return the values of a `Literal` or an enum, by how they are written; else nothing."""
    if typing.get_origin(kind) is typing.Literal:
        return {choice: choice for choice in typing.get_args(kind)}
    if isinstance(kind, enum.EnumMeta):
        return {choice.value: choice for choice in cast(type[enum.Enum], kind)}
    return {}


def _type_name(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        return " or ".join(map(_type_name, arguments))
    if origin in _LISTS:
        return f"list of {_type_name(arguments[0])}"
    if choices := _choices(kind):
        return " or ".join(map(repr, choices))
    if kind is types.NoneType:
        return "None"
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _fields(options: type[Any]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(options) if field.init]


def _hints(options: type[Any]) -> dict[str, Any]:
    if not dataclasses.is_dataclass(options):
        raise PluginError(f"{options!r} must be a dataclass, each field made by bigmachine.option")
    try:
        return typing.get_type_hints(options)
    except Exception as exc:  # a name that exists for the type checker only, and the like
        raise PluginError(f"the annotations of {options!r} can't be read: {exc}") from exc


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _default(field: dataclasses.Field[Any]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
