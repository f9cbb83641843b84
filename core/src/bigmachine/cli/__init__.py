"""The ``bigmachine`` command: one file of this package for each subcommand.

`add_options` and `chosen_system` are for the commands of backends, too.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Mapping, Sequence

from .._spelling import did_you_mean
from ..errors import BigmachineError
from ..process import open_standard_descriptors
from . import (
    _check,
    _completion,
    _conformance,
    _doctor,
    _dump,
    _env,
    _logs,
    _new_backend,
    _plugins,
    _profile,
    _ps,
    _reap,
    _run,
    _ssh,
    _systems,
    _threads,
    _top,
)
from ._arguments import add_options as add_options
from ._arguments import chosen_system as chosen_system

# Each has `add(commands)`, which sets the default of `run`.
_COMMANDS = (
    _systems,
    _check,
    _doctor,
    _env,
    _run,
    _ps,
    _top,
    _logs,
    _profile,
    _threads,
    _dump,
    _ssh,
    _reap,
    _conformance,
    _new_backend,
    _completion,
)

_EXAMPLES = """\
examples:
  bigmachine systems local             list the options of one system
  bigmachine check ec2 -o region=us-east-1
  bigmachine run train.py --system ec2 -o instance_type=c7i.xlarge -- --epochs 3
  bigmachine logs -f m0                follow the output of one machine
  bigmachine profile --flame cpu.html  draw where the time goes

exit status: 0 if all is well; 1 if a check failed, or a system that was named
could not be queried; 2 after an error; 130 after Ctrl-C; of run and ssh, theirs
"""

_USAGE = 2  # the exit status of argparse for a wrong command line
_INTERRUPTED = 130  # as in shells: 128 + SIGINT
_BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return its exit status.

    A `BigmachineError` is printed on stderr without a traceback, and the status is 2; so is an
    output that cannot be written. After Ctrl-C it is 130. A wrong command line and ``--help``
    raise `SystemExit`, as usual with argparse.
    """
    _open_closed_streams()
    _escape_unprintable()
    try:
        return _run_line(sys.argv[1:] if argv is None else argv)
    except BigmachineError as exc:
        print(f"bigmachine: {exc}", file=sys.stderr)
        return _USAGE
    except KeyboardInterrupt as exc:
        print(f"bigmachine: {exc if exc.args else 'interrupted'}", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader (`| head`) has ended
        _discard_output()
        return _BROKEN_PIPE
    except OSError as exc:
        about = f" {exc.filename}" if exc.filename else ""
        _discard_output()
        print(f"bigmachine: {exc.strerror or exc}{about}", file=sys.stderr)
        return _USAGE


def _run_line(argv: Sequence[str]) -> int:
    argv, rest = _run.split(argv)
    parser, commands = _parser(argv)
    _completion.complete(parser, commands)
    wanted = next((argument for argument in argv if not argument.startswith("-")), None)
    if wanted is not None and wanted not in commands:
        hint = did_you_mean(wanted, commands) or f"; there is {', '.join(commands)}"
        parser.error(f"no command {wanted!r}{hint}")
    arguments, unknown = parser.parse_known_args(argv, argparse.Namespace(rest=rest))
    if unknown:
        hint = "; write an option of the system as -o KEY=VALUE" if "option" in arguments else ""
        hint = getattr(arguments, "unknown_hint", hint)
        if wanted is not None:
            hint = did_you_mean(unknown[0], commands[wanted]._option_string_actions) or hint
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    if not arguments.version and "run" not in arguments:
        parser.print_help(sys.stderr)
        return _USAGE
    # argparse's own action would look the version up at each start.
    run = _print_version if arguments.version else arguments.run
    status = int(run(arguments))
    sys.stdout.flush()
    return status


def _open_closed_streams() -> None:
    """Open what the command was started without (``>&-``); else files take these descriptors."""
    open_standard_descriptors()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = io.TextIOWrapper(io.FileIO(number, "w" if number else "r", closefd=False))
            setattr(sys, name, stream)


def _escape_unprintable() -> None:
    """Have characters escaped that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Discard what cannot be written of the output: Python would try it again at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(
    argv: Sequence[str],
) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser, and those of the commands."""
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
    _plugins.add(commands, argv)
    return parser, commands.choices


def _print_version(_: argparse.Namespace) -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"bigmachine {version('bigmachine')}")
    except PackageNotFoundError:
        print("bigmachine (not installed)")
    return 0
