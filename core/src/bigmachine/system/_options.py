"""A system's options: declared by `option`, and resolved from everything that sets them.

Precedence, highest first: keyword, command line, environment variable, file, default. An
unknown option is an error wherever it is set: if it were ignored, a misspelt option could
start machines of the wrong size, and the user would see it only on the bill.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from .._spelling import close_match
from .._values import EnvironmentOptions
from ..errors import PluginError, UsageError
from ._option_file import FILE, find_option_file
from ._option_messages import (
    Write,
    as_keyword,
    but_is,
    help_text,
    in_toml,
    in_variable,
    on_command_line,
    range_problem,
    range_text,
    right_way,
    unknown_option,
)
from ._option_types import convert, is_written_as_text, type_name, written_choices

_logger = logging.getLogger("bigmachine.options")

T = TypeVar("T")


@overload
def option(  # Any, as with `dataclasses.field`
    *,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    other_names: tuple[str, ...] = (),
) -> Any: ...
@overload
def option(
    default: T,
    *,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    other_names: tuple[str, ...] = (),
) -> T: ...
def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    other_names: tuple[str, ...] = (),
) -> Any:
    """Declare one option of a system: a field of its ``Options`` dataclass.

    ``help`` is one sentence for ``bigmachine systems``. An option without a ``default`` is
    required. A number below ``minimum`` or above ``maximum`` is refused when the session is
    created. ``other_names`` are what users may call it, as on another cloud: none of them sets it,
    but the error says what does::

        @dataclass(frozen=True, slots=True)
        class Options:
            image: str = option(help="The image that machines boot.")
            disk: int = option(20, help="Size of the disk, in GiB.", minimum=1)
            spot: bool = option(False, help="Whether to request spot machines.")
            hosts: tuple[str, ...] = option((), help="The hosts to use.")

    An option is a ``str``, ``int``, ``float``, ``bool``, `pathlib.Path`, `typing.Literal` or
    `enum.Enum`, one of these or None, or a tuple of them, which is written ``a,b`` in texts.
    Raises `PluginError` for a ``default`` that could change, such as a list.
    """
    if type(default).__hash__ is None:
        raise PluginError(
            f"the default of an option must not be a {type(default).__name__}, which could change: "
            "declare a tuple, such as `hosts: tuple[str, ...] = option((), help=...)`"
        )
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "other_names": other_names}
    return dataclasses.field(default=default, kw_only=True, metadata=metadata)


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
            type=type_name(hints[field.name]) + range_text(field),
            default=None if _is_required(field) else _default(field),
            required=_is_required(field),
            help=field.metadata.get("help", ""),
            env=variable_name(system_name, field.name),
        )
        for field in _fields(options)
    ]


def unwritable_options(options: type[Any]) -> list[str]:
    """Name the options of which no text, as in an environment variable, can be a value."""
    hints = _hints(options)
    return [f.name for f in _fields(options) if not is_written_as_text(hints[f.name])]


def resolve_options(
    options: type[T],
    *,
    system_name: str,
    keywords: Mapping[str, Any] | None = None,  # Any: each option has its own type
    texts: Mapping[str, str] | None = None,
    profile: str | None = None,
    other_systems: Iterable[str] | None = None,
    owner: str | None = None,
) -> T:
    """Make an object of a system's ``Options`` dataclass from all values that are set.

    ``keywords`` are arguments of the session. ``texts`` are from a command line, and are
    parsed like environment variables. The file is that of `find_option_file`. Its
    table ``[ec2]`` always applies; if ``profile`` is NAME, ``[profiles.NAME.ec2]`` takes
    precedence over it.

    Variables that start with the longer name of one of ``other_systems`` are ignored. If they
    are given, the file may have tables for these, and no others that resemble one.
    ``owner`` says in messages whose options they are.

    Raises `UsageError`, which says where the value is set, for an unknown option, a value of
    the wrong type, a required option that is not set, and an unknown profile; `PluginError`
    if ``options`` is not a dataclass.
    """
    system = None if owner else system_name
    owner = owner or f"system {system_name!r}"
    hints = _hints(options)
    fields = {field.name: field for field in _fields(options)}
    sources = [
        _Source(_always("as a keyword"), dict(keywords or {}), as_keyword),
        _Source(_always("on the command line"), dict(texts or {}), on_command_line, is_text=True),
        *_environment(fields, system_name=system_name, other_systems=other_systems or ()),
        *_file(system_name, profile=profile, other_systems=other_systems),
    ]
    values: dict[str, object] = {}
    for source in sources:
        for name, value in source.values.items():
            if name not in fields:
                guess, others = unknown_option(
                    name,
                    {each: hints[each] for each in fields},
                    other_names={
                        each: f.metadata.get("other_names", ()) for each, f in fields.items()
                    },
                    system=system,
                    write=source.write,
                )
                raise UsageError(
                    f"{owner} has no option {name!r}{guess} (set {source.where(name)}; {others})"
                )
            if name not in values:
                try:
                    values[name] = convert(value, hints[name], is_text=source.is_text)
                except ValueError:
                    how = right_way(
                        name, value, hints[name], is_text=source.is_text, write=source.write
                    )
                    if not how and not written_choices(hints[name]):
                        how = help_text(fields[name])
                    raise UsageError(
                        f"option {name!r} of {owner} takes "
                        f"{type_name(hints[name])}, not {value!r} (set {source.where(name)}){how}"
                    ) from None
                if problem := range_problem(fields[name], values[name]):
                    raise UsageError(
                        f"invalid option {name}: {problem}, not {values[name]!r} "
                        f"(of {owner}, set {source.where(name)}){help_text(fields[name])}"
                    )
    for name, field in fields.items():
        if name not in values and _is_required(field):
            raise UsageError(
                f"{owner} needs the option {name!r}"
                f" ({field.metadata.get('help') or type_name(hints[name])}): pass it as a "
                f"keyword, set {variable_name(system_name, name)}, or put it in bigmachine.toml"
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

    The ranges that `option` declares are checked, too. For a backend's `System.setup`:
    ``check_options(o, subnet=None if o.subnet else "must not be empty")``.
    """
    for field in _fields(type(options)):
        problems[field.name] = problems.get(field.name) or range_problem(
            field, getattr(options, field.name)
        )
    found = [
        f"{name}: {text}{but_is(getattr(options, name, None), text)}"
        for name, text in problems.items()
        if text
    ]
    if found:
        raise UsageError(f"invalid option{'s' * (len(found) > 1)} {'; '.join(found)}")


