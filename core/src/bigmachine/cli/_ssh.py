"""``bigmachine ssh``: log in to a machine of a running session."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys

from ..errors import BigmachineError, UsageError
from ._running import RunningSession, add_session, chosen_session

_MACHINE_SECONDS = 30.0  # for a machine that computes, or is far away
_USER = re.compile(r"[A-Za-z_][\w.-]*\$?")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "log in to a machine of a running session"
    parser = commands.add_parser(
        "ssh",
        help=text,
        description=f"{text.capitalize()}, by ssh. Its session must have been opened with the "
        "option ssh_key, which the systems of clouds have.",
        epilog="example: bigmachine ssh m0 -- -i ~/keys/mine nvidia-smi",
    )
    parser.add_argument("machine", metavar="MACHINE", help="its name, such as m0")
    parser.add_argument(
        "ssh_arguments",
        nargs="*",
        metavar="ARGUMENT",
        help="options of ssh, then a command to run there; write -- before them",
    )
    add_session(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replace this process by ssh."""
    session = chosen_session(arguments.session)
    host = _host(session, arguments.machine)
    user = _user(session, arguments.machine)
    sys.stdout.flush()
    try:
        # OpenSSH takes options after the host, too.
        os.execvp("ssh", ["ssh", "-l", user, host, *arguments.ssh_arguments])
    except FileNotFoundError:
        raise BigmachineError(
            f"there is no ssh here: install OpenSSH, or log in as {user} at {host} by other means"
        ) from None


def _host(session: RunningSession, machine: str) -> str:
    """Return where the driver reaches it, without the port."""
    machines = {one["name"]: one for one in session.status()["machines"]}
    if machine not in machines:
        there = ", ".join(name for name, one in machines.items() if one["state"] != "stopped")
        raise UsageError(
            f"session {session.name} has no machine {machine!r}; it has {there or 'none that runs'}"
        )
    if machines[machine]["state"] == "stopped":
        raise UsageError(f"{machine} has stopped: {machines[machine]['error']}")
    return str(machines[machine]["addr"]).rpartition(":")[0].strip("[]")


def _user(session: RunningSession, machine: str) -> str:
    info = json.loads(session.read("machine", machine=machine, timeout=_MACHINE_SECONDS))
    user = str(info["login_user"])
    if not user:
        raise UsageError(
            f"nobody can log in to {machine}: that takes a session that was opened with the option "
            "ssh_key, which the systems of clouds have"
        )
    if not _USER.fullmatch(user):
        raise BigmachineError(f"{machine} says to log in as {user!r}, which is no name of a user")
    return user
