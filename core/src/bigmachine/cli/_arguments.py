"""Arguments that several subcommands have: a system's options, and a profile."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..system import System


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``-o KEY=VALUE`` and ``--profile NAME``, from which `chosen_system` makes a system."""
    add_option(parser)
    add_profile(parser)


def chosen_system(name: str, arguments: argparse.Namespace) -> System:
    """Return the system ``name``, with its options from all sources.

    Raises `UsageError`, and `PluginError` if the system is broken.
    """
    from ..system._entrypoints import choose_system

    options = parse_options(arguments.option)
    return choose_system(name, profile=arguments.profile, texts=options)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``-o KEY=VALUE``."""
    parser.add_argument(
        "-o",
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the system; may be repeated",
    )


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add ``--profile NAME``."""
    parser.add_argument(
        "--profile", metavar="NAME", help="a named set of options in bigmachine.toml"
    )


def parse_options(given: Sequence[str]) -> dict[str, str]:
    """Return options by key; raises `UsageError` for what is not ``key=value``, or comes twice."""
    options = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{text!r} is not an option; write it as key=value")
        if key in options:  # perhaps a list is meant, and one value would be lost
            raise UsageError(f"{key!r} is given twice; several values are written {key}=a,b")
        options[key] = value
    return options
