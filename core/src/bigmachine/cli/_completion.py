"""``bigmachine completion``: have a shell complete the command line, by argcomplete."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from ..errors import UsageError

_SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
_VARIABLE = "_ARGCOMPLETE"  # argcomplete's own: set by the shell's function that it generates


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "print what makes a shell complete this command line"
    parser = commands.add_parser(
        "completion",
        help=text,
        description=f"{text.capitalize()}: commands, options, systems and running sessions. "
        'For bash, put eval "$(bigmachine completion bash)" into ~/.bashrc; for fish, write the '
        "output to ~/.config/fish/completions/bigmachine.fish.",
    )
    parser.add_argument("shell", choices=_SHELLS, help="which shell")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the shell's code."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        from ..system._installation import install_command

        raise UsageError(f"this needs argcomplete: {install_command('completion')}") from None
    print(shellcode(["bigmachine"], shell=arguments.shell))
    return 0


def complete(
    parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]
) -> None:
    """Print completions and exit, if a shell asks for some."""
    if _VARIABLE not in os.environ:
        return
    try:
        import argcomplete
    except ImportError:
        return
    for command in commands.values():
        for action in command._actions:
            if action.dest in _COMPLETERS:
                action.completer = _COMPLETERS[action.dest]  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser)


def _sessions(**_: object) -> list[str]:
    from ._running import running_sessions

    return [session.name for session in running_sessions()]


def _systems(**_: object) -> list[str]:
    from ..system._entrypoints import installed_systems

    return [entry.name for entry in installed_systems()]


def _options(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    from ..system._entrypoints import default_system, load_system
    from ..system._options import describe_options

    name = getattr(parsed_args, "system", None) or default_system()
    if not isinstance(name, str):  # of several
        name = name[0]
    return [
        f"{option.name}="
        for option in describe_options(load_system(name).Options, system_name=name)
    ]


_COMPLETERS = {"session": _sessions, "system": _systems, "option": _options}
