"""``bigmachine run``: a program on another system, without a change to it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ..errors import UsageError
from ._arguments import add_option, parse_options

_SEPARATOR = "--"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    parser = commands.add_parser(
        "run",
        help="run a program whose sessions name no system on one of your choice",
        usage="bigmachine run [-h] SCRIPT [--system NAME] [-o KEY=VALUE]\n"
        "                      [-- ARGUMENT ...]",
        description="Run a Python program: sessions that it opens as Session(), without a system, "
        "are on the one that you name, with your options. A program that names its system keeps "
        "it. The exit status is the program's.",
    )
    parser.add_argument("script", metavar="SCRIPT", help="the program; its arguments come after --")
    parser.add_argument("--system", metavar="NAME", help="the system, as in `bigmachine systems`")
    add_option(parser)
    parser.set_defaults(run=run, unknown_hint="; write the program's own arguments after --")


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments of ``bigmachine run`` and those of the program.

    argparse can't: it gives what comes after ``--`` to the first argument that takes any.
    """
    argv = [*argv]
    if argv[:1] != ["run"] or _SEPARATOR not in argv:
        return argv, []
    at = argv.index(_SEPARATOR)
    return argv[:at], argv[at + 1 :]


def run(arguments: argparse.Namespace) -> int:
    """Check the options, and become the program."""
    from ..system._entrypoints import SYSTEM_VARIABLE, choose_system, default_system
    from ..system._options import variable_name

    name = arguments.system or default_system()
    options = parse_options(arguments.option)
    choose_system(name, texts=options)  # raises an error of wrong options now
    if not os.path.exists(arguments.script):
        raise UsageError(f"there is no program {arguments.script!r}")
    variables = {variable_name(name, option): text for option, text in options.items()}
    command = [sys.executable, arguments.script, *arguments.rest]
    return _become(command, {**os.environ, SYSTEM_VARIABLE: name, **variables})


def _become(command: list[str], environ: Mapping[str, str]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":  # there, a shell would not wait for the program
        os.execve(command[0], command, environ)
    return subprocess.call(command, env=environ)
