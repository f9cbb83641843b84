"""``bigmachine profile``: where the time of a running session's machines goes."""

from __future__ import annotations

import argparse
import io
import sys
import tarfile

from ..errors import UsageError
from ._running import ANSWER_SECONDS, add_session, chosen_session

_MARGIN_SECONDS = 30.0  # for machines to answer, and for hundreds of profiles to be merged


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "show where the CPU time or memory of a running session goes"
    parser = commands.add_parser(
        "profile",
        help=text,
        description="Show where the CPU time or memory of a running session's machines goes, "
        "function by function, or line by line.",
    )
    add_session(parser)
    argument = parser.add_argument
    argument(
        "machine", nargs="?", metavar="MACHINE", help="only this one, such as m0 (default: all)"
    )
    argument(
        "--seconds",
        type=_seconds,
        metavar="N",
        help="how long (default: 10); with --heap, show what is allocated meanwhile and kept",
    )
    argument("--lines", action="store_true", help="show lines of code in place of functions")
    argument("--heap", action="store_true", help="show memory in place of CPU time")
    argument("--output", metavar="FILE", help="write pprof's format, such as cpu.pb.gz")
    argument("--flame", metavar="FILE", help="write a flame graph, such as cpu.html")
    argument(
        "--json", action="store_true", help="print all functions or lines as JSON, for programs"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Take a profile, print the functions that cost most, and write the files."""
    from ._files import check_writable, write_private

    seconds = (0.0 if arguments.heap else 10.0) if arguments.seconds is None else arguments.seconds
    if not seconds and not arguments.heap:
        raise UsageError("a profile takes some time: give --seconds 10, or --heap for memory")
    check_writable(arguments.output, arguments.flame)
    session = chosen_session(arguments.session)
    session.check_answers()
    data = session.read(
        "pprof/heap" if arguments.heap else "pprof/profile",
        seconds=seconds,
        machine=arguments.machine,
        format="all",
        timeout=seconds + ANSWER_SECONDS + _MARGIN_SECONDS + 60.0 * arguments.heap,
    )
    files = _unpacked(data)
    table = "top-lines" if arguments.lines else "top"
    print(files[f"{table}.json" if arguments.json else f"{table}.txt"].decode().rstrip("\n"))
    for path, name in ((arguments.output, "profile.pb.gz"), (arguments.flame, "flame-graph.html")):
        if path is not None:
            write_private(path, files[name])
            print(f"written: {path}", file=sys.stderr if arguments.json else sys.stdout)
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds, such as 10, not {text!r}")
    return seconds


def _unpacked(data: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            found[member.name] = content.read() if content is not None else b""
    return found
