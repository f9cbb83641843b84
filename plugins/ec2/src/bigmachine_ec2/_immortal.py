"""What is said, loudly, of instances that outlive their session because their user wants it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

logger = logging.getLogger("bigmachine.ec2")


def warn_of_start(instances: Iterable[str], *, session: str, lifetime: float | None) -> None:
    """Say that these instances were started, and will not end."""
    logger.warning(
        "%s: immortal. Neither their session nor their driver's death ends them; %s",
        ", ".join(instances),
        _until(session, lifetime),
    )


def warn_of_end(instances: Iterable[str], *, session: str, lifetime: float | None) -> None:
    """Say that the session ends, and leaves these instances."""
    logger.warning(
        "session %s has ended, and LEAVES RUNNING, as they are immortal: %s, and its security "
        "group; %s",
        session,
        ", ".join(instances),
        _until(session, lifetime),
    )


def _until(session: str, lifetime: float | None) -> str:
    words = "they are billed until you end them: bigmachine reap " + session
    if lifetime is not None:
        words += f" (or until {lifetime:g} s after their boot, the end of their lifetime)"
    return words