@dataclass(frozen=True, slots=True)
class _Source:
    """Values of options; ``where`` says of a name where it is set, and ``write`` how.

    If ``is_text``, the values are strings to parse.
    """

    where: Callable[[str], str]
    values: Mapping[str, object]
    write: Write
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
            where = f"by the environment variable {variable}"
            yield _Source(_always(where), {name: text}, in_variable(prefix), is_text=True)


def warn_of_misspelt_variables(systems: Iterable[str]) -> None:
    """Log the environment variables whose names resemble those of an option of no system."""
    for variable, guess in misspelt_variables(systems):
        _logger.warning(
            "the environment variable %s is ignored; did you mean %s…?", variable, guess
        )


def misspelt_variables(systems: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield such variables, each with the beginning of what may be meant."""
    words = {_prefix(name).split("_")[1]: _prefix(name) for name in (*systems, "environment")}
    for variable in sorted(os.environ):
        ours, _, rest = variable.partition("_")
        word = rest.partition("_")[0]
        if ours == "BIGMACHINE" and word not in words:
            guess = close_match(word, words, cutoff=0.75)
            if guess:
                yield variable, words[guess]


def variable_name(system_name: str, option: str) -> str:
    """Return the environment variable of an option: ``"BIGMACHINE_EC2_ZONES"``."""
    return _prefix(system_name) + option.upper()


def _always(where: str) -> Callable[[str], str]:
    return lambda name: where


def _prefix(system_name: str) -> str:
    return f"BIGMACHINE_{re.sub('[^A-Z0-9]', '_', system_name.upper())}_"


def _file(
    system_name: str, *, profile: str | None, other_systems: Iterable[str] | None
) -> Iterator[_Source]:
    file = find_option_file()
    if file is None:
        if profile is not None:
            raise UsageError(f"no profile {profile!r}: there is no {FILE} here or above")
        return
    if other_systems is not None:
        file.check_tables([system_name, *other_systems])
    for setting in file.settings(system_name, profile=profile):
        yield _Source(setting.where, setting.values, in_toml)


def _fields(options: type[Any]) -> list[dataclasses.Field[Any]]:
    """Return the options: those of the class itself first, then those of its bases."""
    fields = {field.name: field for field in dataclasses.fields(options) if field.init}
    names = [name for cls in options.__mro__ for name in inspect.get_annotations(cls)]
    return [fields[name] for name in dict.fromkeys(names) if name in fields]


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
