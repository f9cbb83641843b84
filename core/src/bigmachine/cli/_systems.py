"""``bigmachine systems``: the installed systems and their options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import PluginError

if TYPE_CHECKING:
    from ..system._entrypoints import Entry


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "list the installed systems (where machines can run) and their options"
    parser = commands.add_parser("systems", help=text, description=text.capitalize() + ".")
    parser.add_argument("system", metavar="SYSTEM", nargs="?", help="show only this system")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the list; it includes broken systems, and the status is 0 then, too."""
    from ..system._entrypoints import EXTRAS, installed_systems, load_system
    from ..system._installation import install_command
    from ._table import labeled

    entries = installed_systems()
    names = {entry.name for entry in entries}
    available = {extra: install_command(extra) for extra in EXTRAS if extra not in names}
    if arguments.system is not None:
        if arguments.system not in names:
            load_system(arguments.system)  # which says what is installed
        entries = [entry for entry in entries if entry.name == arguments.system]
        available = {}
    systems = [_describe(entry) for entry in entries]
    if arguments.json:
        print(json.dumps({"systems": systems, "available": available}, indent=2, default=str))
        return 0
    for system in systems:
        print("\n".join(_text(system)), end="\n\n")
    if available:
        print("Not installed:")
        for extra, command in available.items():
            print(labeled(extra, command, indent=2))
    return 0


def _describe(entry: Entry) -> dict[str, Any]:  # Any: this is JSON
    from ..system._entrypoints import load_system
    from ..system._options import describe_options
    from ..system._plugins import check_system

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
    from ._table import labeled, wrapped

    yield labeled(system["name"], f"{system['dist']} {system['version']}")
    if system["broken"] is not None:
        yield from wrapped(f"BROKEN: {system['broken']}")
        return
    yield from wrapped(system["summary"])
    yield labeled("capabilities", ", ".join(system["capabilities"]) or "none", indent=2)
    for option in system["options"]:
        default = "required" if option["required"] else f"default {option['default']!r}"
        text = f"{option['help']} ({option['type']}; {default})"
        yield from wrapped(text, label=option["name"])
        yield labeled("", option["env"])
