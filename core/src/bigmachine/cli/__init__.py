"""The ``bigmachine`` command: one file of this package for each subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from bigmachine.errors import BigmachineError

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
_BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return its exit status.

    A `BigmachineError` is printed on stderr without a traceback, and the status is 2. A
    wrong command line and ``--help`` raise `SystemExit`, as usual with argparse.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.version:  # argparse's own action would look it up at each start
        print(f"bigmachine {_version()}")
        return 0
    if "run" not in arguments:
        parser.print_help(sys.stderr)
        return _USAGE
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except BigmachineError as exc:
        print(f"bigmachine: {exc}", file=sys.stderr)
        return _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has ended. Python flushes stdout once more at exit: discard that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return status


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


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("bigmachine")
    except PackageNotFoundError:
        return "(not installed)"
