"""Installed distributions add subcommands of their own."""

from __future__ import annotations

import re
import sys

import pytest

from bigmachine.cli import main

SETUP = """
def add(parser):
    commands = parser.add_subparsers(required=True)
    setup = commands.add_parser("setup")
    setup.add_argument("--undo", action="store_true")
    setup.set_defaults(run=lambda arguments: 7 if arguments.undo else 0)
"""


@pytest.fixture
def installed(install) -> None:
    points = ("fancy = fancy:add", "ps = fancy:add", "broken = fancy:no", "odd = fancy:__name__")
    install("fancy-cloud", "\n".join(["[bigmachine.commands]", *points]), fancy=SETUP)


def test_command_of_a_distribution_gets_its_arguments(installed) -> None:
    assert main(["fancy", "setup"]) == 0
    assert main(["fancy", "setup", "--undo"]) == 7


def test_help_lists_commands_without_importing_any(installed, capsys) -> None:
    sys.modules.pop("fancy", None)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search("fancy +more commands, of fancy-cloud", capsys.readouterr().out)
    assert "fancy" not in sys.modules


def test_own_commands_come_first_and_import_none(installed, capsys) -> None:
    sys.modules.pop("fancy", None)
    with pytest.raises(SystemExit):
        main(["ps", "--help"])
    assert "usage: bigmachine ps" in capsys.readouterr().out
    assert "fancy" not in sys.modules


def test_broken_command_is_told_with_its_distribution(installed, capsys) -> None:
    assert main(["broken"]) == 2
    assert "command 'broken' of fancy-cloud 1.0 cannot be imported" in capsys.readouterr().err
    assert main(["odd"]) == 2
    assert "fancy:__name__ is not a function" in capsys.readouterr().err
