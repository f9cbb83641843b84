"""The ``bigmachine`` command: one file of this package for each subcommand."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence

from ..errors import BigmachineError
from . import _conformance, _env, _new_backend, _ps, _reap, _systems

# Each has `add(commands)`, which sets the default of `run`.
_COMMANDS = (_systems, _env, _ps, _reap, _conformance, _new_backend)

_EXAMPLES = """\
examples:
  bigmachine systems           list the installed systems and their options
  bigmachine systems --json    the same, for programs
  bigmachine env SCRIPT        show what would be sent to the machines
  bigmachine ps                list the resources of sessions, and their cost
  bigmachine reap              free what dead drivers have left
  bigmachine conformance NAME  prove that a backend keeps its contract
  bigmachine new-backend NAME  write a package with a new backend
"""

_USAGE = 2  # the exit status of argparse for a wrong command line
_INTERRUPTED = 130  # as in shells: 128 + SIGINT
_NOT_WRITTEN = 1
_BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return its exit status.

    A `BigmachineError` is printed on stderr without a traceback, and the status is 2. A
    wrong command line and ``--help`` raise `SystemExit`, as usual with argparse.
    """
    _prepare_output()
    parser = _parser()
    arguments = parser.parse_args(argv)
    if "run" not in arguments and not arguments.version:
        parser.print_help(sys.stderr)
        return _USAGE
    try:
        if arguments.version:  # argparse's own action would look it up at each start
            arguments.run = _print_version
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except BigmachineError as exc:
        print(f"bigmachine: {exc}", file=sys.stderr)
        return _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader (`| head`) has ended
        _discard_output()
        return _BROKEN_PIPE
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
            raise
        _discard_output()
        print(f"bigmachine: can't write to stdout: {exc}", file=sys.stderr)
        return _NOT_WRITTEN
    return status


def _prepare_output() -> None:
    """Have characters escaped that the terminal's encoding lacks; allow for a closed stdout."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Discard what was not written: Python tries that once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bigmachine",
        description="Ad-hoc clusters for Python.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


def _print_version(_: argparse.Namespace) -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"bigmachine {version('bigmachine')}")
    except PackageNotFoundError:
        print("bigmachine (not installed)")
    return 0
