"""``bigmachine ps``: the sessions that run here, and the resources of all at their providers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import NotSupportedError, sanitize
from ._arguments import add_option, add_profile, parse_options

if TYPE_CHECKING:
    from ..reaper._found_sessions import FoundSession


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "list the sessions that run here, all resources at providers, and their cost"
    parser = commands.add_parser("ps", help=text, description=text.capitalize() + ".")
    parser.add_argument(
        "system",
        nargs="*",
        metavar="SYSTEM",
        help="only these systems (default: all; those that can't be queried are a remark)",
    )
    add_option(parser)
    add_profile(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print all sessions and resources; the status is 1 if a system that was named failed."""
    from ..reaper._log import reaper_problems
    from ._asking import run_async, systems_to_ask
    from ._found_here import found_here

    options = parse_options(arguments.option)
    names, problems = systems_to_ask(arguments.system, options, arguments.profile)
    found, failed = run_async(lambda: _ask(names, options, arguments.profile))
    here, silent = found_here()
    known = {session.name for session in found}
    found = [
        session
        for session in here
        if session.name not in known and session.system in (arguments.system or [session.system])
    ] + found
    problems += failed.values()
    problems += silent
    notes = reaper_problems()
    if arguments.json:
        described = {"sessions": [*map(_describe, found)], "failed": problems, "notes": notes}
        print(json.dumps(described, indent=2))
    else:
        answered = [name for name in names if name not in failed]
        if found or not silent:  # those that don't answer are sessions, too
            for line in _text(found, answered, is_named=bool(arguments.system)):
                print(line)
    for problem in [*problems, *notes]:
        print(f"bigmachine: {sanitize(problem)}", file=sys.stderr)
    return 1 if arguments.system and problems else 0


async def _ask(
    names: Sequence[str], options: Mapping[str, str], profile: str | None
) -> tuple[list[FoundSession], dict[str, str]]:
    """Query all at once; return their resources by session, and why some did not list all."""
    import trio

    from ..reaper._found_sessions import find_sessions
    from ..reaper._free import reason
    from ._asking import opened

    found: dict[str, list[FoundSession]] = {}
    failed: dict[str, str] = {}

    async def ask(name: str) -> None:
        try:
            async with opened(name, options=options, profile=profile) as hooks:
                found[name], missing = await find_sessions(hooks, name)
                if missing:
                    failed[name] = f"{name}: this may not be all: {missing}"
        except NotSupportedError:
            pass  # its machines don't outlive their driver: there are those that run here
        except Exception as exc:
            failed[name] = f"cannot query {name}: {reason(exc)}"

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(ask, name)
    return [session for name in names for session in found.get(name, ())], failed


def _describe(session: FoundSession) -> dict[str, Any]:  # Any: this is JSON
    driver = session.driver
    return {
        "system": session.system,
        "session": session.name,
        "driver": {
            "host": session.host or None,
            "pid": driver.pid if driver else None,
            "is_here": driver.is_here if driver else None,
            "is_alive": session.is_alive,
        },
        "started": session.started and session.started.isoformat(),
        "orphaned": session.orphaned or None,
        "cost_per_hour": session.cost_per_hour,
        "resources": [
            {
                **resource.details,
                "kind": resource.kind,
                "name": resource.name,
                "id": resource.id,
                "zone": resource.zone,
                "address": resource.address,
                "cost_per_hour": resource.cost_per_hour,
            }
            for resource in session.resources
        ],
    }


def _text(
    found: Sequence[FoundSession], answered: Sequence[str], *, is_named: bool
) -> Iterator[str]:
    from ._session_text import cost_text, describe_session
    from ._table import count_text, spread

    if not found:
        at_providers = f"has resources on {' and '.join(answered)}" if answered else ""
        here = "" if is_named else "runs on this computer"
        if here or at_providers:
            yield f"No session {' or '.join(filter(None, [here, at_providers]))}."
        return
    for session in found:
        yield from describe_session(session)
        yield ""
    machines = sum(len(session.machines) for session in found)
    costs = [session.cost_per_hour for session in found if session.cost_per_hour is not None]
    yield spread(
        f"{count_text(len(found), 'session')}, {count_text(machines, 'machine')}",
        cost_text(sum(costs) if costs else None),
    )
    if any(session.orphaned for session in found):
        yield "`bigmachine reap` frees what dead drivers have left."
