"""``bigmachine reap``: free what sessions have left at their providers, and confirm it."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ._arguments import add_option, add_profile, parse_options

if TYPE_CHECKING:
    import trio

    from bigmachine.system import Instance, System

    from ..reaper._leftovers import FoundSession

_AT_ONCE = 100  # of those that wait; how many ask at once is for the system to bound
_SESSION = re.compile(r".+-[0-9a-f]{8}(\.bigmachine)?")  # as sessions are named


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "free what sessions have left at their providers"
    parser = commands.add_parser(
        "reap",
        help=text,
        usage="bigmachine reap [SYSTEM] [SESSION ...] [options]",
        description=f"{text.capitalize()}. Without SESSION, only what surely nobody uses: of "
        "sessions whose driver ran on this computer and is dead, and of those that have no "
        "machine and began more than a day ago.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="SYSTEM, SESSION",
        help="the system to ask (default: all installed ones that can tell), and sessions, "
        "as `bigmachine ps` names them",
    )
    add_option(parser)
    add_profile(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be freed, and free nothing"
    )
    parser.add_argument(
        "--yes", action="store_true", help="free the sessions named even if they may be in use"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Free what is to be freed; the status is 1 if something of it is left."""
    from ..reaper._leftovers import run_async, systems_to_ask

    options = parse_options(arguments.option)
    named, sessions = _split(arguments.names)
    names, broken = systems_to_ask(named, options)
    reaper = Reaper(sessions, is_dry=arguments.dry_run, is_sure=arguments.yes)
    for problem in broken:
        _complain(problem)
    try:
        for name in names:
            run_async(functools.partial(reaper.reap, name, options, arguments.profile))
    except KeyboardInterrupt:
        _complain("interrupted: what isn't said to be freed may be left; run it again to go on")
        raise
    reaper.say_rest()
    has_answer = reaper.answered == names if named else bool(reaper.answered)
    return 0 if has_answer and not reaper.has_failed else 1


class Reaper:
    """Frees sessions' things on one system after the other, and says so.

    ``sessions`` are the names of those to free; without any, it is those that are surely
    orphaned. One that ``is_dry`` only says what it would do, and one that ``is_sure`` does
    not ask before it frees what may be in use.
    """

    def __init__(self, sessions: Sequence[str], *, is_dry: bool, is_sure: bool) -> None:
        self.answered: list[str] = []
        """The systems that could be asked."""
        self.has_failed = False
        """Whether something is left that was to be freed."""
        self._wanted = {_full_name(session): session for session in sessions}
        self._is_dry = is_dry
        self._is_sure = is_sure
        self._met: set[str] = set()
        self._freed = 0
        self._spared: list[FoundSession] = []

    async def reap(self, name: str, options: Mapping[str, str], profile: str | None) -> None:
        """Free what is due on a system."""
        from bigmachine.reaper._free import reason

        from ..reaper._leftovers import find_sessions, opened

        try:
            async with opened(name, options=options, profile=profile) as hooks:
                found = await find_sessions(hooks, name)
                self.answered.append(name)
                await self._free_all(hooks, [holding for holding in found if self._is_due(holding)])
        except Exception as exc:
            _complain(f"{name} can't be asked: {reason(exc)}")

    def say_rest(self) -> None:
        """Say what was not found, what was left alone, and how much was freed."""
        from ._describing import count_text, describe_driver

        for session, given in self._wanted.items():
            if self.answered and session not in self._met:
                self._fail(f"{' and '.join(self.answered)}: nothing of a session {given} is there")
        if self._spared:
            print("Left alone, for it may be in use; name it to free it nevertheless:")
        for holding in self._spared:
            print(f"  {_name(holding)}: driver {describe_driver(holding)}")
        if self._freed:
            verb = "Would free" if self._is_dry else "Freed"
            print(f"{verb} {count_text(self._freed, 'thing')}.")
        elif self.answered and not self.has_failed:
            print("Nothing to free.")

    def _is_due(self, holding: FoundSession) -> bool:
        """Decide whether to free what a session has, and say why."""
        from ._describing import count_text, describe_driver

        if not self._wanted:
            if holding.orphaned:
                count = count_text(len(holding.resources), "thing")
                print(f"{_name(holding)}: {holding.orphaned}; {count} to free")
            else:
                self._spared.append(holding)
            return bool(holding.orphaned)
        if holding.name not in self._wanted:
            return False
        self._met.add(holding.name)
        about = f"{_name(holding)}: driver {describe_driver(holding)}"
        may_be_used = holding.is_alive or (holding.is_alive is None and holding.machines)
        if may_be_used and not (self._is_dry or self._is_sure or _is_confirmed(holding)):
            self._fail(f"{about}; it is left alone, --yes frees it nevertheless")
            return False
        print(f"{about}; {count_text(len(holding.resources), 'thing')} to free")
        return True

    async def _free_all(self, hooks: System, due: Sequence[FoundSession]) -> None:
        import trio

        limiter = trio.CapacityLimiter(_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for holding in due:
                nursery.start_soon(self._free_holding, hooks, holding, limiter)

    async def _free_holding(
        self, hooks: System, holding: FoundSession, limiter: trio.CapacityLimiter
    ) -> None:
        """Free one kind after the other, in the system's order: what comes later is in use."""
        import trio

        from bigmachine.reaper._free import by_kind, free

        problems: list[str] = []

        async def attempt(thing: Instance) -> None:
            async with limiter:
                problem = "" if self._is_dry else await free(hooks, thing)
            what = f"{holding.short_name}: {_what(thing)}"
            if problem:
                problems.append(f"{what} can't be freed: {problem}")
            else:
                self._freed += 1
                print(f"{what} {'would be' if self._is_dry else 'is'} freed", flush=True)

        for things in by_kind(holding.resources):
            if problems:
                problems += [f"{holding.short_name}: {_what(t)} is left, too" for t in things]
                continue
            async with trio.open_nursery() as nursery:
                for thing in things:
                    nursery.start_soon(attempt, thing)
        for problem in problems:
            self._fail(problem)

    def _fail(self, text: str) -> None:
        self.has_failed = True
        _complain(text)


def _is_confirmed(holding: FoundSession) -> bool:
    """Ask on the terminal; without one, there is nobody to say yes."""
    from ._describing import describe_holding

    if not sys.stdin.isatty():
        return False
    print("\n".join(describe_holding(holding)))
    try:
        return input("It may be in use. Free it all? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell the system, if it is given, from the sessions."""
    from bigmachine.system._entrypoints import installed_systems

    if not names:
        return [], []
    installed = {entry.name for entry in installed_systems()}
    is_system = names[0] in installed or not _SESSION.fullmatch(names[0])
    return [*names[:is_system]], [*names[is_system:]]


def _full_name(session: str) -> str:
    from ..reaper._leftovers import SUFFIX

    return session if session.endswith(SUFFIX) else session + SUFFIX


def _name(holding: FoundSession) -> str:
    return f"{holding.short_name or 'no session'} on {holding.system}"


def _what(thing: Instance) -> str:
    from ._describing import label

    return f"{label(thing)} {thing.id}".rstrip()


def _complain(text: str) -> None:
    sys.stdout.flush()  # in the order of events, also where both go to one file
    print(f"bigmachine: {text}", file=sys.stderr)
