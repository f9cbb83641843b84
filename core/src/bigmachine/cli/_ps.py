"""``bigmachine ps``: what sessions have at their providers, whoever drives them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._arguments import add_option, add_profile, parse_options

if TYPE_CHECKING:
    from ..reaper._leftovers import FoundSession


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "list what sessions have at their providers, and what it costs"
    parser = commands.add_parser("ps", help=text, description=text.capitalize() + ".")
    parser.add_argument(
        "system",
        nargs="*",
        metavar="SYSTEM",
        help="the systems to ask (default: all installed ones that can tell)",
    )
    add_option(parser)
    add_profile(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what there is.

    The status is 1 if a system that was named can't be asked, or of those that weren't, none.
    """
    from ..reaper._leftovers import run_async, systems_to_ask

    options = parse_options(arguments.option)
    names, problems = systems_to_ask(arguments.system, options)
    found, failed = run_async(lambda: _ask(names, options, arguments.profile))
    problems += [f"{name} can't be asked: {why}" for name, why in failed.items()]
    if arguments.json:
        print(json.dumps({"sessions": [*map(_describe, found)], "failed": problems}, indent=2))
    else:
        for line in _text(found, [name for name in names if name not in failed]):
            print(line)
    for problem in problems:
        print(f"bigmachine: {problem}", file=sys.stderr)
    return 1 if problems and (arguments.system or len(failed) == len(names)) else 0


async def _ask(
    names: Sequence[str], options: Mapping[str, str], profile: str | None
) -> tuple[list[FoundSession], dict[str, str]]:
    """Ask all at once; return what they have, and why some of them didn't say."""
    import trio

    from bigmachine.reaper._free import reason

    from ..reaper._leftovers import find_sessions, opened

    found: dict[str, list[FoundSession]] = {}
    failed: dict[str, str] = {}

    async def ask(name: str) -> None:
        try:
            async with opened(name, options=options, profile=profile) as hooks:
                found[name] = await find_sessions(hooks, name)
        except Exception as exc:
            failed[name] = reason(exc)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(ask, name)
    return [holding for name in names for holding in found.get(name, ())], failed


def _describe(holding: FoundSession) -> dict[str, Any]:  # Any: this is JSON

    driver = holding.driver
    return {
        "system": holding.system,
        "session": holding.name,
        "driver": {
            "host": holding.host or None,
            "pid": driver.pid if driver else None,
            "is_here": driver.is_here if driver else None,
            "is_alive": holding.is_alive,
        },
        "started": holding.started and holding.started.isoformat(),
        "orphaned": holding.orphaned or None,
        "cost_per_hour": holding.cost_per_hour,
        "things": [
            {
                **thing.details,
                "kind": thing.kind,
                "name": thing.name,
                "id": thing.id,
                "zone": thing.zone,
                "address": thing.address,
                "cost_per_hour": thing.cost_per_hour,
            }
            for thing in holding.resources
        ],
    }


def _text(found: Sequence[FoundSession], answered: Sequence[str]) -> Iterator[str]:
    from ._describing import cost_text, count_text, describe_holding, spread

    if not found:
        if answered:
            yield f"Nothing: no session has anything on {' and '.join(answered)}."
        return
    for holding in found:
        yield from describe_holding(holding)
        yield ""
    machines = sum(len(holding.machines) for holding in found)
    costs = [holding.cost_per_hour for holding in found if holding.cost_per_hour is not None]
    yield spread(
        f"{count_text(len(found), 'session')}, {count_text(machines, 'machine')}",
        cost_text(sum(costs) if costs else None),
    )
    if any(holding.orphaned for holding in found):
        yield "`bigmachine reap` frees what dead drivers have left."
