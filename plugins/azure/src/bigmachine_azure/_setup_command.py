"""``bigmachine azure setup``: what an account needs once, so that machines can end themselves."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bigmachine.cli import add_options, chosen_system

if TYPE_CHECKING:
    from ._system import AzureSystem


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``bigmachine azure``."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    setup = commands.add_parser(
        "setup",
        help="create the managed identity with which machines delete their own VMs",
        description="Create the managed identity with which machines delete their own VMs, and a "
        "role that permits only to delete VMs with their disks, interfaces and addresses, in the "
        "resource group of the options, by default bigmachine-LOCATION. It needs the rights of an "
        "Owner there, once; sessions need less. It is free.",
    )
    setup.add_argument("--undo", action="store_true", help="remove exactly that again")
    add_options(setup)
    setup.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the identity, or undo that; print each step."""
    import trio

    from ._system import AzureSystem
    from .options._options import check_offline

    system = chosen_system("azure", arguments)
    assert isinstance(system, AzureSystem)
    check_offline(system.options)
    trio.run(_run, system, arguments.undo)
    return 0


async def _run(system: AzureSystem, is_undo: bool) -> None:
    from ._setup import Setup
    from .api._api import Api
    from .api._place import find_place

    api = Api(system.options)
    try:
        with system.readable():
            place = await find_place(api, system.options)
            setup = Setup(api, system.options, place, print)
            await (setup.undo() if is_undo else setup.make())
    finally:
        await api.close()
