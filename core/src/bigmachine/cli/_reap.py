"""``bigmachine reap``: free what sessions have left at their providers."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .._full_names import session_name
from ..errors import sanitize, sanitize_line
from ._arguments import add_option, add_profile, parse_options

if TYPE_CHECKING:
    import trio

    from ..reaper._found_sessions import FoundSession
    from ..system import Instance, System

_AT_ONCE = 100  # resources; the system limits its own requests to the provider
_SESSION = re.compile(r".+-[0-9a-f]{8}(\.bigmachine)?")  # the form of session names


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "delete what ended sessions have left at their providers"
    parser = commands.add_parser(
        "reap",
        help=text,
        usage="bigmachine reap [SYSTEM] [SESSION ...] [options]",
        description=f"{text.capitalize()}. Without SESSION, only what is certainly not in use: "
        "the resources of sessions whose driver ran on this computer and is dead, and of "
        "sessions that have no machine and began more than a day ago.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="SYSTEM, SESSION",
        help="the system to query (default: all installed ones that can list resources), and "
        "sessions, by their names in `bigmachine ps`",
    )
    add_option(parser)
    add_profile(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be freed, but free nothing"
    )
    parser.add_argument(
        "--yes", action="store_true", help="free the named sessions even if they may be in use"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Free what can be freed; the status is 1 if some of it could not be."""
    from ..reaper._log import reaper_problems
    from ._asking import run_async, systems_to_ask

    options = parse_options(arguments.option)
    named, sessions = _split(arguments.names)
    names, broken = systems_to_ask(named, options, arguments.profile)
    command = ReapCommand(sessions, is_dry=arguments.dry_run, is_sure=arguments.yes)
    for problem in broken:
        _complain(problem)
    if not names:  # machines of `local` end with their driver, so that is no failure
        print("Nothing to free: no installed system can list what it has made.")
        return 1 if sessions or broken else 0
    try:
        for name in names:
            run_async(functools.partial(command.reap, name, options, arguments.profile))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted: resources that are not reported as freed may still exist; run it again"
        ) from None
    command.print_summary()
    for problem in reaper_problems():  # of sessions of which this has not freed all
        _complain(problem)
    has_answer = command.answered == names if named else bool(command.answered)
    return 0 if has_answer and not command.has_failed else 1


