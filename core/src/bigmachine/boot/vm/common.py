"""What every part of the boot program uses: its configuration, an error, a few helpers."""

from __future__ import annotations

import shutil
import sys
from typing import Any

Json = Any  # what json gives

CHUNK_BYTES = 256 << 10
HANDSHAKE_SECONDS = 10.0

HEARTBEAT_VARIABLE = "BIGMACHINE_HEARTBEAT"
"""The worker's variable that only a boot program sets: the descriptor to tell it of keepalives."""
LOG_VARIABLE = "BIGMACHINE_LOG"
"""The worker's variable for the folder of the boot program's log."""


class Configuration:
    """What user data says: whom to trust, how long to wait, and how to power off."""

    def __init__(self, values: Json) -> None:
        self.session: str = values["session"]
        # The boot credential: valid until `Boot.identify`, and for a server only.
        self.certificate: str = values["certificate"]
        self.key = int(values["key"], 16)
        self.authority: str = values["authority"]
        self.listen: str = values["listen"]  # HOST:PORT
        self.contact_seconds: float = values["contact_seconds"]  # until the driver first calls
        self.silence_seconds: float = values["silence_seconds"]  # between two of its calls
        self.lifetime_seconds: float = values["lifetime_seconds"]  # 0: no limit
        self.folder: str = values["folder"]  # for what is received and built
        self.runtime: str = values["runtime"]  # in memory
        self.poweroff: list[list[str]] = values["poweroff"]  # commands, tried in order


class HttpError(Exception):
    """A request fails: the driver gets the HTTP status, the message and the details."""

    def __init__(self, status: int, message: str, **details: Json) -> None:
        super().__init__(message)
        self.status = status
        self.details = details


def describe(exc: OSError) -> str:
    """Say what is wrong, and with which file if there is one."""
    return f"{exc.strerror or exc}" + (f": {exc.filename}" if exc.filename else "")


def find_pythons() -> dict[str, str]:
    """Find the interpreters of this machine, by minor version; this one comes first."""
    found = {f"3.{sys.version_info.minor}": sys.executable}
    for minor in range(9, 20):
        version = f"3.{minor}"
        path = shutil.which("python" + version)
        if path:
            found.setdefault(version, path)
    return found
