"""``bigmachine threads``: what the machines of a running session do now, or wait for."""

from __future__ import annotations

import argparse

from ._running import ANSWER_SECONDS, add_session, chosen_session

_MARGIN_SECONDS = 30.0  # for machines that do not answer


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "show what the machines of a running session do now, or wait for"
    parser = commands.add_parser(
        "threads",
        help=text,
        description=f"{text.capitalize()}: the stack of each thread and trio task in which your "
        "code is. Equal ones are shown once.",
    )
    parser.add_argument(
        "machine", nargs="?", metavar="MACHINE", help="only this one, such as m0 (default: all)"
    )
    parser.add_argument("--full", action="store_true", help="show bigmachine's own, too")
    add_session(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the stacks."""
    data = chosen_session(arguments.session).read(
        "pprof/threads",
        machine=arguments.machine,
        full=1 if arguments.full else None,
        hint="--full",
        timeout=ANSWER_SECONDS + _MARGIN_SECONDS,
    )
    print(data.decode(errors="backslashreplace").rstrip("\n"))
    return 0
