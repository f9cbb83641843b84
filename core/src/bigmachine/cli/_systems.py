"""``bigmachine systems``: what machines can be started on, and with which options."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bigmachine.errors import PluginError

if TYPE_CHECKING:
    from bigmachine.system._entrypoints import Entry

_WIDTH = 80
_INDENT = 18  # of the second column


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "list the systems that machines can be started on, and their options"
    parser = commands.add_parser("systems", help=text, description=text.capitalize() + ".")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the listing; a broken system is part of it, and no failure of the command."""
    from bigmachine.system._entrypoints import EXTRAS, install_command, installed_systems

    systems = [_describe(entry) for entry in installed_systems()]
    names = {system["name"] for system in systems}
    available = {extra: install_command(extra) for extra in EXTRAS if extra not in names}
    if arguments.json:
        print(json.dumps({"systems": systems, "available": available}, indent=2, default=str))
        return 0
    for system in systems:
        print("\n".join(_text(system)), end="\n\n")
    if available:
        print("Not installed:")
        for extra, command in available.items():
            print(f"  {extra:{_INDENT - 2}}{command}")
    return 0


def _describe(entry: Entry) -> dict[str, Any]:  # Any: this is JSON
    from bigmachine.system._entrypoints import load_system
    from bigmachine.system._options import describe_options
    from bigmachine.system._plugins import check_system

    known = {"name": entry.name, "dist": entry.dist, "version": entry.version}
    known["entry_point"] = entry.value
    try:
        system = load_system(entry.name)
        check_system(system)
        options = describe_options(system.Options, system_name=entry.name)
    except PluginError as exc:
        return {**known, "broken": str(exc)}
    return {
        **known,
        "broken": None,
        "summary": (system.__doc__ or "").strip().partition("\n")[0],
        "capabilities": sorted(map(str, system.capabilities)),
        "options": [asdict(option) for option in options],
    }


def _text(system: Mapping[str, Any]) -> Iterator[str]:
    yield f"{system['name']:{_INDENT}}{system['dist']} {system['version']}"
    if system["broken"] is not None:
        yield from _wrap(f"BROKEN: {system['broken']}", indent=2)
        return
    yield from _wrap(system["summary"], indent=2)
    yield f"  {'capabilities':{_INDENT - 2}}{', '.join(system['capabilities']) or 'none'}"
    for option in system["options"]:
        default = "required" if option["required"] else f"default {option['default']!r}"
        lines = _wrap(f"{option['help']} ({option['type']}; {default})", indent=_INDENT)
        first = f"  {option['name']:{_INDENT - 2}}"
        if first[-1] == " ":
            lines[0] = first + lines[0].lstrip()
        else:
            yield first
        yield from lines
        yield " " * _INDENT + option["env"]


def _wrap(text: str, *, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(text, _WIDTH, initial_indent=space, subsequent_indent=space)
