"""``bigmachine dump``: all that a running session can show of itself, in one archive."""

from __future__ import annotations

import argparse

from ._running import add_session, chosen_session


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "write all that a running session can show of itself into one archive"
    parser = commands.add_parser(
        "dump",
        help=text,
        description=f"{text.capitalize()}: its status, and the metrics, stacks, heaps and logs of "
        "all its machines.",
    )
    add_session(parser)
    parser.add_argument(
        "--output", metavar="FILE", help="the file (default: SESSION-TIME.tar.gz, here)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the archive and print its path."""
    from .._values import size_text
    from ..debug._dump import PART_SECONDS, write_dump
    from ._files import check_writable, write_private

    check_writable(arguments.output)
    session = chosen_session(arguments.session)
    session.check_answers()
    data = session.read("dump", timeout=3 * PART_SECONDS)
    if arguments.output:
        write_private(arguments.output, data)
    path = arguments.output or write_dump(data, "", session.name)
    print(f"{path}: {size_text(len(data))}")
    return 0
