"""Subcommands that installed distributions add, as ``bigmachine azure``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], argv: Sequence[str]) -> None:
    """Add them to the parser's ``commands``; import only the one that ``argv`` names.

    A name that bigmachine's own commands have is theirs.
    """
    wanted = next((argument for argument in argv if not argument.startswith("-")), "")
    if wanted in commands.choices:
        return  # to look for distributions takes time
    from ..system._entrypoints import installed_commands, load_command

    for entry in installed_commands():
        if entry.name in commands.choices:
            continue
        text = f"more commands, of {entry.dist}"
        parser = commands.add_parser(entry.name, help=text, description=text.capitalize() + ".")
        if entry.name == wanted:
            load_command(entry)(parser)