class ReapCommand:
    """Frees the resources of sessions on one system after the other, and prints each.

    ``sessions`` are the names of those to free; if there are none, orphaned sessions are
    freed. If ``is_dry``, nothing is freed, only printed. If ``is_sure``, sessions that may be
    in use are freed without a question.
    """

    def __init__(self, sessions: Sequence[str], *, is_dry: bool, is_sure: bool) -> None:
        self.answered: list[str] = []
        """The systems that answered."""
        self.has_failed = False
        """Whether something could not be freed."""
        self._wanted = {session_name(session): session for session in sessions}
        self._is_dry = is_dry
        self._is_sure = is_sure
        self._found: set[str] = set()
        self._missing: list[str] = []  # why there may be more, on systems that answered
        self._freed = 0
        self._skipped: list[FoundSession] = []

    async def reap(self, name: str, options: Mapping[str, str], profile: str | None) -> None:
        """Free the resources on one system that are to be freed."""
        from ..reaper._found_sessions import find_sessions
        from ..reaper._free import reason
        from ._asking import opened

        try:
            async with opened(name, options=options, profile=profile) as hooks:
                found, missing = await find_sessions(hooks, name)
                self.answered.append(name)
                if missing:
                    self._missing.append(f"{name}: {missing}")
                await self._free_all(hooks, [session for session in found if self._is_due(session)])
        except Exception as exc:
            _complain(f"cannot query {name}: {reason(exc)}")

    def print_summary(self) -> None:
        """Print which sessions were not found or were skipped, and how much was freed.

        Nothing is said to be all, or not to exist, if a provider could not list all.
        """
        from ._session_text import describe_driver, session_text
        from ._table import count_text

        for missing in self._missing:
            self._fail(f"there may be more, run it again later: {missing}")
        for name, given in self._wanted.items():
            if self.answered and name not in self._found and not self._missing:
                self._fail(f"no session {given} has resources on {' and '.join(self.answered)}")
        if self._skipped:
            print("Skipped: may be in use. Name the session to free it anyway:")
        for session in self._skipped:
            print(f"  {session_text(session)}: driver {describe_driver(session)}")
        if self._freed:
            verb = "Would free" if self._is_dry else "Freed"
            print(f"{verb} {count_text(self._freed, 'resource')}.")
        elif self.answered and not self.has_failed:
            print("Nothing to free.")

    def _is_due(self, session: FoundSession) -> bool:
        """Decide whether to free a session's resources, and print why."""
        from ._session_text import describe_driver, session_text
        from ._table import count_text

        if not self._wanted:
            if session.orphaned:
                count = count_text(len(session.resources), "resource")
                orphaned = sanitize_line(session.orphaned)
                print(f"{session_text(session)}: {orphaned}; {count} to free")
            else:
                self._skipped.append(session)
            return bool(session.orphaned)
        if session.name not in self._wanted:
            return False
        self._found.add(session.name)
        about = f"{session_text(session)}: driver {describe_driver(session)}"
        if session.may_be_in_use and not (self._is_dry or self._is_sure or _is_confirmed(session)):
            self._fail(f"{about}; skipped: may be in use, --yes frees it anyway")
            return False
        print(f"{about}; {count_text(len(session.resources), 'resource')} to free")
        return True

    async def _free_all(self, hooks: System, due: Sequence[FoundSession]) -> None:
        import trio

        limiter = trio.CapacityLimiter(_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for session in due:
                nursery.start_soon(self._free_session, hooks, session, limiter)

    async def _free_session(
        self, hooks: System, session: FoundSession, limiter: trio.CapacityLimiter
    ) -> None:
        """Free one kind of resource after the other, in the system's order.

        What comes first may use what comes later, so after a failure nothing more is freed.
        """
        import trio

        from ..reaper._free import by_kind, free
        from ..reaper._log import ReaperLog

        problems: list[str] = []

        async def attempt(resource: Instance) -> None:
            async with limiter:
                problem = "" if self._is_dry else await free(hooks, resource)
            title = f"{sanitize_line(session.short_name)}: {_title(resource)}"
            if problem:
                problems.append(f"{title} cannot be freed: {problem}")
            else:
                self._freed += 1
                print(f"{title} {'would be' if self._is_dry else 'is'} freed", flush=True)

        for resources in by_kind(session.resources):
            if problems:
                problems += [
                    f"{session.short_name}: {_title(r)} is not freed either" for r in resources
                ]
                continue
            async with trio.open_nursery() as nursery:
                for resource in resources:
                    nursery.start_soon(attempt, resource)
        for problem in problems:
            self._fail(problem)
        if session.is_complete and not problems and not self._is_dry:
            ReaperLog(session.name).forget()

    def _fail(self, text: str) -> None:
        self.has_failed = True
        _complain(text)


def _is_confirmed(session: FoundSession) -> bool:
    """Ask for confirmation on the terminal; without a terminal, the answer is no."""
    from ._session_text import describe_session

    if not sys.stdin.isatty():
        return False
    print("\n".join(describe_session(session)))
    try:
        return input("It may be in use. Free it all? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments into the system, if it is given, and the sessions."""
    from ..system._entrypoints import installed_systems

    if not names:
        return [], []
    installed = {entry.name for entry in installed_systems()}
    is_system = names[0] in installed or not _SESSION.fullmatch(names[0])
    return [*names[:is_system]], [*names[is_system:]]


def _title(resource: Instance) -> str:
    from ._session_text import label

    return f"{label(resource)} {sanitize_line(resource.id)}".rstrip()


def _complain(text: str) -> None:
    sys.stdout.flush()  # in the order of events, even if both go to one file
    print(f"bigmachine: {sanitize(text)}", file=sys.stderr)
