"""What is not sent, and why."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ._messages import printable


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
