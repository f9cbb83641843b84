"""``bigmachine logs``: what the machines of a running session print and log."""

from __future__ import annotations

import argparse
import re
import sys

from ._running import ANSWER_SECONDS, SessionEnded, add_session, chosen_session

_NAMED = re.compile(r"([-\d]+ [:.\d]+  )?([^:\s]+): (.*)", re.DOTALL)  # the time, the machine


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "print what the machines of a running session print and log"
    parser = commands.add_parser(
        "logs",
        help=text,
        description=f"{text.capitalize()}: the last 64 KiB of each, also of those that have ended.",
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
    parser.add_argument(
        "-n",
        "--lines",
        type=_count,
        metavar="N",
        help="only the last N of those that are kept (default: all of them)",
    )
    parser.add_argument(
        "-t", "--timestamps", action="store_true", help="begin each line with its date and time"
    )
    add_session(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the lines."""
    from ..machine.output._text_streams import has_colors

    session = chosen_session(arguments.session)
    session.check_answers()
    follow = 1 if arguments.follow else None
    # What is followed may be silent for hours.
    timeout = None if follow else ANSWER_SECONDS
    is_colored = arguments.machine is None and has_colors(sys.stdout)
    lines = session.lines(
        "logs",
        machine=arguments.machine,
        follow=follow,
        lines=arguments.lines,
        times=1 if arguments.timestamps else None,
        timeout=timeout,
    )
    try:
        for data in lines:
            line = data.decode(errors="backslashreplace")
            sys.stdout.write(_colored(line) if is_colored else line)
            sys.stdout.flush()
    except SessionEnded as error:  # its driver was killed
        print(f"bigmachine: {error}", file=sys.stderr)
    return 0


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a number of lines, such as 20, not {text!r}")
    return int(text)


def _colored(line: str) -> str:
    """Return a line whose machine has the color that it has on the driver's terminal."""
    from ..machine.output._stderr_entries import prefix

    named = _NAMED.fullmatch(line)
    if named is None:
        return line
    return f"{named[1] or ''}{prefix(named[2], colors=True)}{named[3]}"
