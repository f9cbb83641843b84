"""``bigmachine logs``: what the machines of a running session print and log."""

from __future__ import annotations

import argparse
import sys

from ._running import ANSWER_SECONDS, add_session, chosen_session

_READ_BYTES = 64 << 10


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "print what the machines of a running session print and log"
    parser = commands.add_parser(
        "logs",
        help=text,
        description=f"{text.capitalize()}: the last 64 kB of each, also of those that have ended.",
    )
    parser.add_argument(
        "machine",
        nargs="?",
        metavar="MACHINE",
        help="only this one, such as m0 (default: all; each line then begins with a name)",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what comes, until they have ended"
    )
    add_session(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the lines."""
    from http.client import IncompleteRead

    session = chosen_session(arguments.session)
    session.check_answers()
    follow = 1 if arguments.follow else None
    # What is followed may be silent for hours.
    timeout = None if follow else ANSWER_SECONDS
    with session.opened_page(
        "logs", machine=arguments.machine, follow=follow, timeout=timeout
    ) as response:
        try:
            while data := response.read1(_READ_BYTES):
                sys.stdout.write(data.decode(errors="backslashreplace"))
                sys.stdout.flush()
        except IncompleteRead:  # the session has ended meanwhile
            pass
    return 0
