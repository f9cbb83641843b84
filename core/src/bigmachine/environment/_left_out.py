"""What is not sent, and why: for `bigmachine env`, and for a session's log."""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ._messages import first_of, printable

logger = logging.getLogger("bigmachine.environment")

_MAX_NAMED = 5  # paths in a message
_MAX_MODULES = 500  # to search for the names of secrets
_MODULE_BYTES = 256 << 10


class Reason(enum.StrEnum):
    """The kind of reason why a file or folder is not sent."""

    SECRET = "secret"
    """It holds credentials, a private key, a history or the like."""
    LINK = "link"
    """A symbolic link that is broken, leads out of the folder, or forms a loop."""
    SPECIAL = "special"
    """A pipe, a socket or a device."""
    GENERATED = "generated"
    """A tool makes it again: caches, virtual environments, ``.git``."""
    IGNORED = "ignored"
    """A ``.gitignore`` excludes it."""
    EXCLUDED = "excluded"
    """The user's ``exclude`` matches it."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that is not sent.

    ``place`` is the local folder that it is in, or the distribution (``"app's wheel"``).
    ``path`` is relative to it, with ``/``, and ends with ``/`` for a folder. ``reason`` is the
    kind of reason, and ``why`` says more: ``"a private key"``.
    """

    place: str
    path: str
    reason: Reason
    why: str

    def __str__(self) -> str:
        """Return it for people: ``"server.pem (a private key)"``."""
        return f"{printable(self.path)} ({self.why})"


def log_secrets(left_out: Iterable[LeftOut], *, sent: Iterable[Path]) -> None:
    """Log in one line which secrets are not sent.

    That is a warning if a module among the files that are ``sent`` has the name of one of them
    in it, so that the program may miss it on the machines; otherwise it is information.
    """
    secrets = {each.path: each for each in left_out if each.reason is Reason.SECRET}
    if not secrets:
        return
    modules = [path for path in sent if path.suffix == ".py"][:_MAX_MODULES]
    used = {path for path in secrets if _is_mentioned(PurePosixPath(path).name, modules)}
    named = sorted(secrets.values(), key=lambda each: each.path not in used)
    logger.log(
        logging.WARNING if used else logging.INFO,
        "secrets are not sent to the machines: %s; `bigmachine env` says how to send one",
        first_of([str(each) for each in named], most=_MAX_NAMED),
    )


def _is_mentioned(name: str, modules: Sequence[Path]) -> bool:
    words = [name.encode("utf-8", "surrogateescape")]
    if name.startswith(".env"):
        words.append(b"dotenv")  # the package that reads it, and says nothing if there is none
    for module in modules:
        try:
            with module.open("rb") as file:
                text = file.read(_MODULE_BYTES)
        except OSError:
            continue
        if any(word in text for word in words):
            return True
    return False
